"""The clock of guests: set, put forward, hurried or stopped by a test."""

from datetime import UTC, datetime, timedelta

from openimds.errors import ConfigError
from openimds.server.server import Server
from openimds.testing.events import seconds_of
from openimds.testing.server_thread import ServerThread


class GuestClock:
    """What guests take the time to be: events, tokens, dates and certificates follow it.

    It begins with the time of the wall. Limits and time-outs go by a clock that nobody sets.
    """

    def __init__(self, stage: ServerThread, server: Server) -> None:
        """Stand before the agenda of a server."""
        self._stage, self._server = stage, server

    @property
    def now_s(self) -> float:
        """Seconds since 1970."""
        return self._server.clock()

    @property
    def now(self) -> datetime:
        """The time, in UTC."""
        return datetime.fromtimestamp(self.now_s, UTC)

    def set(self, when: datetime | float) -> None:
        """Show a time, a datetime with its zone or seconds since 1970; what is due by then happens.

        Raises:
            ConfigError: no time from 1970 to 9000, or the clock is that of the wall.
        """
        __tracebackhide__ = True
        self._change(now_s=seconds_of(when) if isinstance(when, datetime) else when)

    def advance(self, by: timedelta | float) -> None:
        """Go forward by a timedelta or by seconds; what is due by then has happened on return.

        Raises:
            ConfigError: as `set`.
        """
        __tracebackhide__ = True
        self._change(advance_s=by.total_seconds() if isinstance(by, timedelta) else by)

    @property
    def rate(self) -> float:
        """How many seconds pass in one of the wall's; 0 stops it."""
        return self._server.clock.rate

    @rate.setter
    def rate(self, rate: float) -> None:
        __tracebackhide__ = True
        self._change(rate=rate)

    def _change(self, **numbers: float) -> None:
        __tracebackhide__ = True
        clock = self._server.clock
        if not clock.is_virtual:
            seen = "the clock of the wall"
            hint = "Leave out virtual_clock=False and entra= of @pytest.mark.imds"
            raise ConfigError("imds.clock", seen, "a virtual clock", hint)
        state = clock.planned(**numbers)
        self._stage.do(self._server.events_service.set_clock(state))
