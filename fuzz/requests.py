"""Random bytes for a connection, and the rules that hold for any.

The first byte of an input is the size of its pieces; the rest are the bytes of a guest. For any
input the connection must not raise, and it must write whole HTTP responses with a status of a row.
The same bytes get the same verdict in one piece, in small pieces, and when they are known: a
verdict is the statuses and bodies of all responses, and whether the connection stays open.
"""

from openimds.dataplane.dispatcher import Dispatcher
from openimds.facts.refusals import REFUSALS
from tests.support.talk import Talk, a_dispatcher, replies

STATUSES = {row.status for row in REFUSALS} | {200, 100}


Verdict = tuple[list[tuple[int, bytes]], bool]


def send_input(data: bytes) -> None:
    """Send one input to connections in three ways.

    Raises:
        AssertionError: a response is malformed, has an unknown status, or depends on the way.
    """
    size, rest = (data[0] or 1, data[1:]) if data else (1, b"")
    dispatcher = a_dispatcher()
    errors: list[BaseException] = []
    dispatcher.on_internal_error = errors.append
    verdicts = [
        verdict(dispatcher, rest, len(rest) or 1),
        verdict(dispatcher, rest, size),
        verdict(dispatcher, rest, len(rest) or 1),  # Cacheable requests are known now.
    ]
    assert errors == []
    assert verdicts[0] == verdicts[1] == verdicts[2], verdicts
    assert {status for status, _ in verdicts[0][0]} <= STATUSES, verdicts[0]


def verdict(dispatcher: Dispatcher, data: bytes, size: int) -> Verdict:
    """Send bytes in pieces of a size to a new connection, and return its verdict."""
    talk = Talk(dispatcher)
    written = b""
    for at in range(0, len(data), size):
        if talk.is_closed:
            break
        written += talk.send(data[at : at + size])
    # A response to HEAD has a length and no body.
    parsed = [] if b"HEAD" in data else replies(written)
    return [(reply.status, reply.body) for reply in parsed], talk.is_closed
