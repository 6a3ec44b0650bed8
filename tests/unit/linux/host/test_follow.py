"""Following a host: bindings, failures and reports of restored differences."""

import socket
from collections.abc import Sequence
from contextlib import nullcontext

import pytest

from openimds.errors import ConfigError
from openimds.linux.host import follow
from openimds.linux.host.bindings import InterfaceBinding
from openimds.linux.host.commands import ToolError
from openimds.linux.host.follow import DRIFT_S, POLL_S, REST_S, Follower, KernelEvents
from openimds.linux.platform import IS_LINUX
from tests.unit.linux.host.fake_host import BRIDGE, RULE, TAP_A, FakeHost, made_tables, ways

A = InterfaceBinding("a", "tap-a", "02:00:00:00:00:0a", ("10.0.0.4",))
BAD = ConfigError("fleet.yaml", "no such file or directory", "a file that can be read")


class MendedHost(FakeHost):
    """A host that does the steps of a plan, as far as this test needs."""

    is_broken = False

    def __call__(self, command: tuple[str, ...], text: str) -> str:
        match command:
            case ("nft", "-f", "-") if self.is_broken:
                raise ToolError("nft -f -: never")
            case ("nft", "-f", "-"):
                self.tables = made_tables(text)
            case ("ip", "rule", "add", *_):
                self.rules = [RULE]
            case ("ip", "route", "add", *_):
                self.routes = ways()
            case ("ip", "neighbour", "replace", address, "lladdr", mac, "dev", device, *_):
                entry = {"dst": address, "dev": device, "lladdr": mac, "protocol": "169"}
                self.neighbours.append(entry)
            case _:
                return super().__call__(command, text)
        return ""


class Followed:
    """A follower of a host, with its reports."""

    def __init__(self, host: FakeHost) -> None:
        self.fleet: Sequence[InterfaceBinding] | ConfigError = [A]
        self.has_changed = False
        self.reports: list[str] = []
        self.applied = 0
        self.follower = Follower(
            host,
            self._read,
            lambda: self.has_changed,
            self.reports.append,
            lock=nullcontext,
            applied=self._note,
        )

    def _note(self) -> None:
        self.applied += 1

    def _read(self) -> Sequence[InterfaceBinding]:
        if isinstance(self.fleet, ConfigError):
            raise self.fleet
        return self.fleet

    def restored(self) -> list[str]:
        """Restore, and return the new reports."""
        self.reports.clear()
        self.follower.restore()
        return [text.removeprefix("restored: ") for text in self.reports]


def test_everything_is_made_once_and_each_difference_reported() -> None:
    host = MendedHost(BRIDGE, TAP_A)
    followed = Followed(host)
    assert len(followed.restored()) == 7
    assert followed.restored() == []
    host.rules = []
    assert followed.restored() == ["the routing rule of the mark 0x6f696d64 is missing"]
    host.tables["bridge"] = host.tables["bridge"][:-1]
    assert followed.restored() == ["the table bridge openimds was changed"]
    host.neighbours.clear()
    (restored,) = followed.restored()
    assert restored.startswith("ip neighbour replace 10.0.0.4 ")


def test_only_a_fleet_that_was_read_and_bound_is_noted() -> None:
    host = MendedHost(BRIDGE, TAP_A)
    followed = Followed(host)
    followed.restored()
    assert followed.applied == 1
    followed.fleet = BAD
    followed.restored()
    assert followed.applied == 1
    followed.fleet = [InterfaceBinding("a", "tap-a", "02:00:00:00:00:0c", ("10.0.0.4",))]
    host.is_broken = True
    followed.restored()
    assert followed.applied == 1
    host.is_broken = False
    followed.restored()
    assert followed.applied == 2


def test_changed_bindings_are_reported_as_such() -> None:
    followed = Followed(MendedHost(BRIDGE, TAP_A))
    followed.restored()
    followed.fleet = []
    followed.fleet = [InterfaceBinding("a", "tap-a", "02:00:00:00:00:0c", ("10.0.0.4",))]
    first, second = followed.restored()
    assert first == "the bindings, which the fleet or an interface has changed"
    assert "lladdr 02:00:00:00:00:0c" in second


def test_unreadable_fleet_is_reported_and_leaves_the_bindings() -> None:
    host = MendedHost(BRIDGE, TAP_A)
    followed = Followed(host)
    followed.restored()
    followed.fleet = BAD
    assert followed.restored() == [f"{BAD}; the bindings stay as they are"]
    host.rules = []
    assert followed.restored() == ["the routing rule of the mark 0x6f696d64 is missing"]
    followed.fleet = [A]
    assert followed.restored() == []
    followed.fleet = BAD
    assert len(followed.restored()) == 1


def test_unreadable_first_fleet_changes_nothing() -> None:
    host = MendedHost(BRIDGE, TAP_A)
    followed = Followed(host)
    followed.fleet = BAD
    assert followed.restored() == [f"{BAD}; the bindings stay as they are"]
    assert host.tables == {}


def test_failure_of_a_tool_is_reported_and_tried_again() -> None:
    host = MendedHost(BRIDGE, TAP_A)
    broken = [True]

    def run(command: tuple[str, ...], text: str) -> str:
        if broken and command[:2] == ("nft", "-f"):
            raise ToolError("nft -f -: never")
        return host(command, text)

    followed = Followed(host)
    followed.follower = Follower(
        run, lambda: [A], lambda: False, followed.reports.append, lock=nullcontext
    )
    assert followed.restored() == ["nft -f -: never"]
    assert followed.restored() == []
    broken.clear()
    assert len(followed.restored()) == 7


def test_steps_before_a_failure_are_reported() -> None:
    host = MendedHost(BRIDGE, TAP_A)
    broken = [True]

    def run(command: tuple[str, ...], text: str) -> str:
        if broken and command[:3] == ("ip", "rule", "add"):
            raise ToolError("ip rule add: never")
        return host(command, text)

    followed = Followed(host)
    followed.follower = Follower(
        run, lambda: [A], lambda: False, followed.reports.append, lock=nullcontext
    )
    nft, *others, failure = followed.restored()
    assert nft.startswith("nft -f - (")
    assert len(others) == 2
    assert failure == "ip rule add: never"
    broken.clear()
    first, second = followed.restored()
    assert first == "the routing rule of the mark 0x6f696d64 is missing"
    assert second.startswith("ip neighbour replace 10.0.0.4 ")


@pytest.mark.skipif(not IS_LINUX, reason="Linux has netlink")
def test_refused_subscription_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[socket.socket] = []

    def subscribed(family: int, _groups: int) -> socket.socket:
        if opened:
            raise PermissionError(1, "Operation not permitted")
        opened.append(socket.socket())
        return opened[0]

    monkeypatch.setattr(follow, "_subscribed", subscribed)
    with pytest.raises(ToolError) as caught:
        KernelEvents()
    assert str(caught.value) == "the kernel reports no changes of rules (operation not permitted)"
    assert opened[0].fileno() < 0


class EndError(Exception):
    """Ends the loop that never returns."""


@pytest.mark.parametrize(
    "event_at, change_at, waits",
    [(3, 99, 3), (99, 5, 5), (99, 99, DRIFT_S / POLL_S)],
    ids=["event", "fleet", "time"],
)
def test_comparison_follows_an_event_a_change_or_time(
    event_at: int, change_at: int, waits: float
) -> None:
    followed, seen = Followed(MendedHost(BRIDGE, TAP_A)), []

    def wait(timeout_s: float) -> bool:
        if followed.reports:
            raise EndError
        seen.append(timeout_s)
        followed.has_changed = len(seen) == change_at
        return len(seen) == event_at

    with pytest.raises(EndError):
        followed.follower.follow(wait, lambda _: None)
    assert seen == [POLL_S] * int(waits)


def test_each_comparison_waits_for_the_shortest_time() -> None:
    followed, order = Followed(MendedHost(BRIDGE, TAP_A)), list[object]()

    def wait(_: float) -> bool:
        order.append("event")
        if len(order) > 4:
            raise EndError
        return True

    with pytest.raises(EndError):
        followed.follower.follow(wait, order.append)
    assert order == [REST_S, "event"] * 2 + [REST_S, "event"]


@pytest.mark.skipif(not IS_LINUX, reason="Linux has netlink")
def test_burst_of_events_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel: list[socket.socket] = []

    def subscribed(family: int, _groups: int) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        theirs.settimeout(0)
        kernel.append(ours)
        return theirs

    monkeypatch.setattr(follow, "_subscribed", subscribed)
    with KernelEvents() as events:
        for one in kernel:
            for _ in range(5):
                one.send(b"changed")
        assert events.wait(0)
        assert not events.wait(0)
    for one in kernel:
        one.close()


@pytest.mark.skipif(not IS_LINUX, reason="Linux has netlink")
def test_overflow_of_the_kernel_is_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    failures = [OSError(105, "No buffer space available"), BlockingIOError()]

    class Overflown(socket.socket):
        def recv(self, *_: object) -> bytes:
            if failures:
                raise failures.pop(0)
            return super().recv(1)

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    overflown = Overflown(fileno=theirs.detach())
    overflown.settimeout(0)
    opened = [overflown, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)]
    monkeypatch.setattr(follow, "_subscribed", lambda *_: opened.pop(0))
    with ours, KernelEvents() as events:
        ours.send(b"changed")
        assert events.wait(0)
        assert not events.wait(0)


@pytest.mark.skipif(not IS_LINUX, reason="Linux has netlink")
def test_endless_events_do_not_keep_wait_from_returning(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(socket.socket):
        def recv(self, *_: object) -> bytes:
            return b"changed"

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    opened = [Endless(fileno=theirs.detach()), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)]
    monkeypatch.setattr(follow, "_subscribed", lambda *_: opened.pop(0))
    with ours, KernelEvents() as events:
        ours.send(b"changed")
        assert events.wait(0)


@pytest.mark.skipif(not IS_LINUX, reason="Linux has netlink")
def test_events_end_with_their_block() -> None:
    try:
        events = KernelEvents()
    except ToolError as error:
        pytest.skip(f"this process may not subscribe: {error}")
    with events:
        (sockets,) = vars(events).values()
        assert all(isinstance(item, socket.socket) and item.fileno() >= 0 for item in sockets)
    assert all(item.fileno() < 0 for item in sockets)
