"""Send random bytes to a connection: `python -m fuzz.requests [options of libFuzzer] [corpus]`.

The first byte of an input is the size of its chunks; the rest are the bytes of a guest. For any
input the connection must not raise, and it must write whole HTTP responses with a status of a row.
"""

import sys

from openimds.facts.refusals import REFUSALS
from tests.support.talk import Talk, a_dispatcher, replies

STATUSES = {row.status for row in REFUSALS} | {200, 100}


def send_input(data: bytes) -> None:
    """Send one input to a connection.

    Raises:
        AssertionError: a response is malformed, or has a status that no row has.
    """
    talk = Talk(a_dispatcher())
    size, rest = (data[0] or 1, data[1:]) if data else (1, b"")
    written = b""
    for at in range(0, len(rest), size):
        if talk.is_closed:
            break
        written += talk.send(rest[at : at + size])
    if b"HEAD" not in rest:
        statuses = {reply.status for reply in replies(written)}
        assert statuses <= STATUSES, statuses


def main() -> None:
    """Fuzz until libFuzzer stops."""
    import atheris  # noqa: PLC0415 - the tests send the corpus without it

    atheris.instrument_all()
    atheris.Setup(sys.argv, send_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
