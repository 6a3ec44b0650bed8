"""A suite of another project: faults, and requests during them."""

from pathlib import Path

import httpx2
import pytest

from openimds.errors import ConfigError
from openimds.pytest_plugin import Imds

VERSION = {"api-version": "2021-02-01"}
HEADERS = {"Metadata": "true"}


def status(imds: Imds) -> int:
    path = f"{imds.url}/metadata/instance"
    return httpx2.get(path, params=VERSION, headers=HEADERS).status_code


def test_fault_for_the_first_requests(imds: Imds) -> None:
    imds.faults.set(effect="status", status=410, first=2)
    assert [status(imds) for _ in range(3)] == [410, 410, 200]
    assert imds.faults.played == {"status": 2}
    assert [one.fault for one in imds.requests] == ["status", "status", ""]


def test_named_page_replaces_the_response(imds: Imds, tmp_path: Path) -> None:
    imds.faults.set(effect="response", page="portal-200", headers=["X-Portal: 1"], first=1)
    got = httpx2.get(f"{imds.url}/metadata/instance", params=VERSION, headers=HEADERS)
    assert (got.status_code, got.headers["x-portal"]) == (200, "1")
    assert got.headers["content-type"] == "text/html; charset=utf-8"
    assert "<h1>" in got.text
    assert status(imds) == 200
    (tmp_path / "page").write_bytes(b"from a file")
    imds.faults.set(effect="response", status=502, body=b"\xff\x00", first=1)
    imds.faults.set(effect="response", status=502, body_file=tmp_path / "page", nth=2)
    bodies = [httpx2.get(f"{imds.url}/metadata/instance").content for _ in range(2)]
    assert bodies == [b"\xff\x00", b"from a file"]


def test_playbook_follows_the_clock(imds: Imds) -> None:
    imds.clock.rate = 0
    imds.faults.play("throttled", "vm-1", for_s=10)
    assert status(imds) == 429
    imds.clock.advance(10)
    assert status(imds) == 200
    assert imds.faults.clear() == len(imds.faults) + 1 == 1


def test_refused_port_reopens_after_the_fault(imds: Imds) -> None:
    imds.clock.rate = 0
    (fault,) = imds.faults.set(effect="refused")
    with pytest.raises(httpx2.ConnectError, match="refused"):
        status(imds)
    imds.faults.clear(fault.key)
    assert status(imds) == 200
    imds.faults.set(effect="refused", until_s=60)
    with pytest.raises(httpx2.ConnectError, match="refused"):
        status(imds)
    imds.clock.advance(60)
    assert status(imds) == 200


def test_hanging_request_ends_with_its_test(imds: Imds) -> None:
    imds.faults.set(effect="hang")
    with pytest.raises(httpx2.ReadTimeout):
        httpx2.get(f"{imds.url}/metadata/versions", headers=HEADERS, timeout=0.01)


def test_fields_of_a_token_are_edited(imds: Imds) -> None:
    imds.faults.set(effect="edited-token", drop=["resource"], set=["expires_in=soon"], first=1)
    query = "api-version=2018-02-01&resource=https://vault.azure.net"
    url = f"{imds.url}/metadata/identity/oauth2/token?{query}"
    edited, whole = (httpx2.get(url, headers=HEADERS).json() for _ in range(2))
    assert edited["expires_in"] == "soon"
    assert whole.keys() - edited.keys() == {"resource"}


def test_probe_without_the_header_is_spared(imds: Imds) -> None:
    imds.faults.set(effect="status", status=429, retry_after=5)
    url = f"{imds.url}/metadata/versions"
    assert httpx2.get(url).status_code == 400
    assert httpx2.get(url, headers=HEADERS).headers["Retry-After"] == "5"


def test_mistake_is_reported_with_a_suggestion(imds: Imds) -> None:
    with pytest.raises(ConfigError, match='Did you mean "throttled"'):
        imds.faults.play("throtled")
    with pytest.raises(ConfigError, match="saw neither effect nor playbook"):
        imds.faults.set(status=410)
    assert [*imds.faults] == []


@pytest.mark.imds(
    fleet={"vms": {"a": {}}, "faults": [{"effect": "status", "status": 500}]}, record=1
)
def test_fleet_file_may_hold_faults(imds: Imds) -> None:
    assert status(imds) == status(imds) == 500
    assert len(imds.requests) == 1
