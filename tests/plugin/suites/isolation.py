"""A suite of another project: each test finds a fresh server and leaves it changed."""

import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from openimds.pytest_plugin import Imds

SYSTEM = {"identities": {"system": True}}
TOKEN = {"api-version": "2018-02-01", "resource": "https://vault.azure.net"}
HEADERS = {"Metadata": "true"}


@pytest.fixture(scope="module")
def seen() -> Iterator[dict[str, set[Any]]]:
    """Values of all tests: some have to be the same, the others different."""
    found: dict[str, set[Any]] = {
        name: set() for name in ("test", "url", "kid", "token", "secret", "trust")
    }
    yield found
    assert len(found["url"]) == len(found["kid"]) == 1
    assert len(found["token"]) == len(found["secret"]) == len(found["trust"]) == len(found["test"])


@pytest.mark.parametrize("number", range(6))
def test_server_is_new_for_each_test(imds: Imds, seen: dict[str, set[Any]], number: int) -> None:
    assert [*imds.vms] == ["vm-1"]
    assert imds.vm.definition == SYSTEM
    assert imds.events.document() == {"DocumentIncarnation": 0, "Events": []}
    assert len(imds.requests) == len(imds.faults) == 0
    assert imds.messages == []
    assert imds.clock.rate == 1
    assert abs(imds.clock.now_s - time.time()) < 3600
    assert imds._server.dispatcher.counts == {}
    assert imds._server.dispatcher.unknown_callers == {}
    seen["test"].add(number)
    seen["url"].add(imds.url)
    seen["trust"].add(imds.trust)
    seen["secret"].add(imds.env.of("app-service")["IDENTITY_HEADER"])

    path = f"{imds.url}/metadata/identity/oauth2/token"
    seen["token"].add(httpx2.get(path, params=TOKEN, headers=HEADERS).json()["access_token"])
    (key,) = imds.jwks["keys"]
    seen["kid"].add(key["kid"])
    imds.events.schedule("Reboot", in_s=0)
    imds.vms["web-2"] = {"reach": {"address": ["127.0.0.2"]}}
    imds.vm.patch({"reach": {"address": ["127.0.0.9"]}})
    assert httpx2.get(path).status_code == 404
    imds.faults.play("service-update")
    imds.clock.advance(86400 * 365)
    imds.clock.rate = 0
