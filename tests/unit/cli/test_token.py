"""`openimds token`, against a stand-in of the client."""

import json
from typing import Any

import pytest

from openimds.admin.roles import Role
from openimds.cli import token
from tests.unit.cli.runner import CliRunner

MADE = {
    "name": "ci",
    "role": "read",
    "made": "2026-11-22T19:54:46.000+00:00",
    "by": "api 127.0.0.1 token:local",
    "expires": None,
    "expired": False,
    "lastUsed": None,
    "rotated": None,
    "formerUntil": None,
    "select": "tag=a",
}
ENDS = "2027-02-20T19:54:46.000+00:00"
ENDING = {**MADE, "name": "old", "expires": ENDS, "expired": True, "lastUsed": "yesterday"}


class Api:
    """Keeps the calls, and answers as the server does."""

    token_path = "/state/admin-token"
    calls: list[tuple[Any, ...]]

    def __init__(self, _state: str) -> None: ...

    def ask(self, method: str, path: str, body: object = None) -> Any:
        self.calls.append((method, path, body))
        if path == "/v1/token":
            return {"tokenFile": "/state/admin-token"}
        if method == "DELETE":
            return None
        assert isinstance(body, dict)
        ends = ENDS if "lifeS" in body else None
        former = "today" if "overlapS" in body else None
        return {**MADE, "token": "4vWcdm", "expires": ends, "formerUntil": former}

    def items(self, path: str) -> Any:
        self.calls.append(("GET", path, None))
        return iter([MADE, ENDING])


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    Api.calls = []
    monkeypatch.setattr(token, "Client", Api)
    return Api.calls


def done(*words: str) -> Any:
    got = CliRunner().invoke(token.command, [*words])
    assert got.exit_code == 0, got.output
    return got


def test_roles_of_the_command_are_those_of_the_api() -> None:
    assert list(token.ROLES) == [role.value for role in Role]


def test_add_prints_the_token_alone(calls: list[tuple[Any, ...]]) -> None:
    got = done("add", "ci", "--role", "read")
    assert got.stdout == "4vWcdm\n"
    assert got.stderr == "ci may read all but secrets; its secret is shown only now:\n"
    assert calls == [("POST", "/v1/tokens", {"name": "ci", "role": "read"})]


def test_add_sends_the_seconds_of_its_life(calls: list[tuple[Any, ...]]) -> None:
    got = done("add", "ci", "--role", "read", "--expires", "90d")
    assert (
        got.stderr == f"ci may read all but secrets until {ENDS}; its secret is shown only now:\n"
    )
    (call,) = calls
    assert call[2] == {"name": "ci", "role": "read", "lifeS": 90 * 86_400}


def test_add_binds_a_token_to_vms(calls: list[tuple[Any, ...]]) -> None:
    got = done("add", "ci", "--role", "read", "--select", "tag=a")
    assert got.stderr == "ci may read all but secrets of tag=a; its secret is shown only now:\n"
    assert calls[0][2] == {"name": "ci", "role": "read", "select": "tag=a"}


def test_rotate_of_a_name_prints_the_new_secret(calls: list[tuple[Any, ...]]) -> None:
    got = done("rotate", "a/b", "--overlap", "1h30m", "--expires", "90")
    assert got.stdout == "4vWcdm\n"
    assert got.stderr == (
        f"a/b rotated until {ENDS}; the secret before is valid until today; the new one is shown "
        "only now:\n"
    )
    assert done("rotate", "ci").stderr == (
        "ci rotated; the secret before has ended; the new one is shown only now:\n"
    )
    assert calls == [
        ("POST", "/v1/tokens/a%2Fb/rotate", {"overlapS": 5400, "lifeS": 90}),
        ("POST", "/v1/tokens/ci/rotate", {}),
    ]


def test_overlap_without_a_name_is_refused(calls: list[tuple[Any, ...]]) -> None:
    got = CliRunner().invoke(token.command, ["rotate", "--overlap", "1h"])
    assert got.exit_code == 2
    assert "--overlap and --expires are for a token with a NAME" in got.stderr
    assert calls == []


def test_list_prints_a_table_or_json(calls: list[tuple[Any, ...]]) -> None:
    assert done("list").stdout.splitlines() == [
        "NAME\tROLE\tEXPIRES\tLAST USED\tSELECT\tMADE\tBY",
        f"ci\tread\tnever\tnever\ttag=a\t{MADE['made']}\tapi 127.0.0.1 token:local",
        f"old\tread\texpired {ENDS}\tyesterday\ttag=a\t{MADE['made']}\tapi 127.0.0.1 token:local",
    ]
    assert json.loads(done("list", "--json").stdout) == [MADE, ENDING]
    assert calls == [("GET", "/v1/tokens", None)] * 2


def test_revoke_names_the_token(calls: list[tuple[Any, ...]]) -> None:
    assert done("revoke", "a/b").stderr == "a/b revoked\n"
    assert calls == [("DELETE", "/v1/tokens/a%2Fb", None)]


def test_rotate_and_path_name_the_file(calls: list[tuple[Any, ...]]) -> None:
    assert done("rotate").stderr == "new token in /state/admin-token\n"
    assert done("path").stdout == "/state/admin-token\n"
    assert calls == [("POST", "/v1/token", None)]
