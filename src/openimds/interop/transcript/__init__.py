"""Transcripts: what somebody asked an IMDS and what it answered, to the byte, as values.

Rules of the room. An answer is kept as it came: the status line, every header line in its order and
spelling, every byte of the body. Nothing is opened or asked here, and nothing is guessed: what a
transcript does not hold is not served. Whatever stands in a file was written by somebody else.

Theory. `exchange` is one question with its answer, `transcript` all of them as the file has it.
`scan` reads JSON with the place of every token, so that a body can be seen by its shape and changed
in place; `place` says where in which document a target leads. `redact` replaces whatever tells
whose VM it was, by the rows of `secrets` and with the words that `standin` makes up. `vm` makes a
VM of a transcript, so that it can be served.

What the room refuses to know: sockets, files, time, what there is to ask, and how an answer is
made.
"""

from openimds.interop.transcript.exchange import Exchange, RecordedRequest, RecordedResponse
from openimds.interop.transcript.file import Transcript, looks, read
from openimds.interop.transcript.redact import redact
from openimds.interop.transcript.to_vm import CapturedVm, captured

__all__ = [
    "CapturedVm",
    "Exchange",
    "RecordedRequest",
    "RecordedResponse",
    "Transcript",
    "captured",
    "looks",
    "read",
    "redact",
]
