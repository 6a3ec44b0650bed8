"""Well-known clients, held against the rules of the strict report: what they do is no mistake."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.fleet import APP_IDS, BOTH
from tests.clients.rig import REAL, Stage, stage

pytestmark = [pytest.mark.system, pytest.mark.netns]

OPENIMDS = f"{sys.executable} -m openimds requests"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A server that remembers what it was asked."""
    folder = tmp_path_factory.mktemp("recorded")
    arguments = ("--no-rate-limit", "--record", "1000")
    with stage({"vms": {"web-1": BOTH}}, *arguments, at=REAL, cwd=folder) as one:
        yield one
        assert one.stop() == (0, "")


def told(served: Stage, line: str) -> list[dict[str, Any]]:
    """The list that a command prints about the server."""
    variables = {
        "OPENIMDS_ADMIN": served.ready["admin"],
        "OPENIMDS_TOKEN_FILE": served.ready["token_file"],
    }
    return served.run(["sh", "-c", line], [], **variables).results


def forget(served: Stage) -> None:
    """Let nothing be recorded."""
    assert told(served, f"{OPENIMDS} --clear && {OPENIMDS} --json") == []


def found(served: Stage) -> dict[str, int]:
    """How many requests break each rule."""
    shown = told(served, f"{OPENIMDS} --report --json || true")
    return {one["rule"]: one["times"] for one in shown}


AZURE, MSAL = "azure_identity.py", "msal_python.py"
VAULT = "https://vault.azure.net"
IDENTITY: dict[str, Any] = {"identity": {"client_id": APP_IDS.client}, "resource": VAULT}


@pytest.mark.parametrize("kind", ["managed", "aio", "imds", "default"])
def test_azure_identity_does_nothing_wrong(recorded: Stage, kind: str) -> None:
    forget(recorded)
    is_default = kind == "default"
    by = {"managed_identity_client_id": APP_IDS.client} if is_default else IDENTITY["identity"]
    (result,) = recorded.python(AZURE, [{**IDENTITY, "kind": kind, "identity": by}]).results
    assert "token" in result
    assert found(recorded) == {}


def test_a_credential_for_each_token_keeps_none(recorded: Stage) -> None:
    forget(recorded)
    recorded.python(AZURE, [{**IDENTITY, "kind": "imds"}] * 3)
    # Its question whether IMDS is there, without the header, is not counted.
    assert found(recorded) == {"token_not_kept": 2}


def test_msal_does_nothing_wrong(recorded: Stage) -> None:
    forget(recorded)
    recorded.python(MSAL, [{"kind": "system", "identity": {}, "resource": VAULT}])
    assert found(recorded) == {}
