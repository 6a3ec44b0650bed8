"""The turns of a connection: the port between it and the reactor that gives them."""

from collections.abc import Callable
from typing import Protocol

from openimds.dataplane.dispatcher import Dispatcher
from openimds.dataplane.poll_set import PollSet
from openimds.dataplane.shares import Share, SharedConnection


class TurnTaker(SharedConnection, Protocol):
    """The part of a connection that the reactor uses between its turns."""

    delayed: "Delayed | None"

    def park(self) -> None:
        """Read nothing until the share has a turn for this connection."""


class Delayed:
    """A connection in the wheel of delays; its `slot` is that of the wheel."""

    __slots__ = ("connection", "slot")

    def __init__(self, connection: TurnTaker) -> None:
        """Begin in no slot."""
        self.connection, self.slot = connection, -1


class Turns(Protocol):
    """The part of the reactor that a connection uses."""

    dispatcher: Dispatcher
    handlers: dict[int, Callable[[int], None]]
    turn_number: int
    began_s: float
    """The beginning of the turn, on the steady clock."""
    shares_served: int
    is_lone: bool

    @property
    def poll_set(self) -> PollSet:
        """The set in which a connection awaits its events."""
        ...

    def park(self, connection: TurnTaker, share: Share) -> None:
        """Let a connection, which awaits no events, wait for a turn of its share."""

    def delay(self, connection: TurnTaker, delay_s: float) -> None:
        """Park a connection after a delay in seconds."""

    def forget(self, connection: TurnTaker, share: Share) -> None:
        """Forget a connection that has ended."""
