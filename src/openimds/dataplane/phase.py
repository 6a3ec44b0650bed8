"""The phases of a connection and the table of transitions between them.

Reading and writing go on side by side, as the two sides of h11's state machine do. The phase is the
progress of the reading; the progress of the writing is the queue of owed responses. Reading pauses,
in any phase, while the first owed response is pending or the peer does not read.

| phase        | BEGIN        | HEAD_END     | END  | STOP     | CLOSE  |
|--------------|--------------|--------------|------|----------|--------|
| IDLE         | READING_HEAD |              |      | DRAINING | CLOSED |
| READING_HEAD |              | READING_BODY |      | DRAINING | CLOSED |
| READING_BODY |              |              | IDLE | DRAINING | CLOSED |
| DRAINING     |              |              |      | DRAINING | CLOSED |
| CLOSED       |              |              |      |          | CLOSED |

An empty cell cannot happen: `TRANSITIONS` has no such key, so a connection that tries it fails with
KeyError, an internal error.
"""

from collections.abc import Mapping
from enum import IntEnum, auto

from openimds.dataplane.dispatcher import Dispatcher

_NEVER = float("inf")


class Phase(IntEnum):
    """The progress of a connection; a later phase accepts less."""

    IDLE = auto()
    """No byte of the next request has arrived."""
    READING_HEAD = auto()
    """A request line or a header has begun."""
    READING_BODY = auto()
    """The head is complete; the request is not."""
    DRAINING = auto()
    """No further request is accepted; the owed responses still go out."""
    CLOSED = auto()
    """The transport is closed, or closes once the peer has taken the last bytes."""


class Step(IntEnum):
    """An event that moves a connection from one phase to another."""

    BEGIN = auto()
    """The first byte of a request."""
    HEAD_END = auto()
    """The blank line behind the headers."""
    END = auto()
    """The last byte of a request; the connection stays open."""
    STOP = auto()
    """The last request is read or refused, or the server drains while responses are owed."""
    CLOSE = auto()
    """Either side closes, or the time is up."""


TRANSITIONS: Mapping[Phase, Mapping[Step, Phase]] = {
    Phase.IDLE: {
        Step.BEGIN: Phase.READING_HEAD,
        Step.STOP: Phase.DRAINING,
        Step.CLOSE: Phase.CLOSED,
    },
    Phase.READING_HEAD: {
        Step.HEAD_END: Phase.READING_BODY,
        Step.STOP: Phase.DRAINING,
        Step.CLOSE: Phase.CLOSED,
    },
    Phase.READING_BODY: {
        Step.END: Phase.IDLE,
        Step.STOP: Phase.DRAINING,
        Step.CLOSE: Phase.CLOSED,
    },
    Phase.DRAINING: {Step.STOP: Phase.DRAINING, Step.CLOSE: Phase.CLOSED},
    Phase.CLOSED: {Step.CLOSE: Phase.CLOSED},
}


class ConnectionSide:
    """The progress of one connection, in which its reading and its writing side meet.

    `deadline_s` is the time of the dispatcher's steady clock at which the connection expires.
    """

    dispatcher: Dispatcher
    deadline_s = _NEVER
    phase = Phase.IDLE

    def _move(self, step: Step) -> None:
        self.phase = TRANSITIONS[self.phase][step]
