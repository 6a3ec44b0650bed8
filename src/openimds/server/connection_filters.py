"""Filters of the data plane's listeners while faults leave connections unanswered."""

import errno
import socket
from collections.abc import Callable, Iterable
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from openimds.dataplane.listeners import Listener, is_guarded
from openimds.errors import ConfigError
from openimds.facts.faults import BLACKHOLE
from openimds.faults import FaultInjector
from openimds.fleet.index import FleetIndex
from openimds.linux import source_filter
from openimds.linux.host.nft_rules import PACKET_MARK
from openimds.linux.source_filter import MOST_SOURCES
from openimds.log.events import GUARD_TROUBLE
from openimds.protocol.faults.fault import FaultSpec
from openimds.server.inherited_sockets import InheritedSockets

_NOBODY: frozenset[str] = frozenset()
_PRIVILEGE = "this kernel wants the capability NET_ADMIN for it"


class ConnectionFilters:
    """The filters of all TCP listeners.

    A unix socket has none: its connections are accepted, and their requests get no response. A
    listener behind the rules of `openimds host` drops packets without their mark, where the kernel
    lets this process: so an open connection ends with the rules, too.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the parts that it stands between
        self,
        injector: FaultInjector,
        utc: Callable[[], float],
        fleet_index: FleetIndex[Any],
        listeners: Callable[[], Iterable[Listener]],
        inherited: InheritedSockets,
        notify: Callable[[str], None],
    ) -> None:
        """Filter nothing yet; `listeners` returns the open ones, among them `inherited` sockets."""
        self._inherited = inherited
        self._injector, self._utc, self._fleet_index = injector, utc, fleet_index
        self._listeners, self._notify = listeners, notify
        self._attached: WeakKeyDictionary[socket.socket, frozenset[str] | None] = (
            WeakKeyDictionary()
        )
        self._marked: WeakSet[socket.socket] = WeakSet()
        self._reported = ""

    @property
    def is_active(self) -> bool:
        """Whether any listener has a filter."""
        return bool(self._attached)

    def check(self, specs: Iterable[FaultSpec]) -> None:
        """Check that this system can play these faults together.

        Raises:
            ConfigError: it has no filters of sockets, or the VMs have too many addresses.
        """
        ours = [spec for spec in specs if spec.effect == BLACKHOLE]
        if not ours:
            return
        self._check_system()
        if all(spec.vms for spec in ours):
            names = {name for spec in ours for name in spec.vms}
            sources = self._fleet_index.sources_of(names)
            if sources is not None and len(sources) > MOST_SOURCES:
                seen, most = f"{len(sources)} addresses of these VMs", f"at most {MOST_SOURCES}"
                raise ConfigError("vms", seen, most, "Without vms it is for all callers")

    def _check_system(self) -> None:
        """Check that the sockets of the data plane can have filters.

        Raises:
            ConfigError: this system has none, or asks for a privilege.
        """
        if self._attached:
            return
        bound = [one for listener in self._listeners() for one in listener.sockets]
        bound += [one for one, _ in self._inherited.dataplane]
        with socket.socket() as fresh:
            try:
                # Before the listeners are open, another socket stands for them.
                for one in [one for one in bound if _is_tcp(one)] or [fresh]:
                    source_filter.check(one, _mark_of(one))
            except OSError as error:
                is_refused = error.errno == errno.EPERM
                reason = _PRIVILEGE if is_refused else (error.strerror or str(error)).lower()
                hint = "Use openimds exec, or write refused or hang"
                seen = f'"{BLACKHOLE}" ({reason})'
                raise ConfigError("effect", seen, "an effect of this system", hint) from None

    def apply(self) -> None:
        """Give each listener the filter that the active faults and the fleet have now."""
        self._require_marks()
        names = self._injector.unanswered(self._utc())
        if not names and names is not None and not self._attached:
            return
        shared = None if names is None else self._fleet_index.sources_of(names)
        if shared is not None and len(shared) > MOST_SOURCES:
            self._report(f"{len(shared)} addresses, of which {MOST_SOURCES} can be filtered")
            shared = frozenset(sorted(shared)[:MOST_SOURCES])
        for listener in self._listeners():
            wanted = shared
            if listener.own and names is not None:
                owner = self._fleet_index.entry_of(listener.own)
                wanted = None if owner and owner.name in names else _NOBODY
            for bound in listener.sockets:
                self._filter(bound, wanted)

    def _require_marks(self) -> None:
        """Let listeners behind the host rules drop packets without the mark of these."""
        for listener in self._listeners():
            for bound in listener.sockets:
                if bound not in self._marked and _is_tcp(bound) and (mark := _mark_of(bound)):
                    self._marked.add(bound)
                    try:
                        source_filter.attach(bound, (), mark)
                    except OSError as error:
                        self._report_unmarked(bound, error)

    def _report_unmarked(self, bound: socket.socket, error: OSError) -> None:
        """Report that a socket accepts packets without the mark, where no routing keeps them out.

        Routing leads packets to the IPv4 address by their mark; the IPv6 address is on interfaces.
        """
        if bound.family == socket.AF_INET6:
            self._notify(
                GUARD_TROUBLE.message(
                    f"{bound.getsockname()[0]} is open to guests while the host rules are missing "
                    f"({(error.strerror or str(error)).lower()}); serve as root"
                )
            )

    def clear(self) -> None:
        """Remove the filters of faults: an inherited socket outlives this server."""
        for bound in [*self._attached]:
            self._filter(bound, _NOBODY)

    def _filter(self, bound: socket.socket, wanted: frozenset[str] | None) -> None:
        """Attach, replace or remove the filter of a socket, where that changes it."""
        if not _is_tcp(bound):
            self._attached.pop(bound, None)
        elif wanted == _NOBODY:
            if bound in self._attached:
                del self._attached[bound]
                if mark := _mark_of(bound):
                    source_filter.attach(bound, (), mark)
                else:
                    source_filter.detach(bound)
        elif self._attached.get(bound, _NOBODY) != wanted:
            try:
                source_filter.attach(bound, wanted, _mark_of(bound))
            except OSError as error:
                self._report((error.strerror or str(error)).lower())
            else:
                self._attached[bound] = wanted

    def _report(self, reason: str) -> None:
        """Report a failure, unless it is that of the last report."""
        if reason != self._reported:
            self._reported = reason
            self._notify(
                GUARD_TROUBLE.message(
                    f"the fault {BLACKHOLE} cannot swallow all connections ({reason}); "
                    "the others are accepted, and their requests get no response"
                )
            )


def _is_tcp(bound: socket.socket) -> bool:
    """Tell whether a socket is open, and one of TCP."""
    return bound.fileno() >= 0 and bound.family in (socket.AF_INET, socket.AF_INET6)


def _mark_of(bound: socket.socket) -> int:
    """Return the mark that packets to a socket need, or 0."""
    return PACKET_MARK if is_guarded(bound) else 0
