"""A dispatcher with injected faults: the real injector, and timers that the test fires."""

from collections.abc import Callable
from typing import Any

from openimds.dataplane.dispatcher import Dispatcher
from openimds.faults.injector import ActiveFault, FaultInjector
from openimds.protocol.faults.input import read_fault
from tests.support.talk import UTC_S, Talk


class Timer:
    """A scheduled call."""

    def __init__(self, at_s: float, call: Callable[[], None]) -> None:
        self.at_s, self.call = at_s, call
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Timers:
    """The loop's timers, as the data plane uses them for delays."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.scheduled: list[Timer] = []

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Timer:
        timer = Timer(self.now_s + delay_s, call)
        self.scheduled.append(timer)
        return timer

    def pass_s(self, seconds: float) -> None:
        """Let time pass, and fire the timers that are due in their order."""
        end_s = self.now_s + seconds
        while due := [
            timer for timer in self.scheduled if not timer.is_cancelled and timer.at_s <= end_s
        ]:
            first = min(due, key=lambda timer: timer.at_s)
            self.scheduled.remove(first)
            self.now_s = first.at_s
            first.call()
        self.now_s = end_s


class Line(Talk):
    """A connection whose end is of interest."""

    def state(self) -> str:
        """Tell whether the server reads, waits, or has ended the connection, and how."""
        if self.is_closed:
            return "reset" if self.socket.options else "closed"
        return "waits" if self.is_paused else "reads"


def inject(dispatcher: Dispatcher, *faults: dict[str, Any]) -> tuple[FaultInjector, Timers]:
    """Set faults on a dispatcher; return their injector and the timers of their delays."""
    injector, timers = FaultInjector(), Timers()
    specs = [spec for fault in faults for spec in read_fault(fault)]
    names = {name: entry.packed for name, entry in dispatcher.fleet_index.by_name.items()}
    injector.running = tuple(
        ActiveFault(str(number), spec, "api", UTC_S, names) for number, spec in enumerate(specs)
    )
    dispatcher.call_later = timers.call_later
    dispatcher.set_faults(injector)
    return injector, timers
