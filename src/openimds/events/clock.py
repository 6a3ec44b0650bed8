"""The clock of guests: the wall clock, or a virtual one."""

from collections.abc import Callable
from math import inf

from msgspec import Struct

from openimds.errors import ConfigError
from openimds.parameters import DURATION, Parameter, describe, parse_time

EARLIEST_S, LATEST_S = 0, 221_845_392_000
"""1970 to 9000: every date on the wire can show these, with room for later ones."""
FASTEST = 10_000
CLOCK: tuple[Parameter, ...] = (
    Parameter(
        "now",
        str,
        "Set the time, as in 2026-11-22T19:54:46Z.",
        metavar="TIME",
        convert=parse_time,
    ),
    Parameter("offset_s", float, "Set it ahead of real time.", metavar=DURATION),
    Parameter("advance_s", float, "Move it forward.", metavar=DURATION),
    Parameter(
        "rate",
        float,
        "Speed relative to real time; 0 freezes it.",
        minimum=0,
        maximum=FASTEST,
        metavar="N",
    ),
)
"""The members of a change of the clock."""


class ClockState(Struct, frozen=True):
    """A clock that shows `shown_s` when the wall clock shows `wall_s`, and runs at `rate`."""

    shown_s: float
    wall_s: float
    rate: float = 1.0


class Clock:
    """Seconds since 1970, as guests see them."""

    __slots__ = ("_state", "is_virtual", "wall")

    def __init__(
        self,
        wall: Callable[[], float],
        state: ClockState | None = None,
        *,
        is_virtual: bool = False,
    ) -> None:
        """Run with the wall clock, or from a state on."""
        self.wall, self.is_virtual = wall, is_virtual
        now_s = wall()
        self._state = state or ClockState(now_s, now_s)

    def __call__(self) -> float:
        """Return the time."""
        if not self.is_virtual:
            return self.wall()
        state = self._state
        return state.shown_s + (self.wall() - state.wall_s) * state.rate

    @property
    def state(self) -> ClockState:
        """The state from which another clock runs on like this one."""
        return self._state

    @property
    def rate(self) -> float:
        """Its seconds per second of the wall clock."""
        return self._state.rate

    @property
    def offset_s(self) -> float:
        """The seconds by which it is ahead of the wall clock."""
        return self() - self.wall()

    def wait_s(self, until_s: float) -> float:
        """Return the seconds of the wall clock until a time; inf for never."""
        left_s = until_s - self()
        if left_s <= 0:
            return 0.0
        return left_s / self.rate if self.rate else inf

    def planned(
        self,
        *,
        offset_s: float | None = None,
        now_s: float | None = None,
        rate: float | None = None,
        advance_s: float | None = None,
    ) -> ClockState:
        """Return the state after a change: set to a time or offset, then advanced.

        Raises:
            ConfigError: both a time and an offset, or a time or a rate out of range.
        """
        if offset_s is not None and now_s is not None:
            raise ConfigError("now", "both now and offset_s", "one of the two")
        wall_s = self.wall()
        shown_s = self() if now_s is None else now_s
        shown_s = shown_s if offset_s is None else wall_s + offset_s
        shown_s += advance_s or 0.0
        if not EARLIEST_S <= shown_s <= LATEST_S:
            raise ConfigError("now", describe(shown_s), "a time from 1970 to 9000")
        if rate is not None and not 0 <= rate <= FASTEST:
            raise ConfigError("rate", describe(rate), f"a number from 0 to {FASTEST}")
        return ClockState(shown_s, wall_s, self.rate if rate is None else rate)

    def take(self, state: ClockState) -> None:
        """Run from a state on."""
        self._state = state
