"""`openimds vm move` against a fake admin API."""

from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import Result

from openimds.cli import move
from openimds.cli.vm import command
from openimds.errors import ConfigError, Error
from tests.unit.cli.runner import CliRunner

BEGUN = ({"nextHost": "host-2"}, 1)
COMMITTED = {"host": "host-2", "nextHost": None}


class Api:
    """A control with a VM; its hosts lack the VM for a number of questions."""

    def __init__(self) -> None:
        self.vm: dict[str, Any] = {"name": "web-1", "revision": 1, "host": "host-1"}
        self.hosts: list[dict[str, Any]] = [
            {"name": f"host-{number}", "state": state, "isConnected": number == 2, "refused": {}}
            for number, state in ((1, "joined"), (2, "joined"), (3, "revoked"))
        ]
        self.patches: list[tuple[dict[str, Any], int | None]] = []
        self.lacking = 0

    def ask(
        self, method: str, path: str, body: Any = None, media: str = "", revision: int | None = None
    ) -> Any:
        if path.endswith("/placement"):
            self.lacking -= 1
            return {"lacking": ["host-1", "host-2"] if self.lacking >= 0 else ["host-1"]}
        assert path == "/v1/vms/web-1"
        if method == "PATCH":
            assert media == "application/merge-patch+json"
            self.patches.append((body, revision))
            left = {**self.vm, **body, "revision": self.vm["revision"] + 1}
            self.vm = {key: value for key, value in left.items() if value is not None}
        return self.vm

    def items(self, path: str) -> Iterator[dict[str, Any]]:
        assert path == "/v1/hosts"
        return iter(self.hosts)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    double = Api()
    monkeypatch.setattr(move, "Client", lambda _: double)
    monkeypatch.setattr(move, "_POLL_S", 0)
    return double


def call(*arguments: str) -> Result:
    return CliRunner().invoke(command, ["move", "web-1", *arguments])


def refusal(*arguments: str) -> str:
    error = call(*arguments).exception
    assert isinstance(error, Error)
    return str(error)


def test_move_begins_waits_and_commits(api: Api) -> None:
    api.lacking = 2
    got = call("--to", "host-2")
    assert got.exit_code == 0
    assert got.stderr.splitlines() == [
        "waiting for host-2 to show web-1",
        "web-1 moved from host-1 to host-2",
    ]
    assert api.patches == [BEGUN, (COMMITTED, 2)]


def test_move_in_two_steps_commits_what_was_begun(api: Api) -> None:
    assert call("--to", "host-2", "--begin").stdout == "web-1 may resume on host-2\n"
    assert api.patches == [BEGUN]
    assert call("--commit").stderr == "web-1 moved from host-1 to host-2\n"
    assert api.patches == [BEGUN, (COMMITTED, 2)]


def test_begun_move_goes_on_without_another_change(api: Api) -> None:
    api.vm["nextHost"] = "host-2"
    assert call("--to", "host-2", "--begin").exit_code == 0
    assert api.patches == []


def test_cancelled_move_leaves_the_first_host(api: Api) -> None:
    api.vm["nextHost"] = "host-2"
    assert call("--cancel").stderr == "web-1 stays on host-1\n"
    assert api.patches == [({"nextHost": None}, 1)]


@pytest.mark.parametrize("step", ["--commit", "--cancel"])
def test_step_without_a_begun_move_is_refused(api: Api, step: str) -> None:
    assert refusal(step).startswith("web-1 is on host-1 and not moving")
    assert api.patches == []


@pytest.mark.parametrize(
    "connected, refused, reason",
    [
        (False, {}, "it is not connected to control"),
        (True, {"web-1": "another release"}, "another release"),
        (True, {}, "it has not caught up yet"),
    ],
)
def test_wait_ends_with_the_reason(
    api: Api, connected: bool, refused: dict[str, str], reason: str
) -> None:
    api.lacking = 9
    api.hosts[1] |= {"isConnected": connected, "refused": refused}
    text = refusal("--to", "host-2", "--timeout", "0")
    assert text.startswith(f"host-2 does not show web-1 after 0 s: {reason}. ")
    assert api.patches == [BEGUN]


def test_wait_for_a_host_that_is_gone_ends_with_the_reason(api: Api) -> None:
    api.lacking, api.vm["nextHost"], api.hosts = 9, "host-2", []
    assert "it is not connected to control" in refusal("--commit", "--timeout", "0")


@pytest.mark.parametrize(
    "host, beginning, end",
    [
        ("host-3", '--to: saw "host-3", which is revoked, expected one of', "for a new host"),
        ("host-22", '--to: saw "host-22"', ""),
        ("other", '--to: saw "other", expected one of host-1, host-2. ', "for a new host"),
    ],
)
def test_unknown_host_is_refused(api: Api, host: str, beginning: str, end: str) -> None:
    text = refusal("--to", host)
    assert text.startswith(beginning)
    assert text.endswith(end)
    assert api.patches == []


def test_host_of_a_fleet_without_hosts_is_refused(api: Api) -> None:
    api.hosts = []
    assert "expected a host that has joined" in refusal("--to", "host-2")


def test_vm_that_is_there_is_refused(api: Api) -> None:
    assert refusal("--to", "host-1") == "web-1 is on host-1 already"


def test_vm_on_no_host_is_refused(api: Api) -> None:
    del api.vm["host"]
    assert refusal("--to", "host-1").startswith("web-1 is on no host; ")


def test_vm_that_moves_elsewhere_is_refused(api: Api) -> None:
    api.vm["nextHost"] = "host-4"
    assert refusal("--to", "host-2").startswith("web-1 is moving from host-1 to host-4; ")


def test_two_steps_at_once_are_refused(api: Api) -> None:
    assert "it beside --begin" in refusal("--begin", "--cancel", "--to", "host-2")


@pytest.mark.parametrize("arguments", [(), ("--begin",)])
def test_move_without_a_host_is_refused(api: Api, arguments: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="--to: saw nothing"):
        raise call(*arguments).exception or AssertionError
