"""The clock of guests: a test sets it, advances it, or changes its speed."""

from datetime import UTC, datetime, timedelta

from openimds.errors import ConfigError
from openimds.testing.calls import Facade, awaited, blocking
from openimds.testing.events import seconds_of
from openimds.testing.server_thread import RunningServer


class ClockJobs:
    """The changes of a server's clock, on the server's loop."""

    def __init__(self, running: RunningServer) -> None:
        """Take a running server."""
        self._running = running

    async def set(self, when: datetime | float) -> None:
        """Set the time, and run the events that are due by then.

        Args:
            when: a datetime with its zone, or seconds since 1970.

        Raises:
            ConfigError: a time before 1970 or after 9000, or the clock is not virtual.
        """
        await self._change(now_s=seconds_of(when) if isinstance(when, datetime) else when)

    async def advance(self, by: timedelta | float) -> None:
        """Advance the time, and run the events that are due by then.

        Args:
            by: a timedelta, or seconds.

        Raises:
            ConfigError: as `set`.
        """
        await self._change(advance_s=by.total_seconds() if isinstance(by, timedelta) else by)

    async def set_rate(self, rate: float) -> None:
        """Change the speed relative to real time; 0 freezes the clock.

        Raises:
            ConfigError: a negative rate, or the clock is not virtual.
        """
        await self._change(rate=rate)

    async def _change(self, **numbers: float) -> None:
        server = self._running.server
        if not server.clock.is_virtual:
            seen = "a clock at real time"
            hint = f"Leave out virtual_clock=False and entra= of {self._running.where}"
            raise ConfigError("imds.clock", seen, "a virtual clock", hint)
        async with self._running.turn:
            await server.events_service.set_clock(server.clock.planned(**numbers))


class ClockReads(Facade[ClockJobs]):
    """The time that guests see: events, tokens, dates and certificates follow it.

    It begins at real time. Limits and time-outs always use real time.
    """

    def __init__(self, running: RunningServer) -> None:
        """Take a running server."""
        super().__init__(running, ClockJobs(running))

    @property
    def now_s(self) -> float:
        """Seconds since 1970."""
        return self._running.server.clock()

    @property
    def now(self) -> datetime:
        """The time, in UTC."""
        return datetime.fromtimestamp(self.now_s, UTC)


class GuestClock(ClockReads):
    """The time that guests see: events, tokens, dates and certificates follow it.

    It begins at real time. Limits and time-outs always use real time.
    """

    set = blocking(ClockJobs.set)
    advance = blocking(ClockJobs.advance)
    _set_rate = blocking(ClockJobs.set_rate)

    @property
    def rate(self) -> float:
        """The speed relative to real time; 0 freezes it."""
        return self._running.server.clock.rate

    @rate.setter
    def rate(self, rate: float) -> None:
        __tracebackhide__ = True
        self._set_rate(rate)


class AsyncClock(ClockReads):
    """The clock of `AsyncImds`: as `GuestClock`, with changes that are awaited."""

    set = awaited(ClockJobs.set)
    advance = awaited(ClockJobs.advance)
    set_rate = awaited(ClockJobs.set_rate)

    @property
    def rate(self) -> float:
        """The speed relative to real time; `set_rate` changes it."""
        return self._running.server.clock.rate
