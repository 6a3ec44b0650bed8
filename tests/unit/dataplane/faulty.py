"""A plane on which faults are played: the real engine, timers that the test lets go off."""

from collections.abc import Callable
from typing import Any

from openimds.dataplane.connection import Connection
from openimds.dataplane.dispatcher import Dispatcher
from openimds.faults.injector import ActiveFault, FaultInjector
from openimds.protocol.faults.input import read_fault
from tests.support.talk import UTC_S, FakeTransport, Talk


class Timer:
    """Something that is to happen."""

    def __init__(self, at_s: float, call: Callable[[], None]) -> None:
        self.at_s, self.call = at_s, call
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Timers:
    """The loop's clock, as the data plane uses it for delays."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.due: list[Timer] = []

    def later(self, delay_s: float, call: Callable[[], None]) -> Timer:
        timer = Timer(self.now_s + delay_s, call)
        self.due.append(timer)
        return timer

    def pass_s(self, seconds: float) -> None:
        """Let time pass, and what is due happen in its order."""
        end_s = self.now_s + seconds
        while waiting := [one for one in self.due if not one.is_cancelled and one.at_s <= end_s]:
            first = min(waiting, key=lambda one: one.at_s)
            self.due.remove(first)
            self.now_s = first.at_s
            first.call()
        self.now_s = end_s


class Socket:
    """Remembers its options."""

    def __init__(self) -> None:
        self.options: list[tuple[object, ...]] = []

    def setsockopt(self, *option: object) -> None:
        self.options.append(option)


class Transport(FakeTransport):
    """One with a socket behind it."""

    def __init__(self, peer: object) -> None:
        super().__init__(peer)
        self.socket = Socket()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.socket if name == "socket" else super().get_extra_info(name, default)


class Line(Talk):
    """A connection that can be reset."""

    transport: Transport

    def __init__(self, dispatcher: Dispatcher, peer: object = ("127.0.0.1", 5)) -> None:
        self.transport = Transport(peer)
        self.connection = Connection(dispatcher, "")
        self.connection.connection_made(self.transport)

    def state(self) -> str:
        """Tell whether it reads, waits, or has ended, and how."""
        end = self.transport
        if end.is_aborted:
            return "reset" if end.socket.options else "aborted"
        return "closed" if end.is_closed else "waits" if end.is_paused else "reads"


def trouble(dispatcher: Dispatcher, *faults: dict[str, Any]) -> tuple[FaultInjector, Timers]:
    """Set faults on a plane; return what counts them, and the clock of their delays."""
    engine, timers = FaultInjector(), Timers()
    plans = [plan for fault in faults for plan in read_fault(fault)]
    names = {name: entry.packed for name, entry in dispatcher.fleet_index.by_name.items()}
    engine.running = tuple(
        ActiveFault(str(number), plan, "api", UTC_S, names) for number, plan in enumerate(plans)
    )
    dispatcher.call_later = timers.later
    dispatcher.set_faults(engine)
    return engine, timers
