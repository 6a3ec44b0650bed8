"""A suite of another project at the real address."""

import os
import unittest
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest

if TYPE_CHECKING:  # Each test has a process of its own, which would import it again.
    from openimds.pytest_plugin import Imds

REAL = "http://169.254.169.254"
VERSION = {"api-version": "2021-02-01"}
HEADERS = {"Metadata": "true"}


@pytest.fixture(scope="class")
def around() -> int:
    return os.getpid()


def test_before(imds: "Imds") -> None:
    assert imds.url != REAL


@pytest.mark.usefixtures("around")
class TestHalf:
    """Tests of one class in both processes; the class is set up in both."""

    def test_here(self, imds: "Imds") -> None:
        assert imds.url != REAL

    @pytest.mark.real_address
    @pytest.mark.parametrize("name", ["web 2/ü"])
    def test_there(self, imds: "Imds", tmp_path: Path, name: str) -> None:
        assert imds.url == REAL
        imds.vm.patch({"compute": {"name": name}})
        path = f"{REAL}/metadata/instance/compute"
        got = httpx2.get(path, params=VERSION, headers=HEADERS).json()
        assert got["name"] == name
        assert tmp_path.is_dir()
        imds.requests.assert_clean()


@pytest.mark.real_address
class TestOfUnittest(unittest.TestCase):
    """Its methods take no fixtures, and pytest runs them in a way of their own."""

    @pytest.fixture(autouse=True)
    def _asked(self, imds: "Imds") -> None:
        self.imds = imds

    def setUp(self) -> None:
        self.imds.vm.patch({"compute": {"name": "web-3"}})

    def test_there(self) -> None:
        assert self.imds.url == REAL
        assert self.imds.vm.document()["compute"]["name"] == "web-3"


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.real_address
async def test_that_is_awaited(imds: "Imds", anyio_backend: str) -> None:
    async with httpx2.AsyncClient() as client:
        got = await client.get(f"{REAL}/metadata/versions", headers=HEADERS)
    assert got.status_code == 200


def test_after(imds: "Imds") -> None:
    assert imds.url != REAL


@pytest.mark.real_address
@pytest.mark.allow_hosts(["203.0.113.1"])
def test_no_other_host_is_reachable() -> None:
    with pytest.raises(httpx2.ConnectError, match="nreachable"):
        httpx2.get("http://203.0.113.1/")
