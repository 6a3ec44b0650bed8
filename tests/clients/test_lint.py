"""Well-known clients, judged by the lint rules: their requests have no mistakes."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.fleet import APP_IDS, BOTH
from tests.clients.private_server import REAL, PrivateServer, private_server

pytestmark = [pytest.mark.system, pytest.mark.netns]

OPENIMDS = f"{sys.executable} -m openimds requests"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """A server that records its requests."""
    folder = tmp_path_factory.mktemp("recorded")
    arguments = ("--no-rate-limit", "--record", "1000")
    with private_server({"vms": {"web-1": BOTH}}, *arguments, at=REAL, cwd=folder) as server:
        yield server
        assert server.stop() == (0, "")


def output(served: PrivateServer, line: str) -> list[dict[str, Any]]:
    """Return the list that a shell command prints."""
    return served.run(["sh", "-c", line], [], **served.variables).results


def clear(served: PrivateServer) -> None:
    """Clear the record."""
    assert output(served, f"{OPENIMDS} --clear && {OPENIMDS} --json") == []


def mistakes(served: PrivateServer) -> dict[str, int]:
    """Return the number of requests that break each rule."""
    rows = output(served, f"{OPENIMDS} --report --json || true")
    return {row["rule"]: row["times"] for row in rows}


AZURE, MSAL = "azure_identity.py", "msal_python.py"
VAULT = "https://vault.azure.net"
IDENTITY: dict[str, Any] = {"identity": {"client_id": APP_IDS.client}, "resource": VAULT}


@pytest.mark.parametrize("kind", ["managed", "aio", "imds", "default"])
def test_azure_identity_makes_no_mistake(recorded: PrivateServer, kind: str) -> None:
    clear(recorded)
    is_default = kind == "default"
    by = {"managed_identity_client_id": APP_IDS.client} if is_default else IDENTITY["identity"]
    (result,) = recorded.python(AZURE, [{**IDENTITY, "kind": kind, "identity": by}]).results
    assert "token" in result
    assert mistakes(recorded) == {}


def test_new_credentials_do_not_cache_tokens(recorded: PrivateServer) -> None:
    clear(recorded)
    recorded.python(AZURE, [{**IDENTITY, "kind": "imds"}] * 3)
    # Its probe of IMDS, without the header, is not counted.
    assert mistakes(recorded) == {"token_not_kept": 2}


def test_msal_makes_no_mistake(recorded: PrivateServer) -> None:
    clear(recorded)
    recorded.python(MSAL, [{"kind": "system", "identity": {}, "resource": VAULT}])
    assert mistakes(recorded) == {}
