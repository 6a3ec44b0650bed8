"""The clock of guests: a test sets it, advances it, or changes its speed."""

from datetime import UTC, datetime, timedelta

from openimds.errors import ConfigError
from openimds.server.server import Server
from openimds.testing.events import seconds_of
from openimds.testing.server_thread import ServerThread


class GuestClock:
    """The time that guests see: events, tokens, dates and certificates follow it.

    It begins at real time. Limits and time-outs always use real time.
    """

    def __init__(self, thread: ServerThread, server: Server) -> None:
        """Take a server and its thread."""
        self._thread, self._server = thread, server

    @property
    def now_s(self) -> float:
        """Seconds since 1970."""
        return self._server.clock()

    @property
    def now(self) -> datetime:
        """The time, in UTC."""
        return datetime.fromtimestamp(self.now_s, UTC)

    def set(self, when: datetime | float) -> None:
        """Set the time, and run the events that are due by then.

        Args:
            when: a datetime with its zone, or seconds since 1970.

        Raises:
            ConfigError: a time before 1970 or after 9000, or the clock is not virtual.
        """
        __tracebackhide__ = True
        self._change(now_s=seconds_of(when) if isinstance(when, datetime) else when)

    def advance(self, by: timedelta | float) -> None:
        """Advance the time, and run the events that are due by then.

        Args:
            by: a timedelta, or seconds.

        Raises:
            ConfigError: as `set`.
        """
        __tracebackhide__ = True
        self._change(advance_s=by.total_seconds() if isinstance(by, timedelta) else by)

    @property
    def rate(self) -> float:
        """The speed relative to real time; 0 freezes it."""
        return self._server.clock.rate

    @rate.setter
    def rate(self, rate: float) -> None:
        __tracebackhide__ = True
        self._change(rate=rate)

    def _change(self, **numbers: float) -> None:
        __tracebackhide__ = True
        clock = self._server.clock
        if not clock.is_virtual:
            seen = "a clock at real time"
            hint = "Leave out virtual_clock=False and entra= of @pytest.mark.imds"
            raise ConfigError("imds.clock", seen, "a virtual clock", hint)
        state = clock.planned(**numbers)
        self._thread.do(self._server.events_service.set_clock(state))
