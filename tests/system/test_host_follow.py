"""`openimds host follow` restores the host rules, and reports each thing that it restored."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.lab import FLEET, Follow, Lab, fleet, lab

pytestmark = [pytest.mark.system, pytest.mark.netns]

READY = "following fleet.json"
BINDINGS = "openimds: restored: the bindings, which the fleet or an interface has changed."


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Lab]:
    with lab(tmp_path) as here:
        here.edit(FLEET)
        yield here


@pytest.fixture
def follow(here: Lab) -> Iterator[Follow]:
    """`host follow` after `host up`: it has nothing to restore at its start."""
    here.up()
    with here.following("--fleet", "fleet.json") as follow:
        assert follow.lines_until(READY) == []
        yield follow


def test_follow_begins_with_up(here: Lab) -> None:
    with here.following("--fleet", "fleet.json") as follow:
        lines = follow.lines_until(READY)
        assert "openimds: restored: the table inet openimds is missing." in lines
        assert here.status()["isUp"]


def test_flushed_rules_are_restored_at_once(here: Lab, follow: Follow) -> None:
    with here.serving():
        here.host.shell("nft flush ruleset")
        assert [follow.line() for _ in range(3)] == [
            f"openimds: restored: the table {family} openimds is missing."
            for family in ("arp", "bridge", "inet")
        ]
        assert here.request("a") == "web-a"


def test_removed_routing_rule_is_restored(here: Lab, follow: Follow) -> None:
    here.host.shell("ip rule delete fwmark 0x6f696d64")
    assert follow.line().endswith("the routing rule of the mark 0x6f696d64 is missing.")
    assert here.status()["isUp"]


def test_changed_fleet_file_is_bound(here: Lab, follow: Follow) -> None:
    here.edit(fleet("a", "b"))
    assert follow.line() == BINDINGS
    assert [guest["vm"] for guest in here.status()["guests"]] == ["web-a", "web-b"]


def test_bad_fleet_file_leaves_the_bindings(here: Lab, follow: Follow) -> None:
    here.edit_text("{")
    assert follow.line().endswith("; the bindings stay as they are.")
    here.host.shell("nft delete table inet openimds")
    assert follow.line() == "openimds: restored: the table inet openimds is missing."
    assert len(here.status()["guests"]) == 3


def test_interface_that_appears_is_bound(here: Lab, follow: Follow) -> None:
    entry = "10.0.0.4 lladdr 02:00:00:00:00:0a dev br0 nud permanent protocol 169"
    here.host.shell("ip link set pa nomaster; ip link set pa name gone")
    follow.lines_until("openimds: restored: ip neighbour delete 10.0.0.4 dev br0.")
    here.host.shell("ip link set gone name pa; ip link set pa up; ip link set pa master br0")
    assert BINDINGS in follow.lines_until(f"openimds: restored: ip neighbour replace {entry}.")


def test_change_of_a_running_server_is_bound(here: Lab) -> None:
    with (
        here.serving("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:8170"),
        here.following() as follow,
    ):
        follow.lines_until("following the running server")
        here.host.openimds("vm", "remove", "web-b")
        assert follow.line() == BINDINGS
        assert follow.line().endswith("ip neighbour delete 10.0.0.5 dev br0.")
        assert [guest["vm"] for guest in here.status()["guests"]] == ["web-a", "web-d"]
