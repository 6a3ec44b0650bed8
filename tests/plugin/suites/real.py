"""A suite of another project at the real address."""

import os
import unittest
import warnings
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from openimds.pytest_plugin import Imds

REAL = "http://169.254.169.254"
VERSION = {"api-version": "2021-02-01"}
HEADERS = {"Metadata": "true"}


@pytest.fixture(scope="class")
def around() -> int:
    return os.getpid()


def test_before(imds: Imds) -> None:
    assert imds.url != REAL


@pytest.mark.usefixtures("around")
class TestHalf:
    """Tests of one class in both processes; the class is set up in both."""

    def test_here(self, imds: Imds) -> None:
        assert imds.url != REAL

    @pytest.mark.real_address
    @pytest.mark.parametrize("name", ["web 2/ü"])
    def test_there(self, imds: Imds, tmp_path: Path, name: str) -> None:
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
    def _asked(self, imds: Imds) -> None:
        self.imds = imds

    def setUp(self) -> None:
        self.imds.vm.patch({"compute": {"name": "web-3"}})

    def test_there(self) -> None:
        assert self.imds.url == REAL
        assert self.imds.vm.document()["compute"]["name"] == "web-3"


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.real_address
async def test_that_is_awaited(imds: Imds, anyio_backend: str) -> None:
    async with httpx2.AsyncClient() as client:
        got = await client.get(f"{REAL}/metadata/versions", headers=HEADERS)
    assert got.status_code == 200


def test_after(imds: Imds) -> None:
    assert imds.url != REAL


@pytest.mark.real_address
def test_that_fails(imds: Imds) -> None:
    print("printed by the test")  # noqa: T201 - it is captured
    got = httpx2.get(f"{REAL}/metadata/instance", headers=HEADERS)
    assert got.status_code == 200, "the reason"


@pytest.mark.real_address
def test_that_is_skipped() -> None:
    pytest.skip("for a reason of its own")


@pytest.mark.real_address
@pytest.mark.xfail(raises=ZeroDivisionError, strict=True)
def test_that_is_expected_to_fail() -> None:
    raise ZeroDivisionError


@pytest.mark.real_address
def test_with_a_failing_fixture(broken: None) -> None:
    raise AssertionError("it must not run")


@pytest.fixture
def broken() -> None:
    raise LookupError("no such thing")


class StrangeWarning(UserWarning):
    """A class that only this file has."""


@pytest.mark.real_address
def test_that_warns(record_property: Callable[[str, object], None]) -> None:
    record_property("strange", StrangeWarning("a value of the test's own"))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("warned in the child", stacklevel=1)
        warnings.warn("a warning of its own class", StrangeWarning, stacklevel=1)


@pytest.mark.real_address
def test_that_ends_the_process() -> None:
    os.abort()


@pytest.mark.real_address
@pytest.mark.allow_hosts(["203.0.113.1"])
def test_no_other_host_is_reachable() -> None:
    with pytest.raises(httpx2.ConnectError, match="nreachable"):
        httpx2.get("http://203.0.113.1/")
