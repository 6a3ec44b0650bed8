"""Wait for events of the kernel, and restore the host rules where they differ."""

import select
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Self

from openimds.errors import Error
from openimds.linux.host.bindings import InterfaceBinding
from openimds.linux.host.commands import Run, ToolError, host_lock
from openimds.linux.host.host_state import read_state
from openimds.linux.host.nft_state import expected_by
from openimds.linux.host.plan import PlanStep, plan_up, problems
from openimds.log.events import RULES_RESTORED, RULES_TROUBLE

DRIFT_S = 30.0
"""The longest time between two comparisons: not every change is an event."""
POLL_S = 1.0
"""The time between two looks at the fleet."""
REST_S = 1.0
"""The shortest time between two comparisons: events meanwhile lead to one."""

# linux/netlink.h, rtnetlink.h and nfnetlink.h: families, and their groups as bits.
_ROUTE, _NETFILTER = 0, 12
_LINK, _ADDRESS_4, _ROUTE_4, _RULE_4, _ADDRESS_6 = 0x1, 0x10, 0x40, 0x80, 0x100
_NFTABLES = 0x40
_READ_BYTES = 65536
_SETTLED_S = 0.05
_MOST_SETTLING = 20
_MOST_EVENTS = 10_000
"""So many events are read at once: the kernel may make them as fast as they are read."""


class KernelEvents:
    """Events of interfaces, addresses, routes, routing rules and nftables in this namespace."""

    def __init__(self) -> None:
        """Subscribe.

        Raises:
            ToolError: this kernel has no such events, or refuses them.
        """
        groups = _LINK | _ADDRESS_4 | _ROUTE_4 | _RULE_4 | _ADDRESS_6
        self._sockets: list[socket.socket] = []
        try:
            self._sockets.append(_subscribed(_ROUTE, groups))
            self._sockets.append(_subscribed(_NETFILTER, _NFTABLES))
        except OSError as error:
            self.close()
            reason = (error.strerror or str(error)).lower()
            raise ToolError(f"the kernel reports no changes of rules ({reason})") from None

    def wait(self, timeout_s: float) -> bool:
        """Wait for an event, then until no other follows; tell whether there was one."""
        if not self._read(timeout_s):
            return False
        for _ in range(_MOST_SETTLING):
            if not self._read(_SETTLED_S):
                break
        return True

    def _read(self, timeout_s: float) -> bool:
        """Read the events that come within a time."""
        ready, _, _ = select.select(self._sockets, [], [], timeout_s)
        for one in ready:
            for _ in range(_MOST_EVENTS):
                try:
                    one.recv(_READ_BYTES)
                except BlockingIOError:
                    break
                except OSError:  # The kernel had no room for more events: there were some.
                    continue
        return bool(ready)

    def __enter__(self) -> Self:
        """Return these events, for a block."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the subscriptions."""
        self.close()

    def close(self) -> None:
        """End the subscriptions."""
        for one in self._sockets:
            one.close()


def _subscribed(family: int, groups: int) -> socket.socket:
    netlink: int = getattr(socket, "AF_NETLINK")  # noqa: B009 - other systems lack the name
    opened = socket.socket(netlink, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family)
    opened.settimeout(0)
    try:
        opened.bind((0, groups))
    except OSError:
        opened.close()
        raise
    return opened


class Follower:
    """Keeps the host rules as a fleet has them, and reports the differences.

    `fleet` returns the bindings; `changed` tells, at most once a second, whether they may be others
    since the last call of `fleet`. `applied` is called after the rules were made to bind the fleet
    of that call.
    """

    def __init__(  # noqa: PLR0913 - the world of a test
        self,
        run: Run,
        fleet: Callable[[], Sequence[InterfaceBinding]],
        changed: Callable[[], bool],
        report: Callable[[str], None],
        *,
        ipv6: bool = False,
        most_open: int = 0,
        lock: Callable[[], AbstractContextManager[None]] = host_lock,
        applied: Callable[[], None] = lambda: None,
    ) -> None:
        """Follow nothing yet."""
        self._applied = applied
        self._run, self._fleet, self._changed = run, fleet, changed
        self._report, self._ipv6, self._most_open = report, ipv6, most_open
        self._lock, self._expected = lock, expected_by(run)
        self._bound: Sequence[InterfaceBinding] | None = None
        self._reported = ""

    def restore(self) -> None:
        """Compare the host with the fleet, and restore what differs.

        A fleet that cannot be read leaves the bindings of the last one. An error is reported when
        it begins, and the next call tries again.
        """
        failure = ""
        try:
            self._bound = self._fleet()
        except Error as error:
            failure = f"{error}; the bindings stay as they are"
        if self._bound is not None:
            try:
                self._apply(self._bound)
                if not failure:
                    self._applied()
            except Error as error:
                failure = str(error)
        if failure and failure != self._reported:
            self._report(RULES_TROUBLE.message(failure))
        self._reported = failure

    def _apply(self, bound: Sequence[InterfaceBinding]) -> None:
        with self._lock():
            state = read_state(self._run)
            found = problems(state, self._expected)
            steps = plan_up(
                state, bound, self._expected, ipv6=self._ipv6, most_open=self._most_open
            )
            done: list[PlanStep] = []
            try:
                for step in steps:
                    self._run(step.command, step.text)
                    done.append(step)
            finally:
                is_whole = len(done) == len(steps)
                sentences = _sentences(found, steps) if is_whole else [step.brief for step in done]
                for sentence in sentences:
                    self._report(
                        RULES_RESTORED.message(f"restored: {sentence}", difference=sentence)
                    )

    def follow(
        self, wait: Callable[[float], bool], rest: Callable[[float], None] = time.sleep
    ) -> None:
        """Restore at each event, change of the fleet, and time of comparison; it never returns.

        `wait` waits for events of the kernel for some seconds, and tells whether there was one;
        `rest` waits in any case.
        """
        while True:
            rest(REST_S)
            left_s = DRIFT_S
            while left_s > 0 and not wait(POLL_S) and not self._changed():
                left_s -= POLL_S
            self.restore()


def _sentences(found: Sequence[str], steps: Sequence[PlanStep]) -> list[str]:
    """Return a sentence for each difference that steps have removed."""
    if not steps:
        return []
    results = [*found]
    if any(step.text for step in steps) and not any("table" in text for text in found):
        results.append("the bindings, which the fleet or an interface has changed")
    return results + [step.brief for step in steps if "neighbour" in step.command]
