"""`openimds control host`, against a stand-in of the client."""

import json
from typing import Any

import msgspec.json
import pytest

from openimds.cli import control
from tests.unit.admin.setup import standing
from tests.unit.cli.runner import CliRunner

HOSTS = [
    standing("host-1", unshown_age_s=12.4, silent_s=3.6, certificate_ends_s=1_795_982_090.0),
    standing(
        "host-2",
        is_connected=False,
        is_settled=False,
        revision=None,
        silent_s=None,
        certificate_ends_s=None,
    ),
]


class Api:
    """A control with hosts, which keeps the calls."""

    hosts = HOSTS
    calls: list[tuple[Any, ...]]

    def __init__(self, _state: str) -> None: ...

    def ask(self, method: str, path: str, body: object = None) -> Any:
        self.calls.append((method, path, body))
        return {"token": "openimds-join-1"}

    def items(self, path: str) -> Any:
        assert path == "/v1/hosts"
        return iter(msgspec.json.decode(msgspec.json.encode(self.hosts)))


@pytest.fixture(autouse=True)
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    Api.calls = []
    monkeypatch.setattr(control, "Client", Api)
    return Api.calls


def done(*words: str) -> Any:
    got = CliRunner().invoke(control.command, ["host", *words])
    assert got.exit_code == 0, got.output
    return got


def test_hosts_are_listed_with_their_progress() -> None:
    got = done("list")
    assert got.stdout.splitlines() == [
        "NAME\tSTATE\tVMS\tREVISION\tSHOWS ALL\tBEHIND\tSILENT\tREFUSED\tRELEASE\tCERTIFICATE",
        "host-1\tjoined\t2\t7\tyes\t12 s\t4 s\t\t0.1.0\t2026-11-29 19:54",
        "host-2\tjoined\t2\taway\tno\t\t\t\t0.1.0\t",
    ]
    assert got.stderr == ""


def test_problems_of_hosts_follow_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = [
        standing(
            "host-1",
            refused={"web": "its\x1b[2J listener is taken"},
            leaf_failure="host host-1: no",
            join_token_reuses=2,
        )
    ]
    monkeypatch.setattr(Api, "hosts", hosts)
    assert done("list").stderr.splitlines() == [
        "openimds: host-1 could not take web: its\\x1b[2J listener is taken",
        "openimds: host-1 gets no leaves to sign attested documents: host host-1: no",
        (
            "openimds: another machine tried 2 times to use the spent join token of host-1; if "
            "that was not yours, type openimds control host revoke host-1"
        ),
    ]
    (host,) = json.loads(done("list", "--json").stdout)
    assert (host["leafFailure"], host["joinTokenReuses"]) == ("host host-1: no", 2)
    assert done("list", "--json").stderr == ""


def test_further_problems_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = {f"vm-{number}": "no" for number in range(control.MOST_PROBLEMS + 3)}
    monkeypatch.setattr(Api, "hosts", [standing("host-1", refused=refused)])
    lines = done("list").stderr.splitlines()
    assert len(lines) == control.MOST_PROBLEMS + 1
    assert lines[-1] == "openimds: 3 further problems; --json has all"


def test_host_is_invited_and_revoked(calls: list[tuple[Any, ...]]) -> None:
    assert done("add", "host-1").stdout == "openimds-join-1\n"
    assert "its VMs are still placed on it" in done("revoke", "host-1").stderr
    assert calls == [
        ("POST", "/v1/hosts", {"name": "host-1"}),
        ("DELETE", "/v1/hosts/host-1", None),
    ]
