"""Transcripts: the requests to an IMDS and its answers, byte for byte, as values.

Rules of the room. An answer is recorded as it arrived: the status line, every header line in its
order and spelling, every byte of the body. Nothing is opened or asked here, and nothing is guessed:
only values of the transcript are served. A transcript file is untrusted input, so all of it is
checked.

Theory. `exchange` is one request with its answer, `file` the whole transcript and its format.
`json_scan` parses JSON with the position of every token, so that a body can be compared by its
shape and changed in place; `location` maps a target to a document and a path in it. `redact`
replaces every value that identifies a VM: `sensitivity` has the redaction of each path, and
`placeholders` makes the replacements. `to_vm` makes a VM of a transcript, so that it can be served;
`dumps` finds the document that another tool keeps in its own file.

What the room refuses to know: sockets, files, time, the planned questions, and how an answer is
made.
"""

from openimds.interop.transcript.exchange import Exchange, RecordedRequest, RecordedResponse
from openimds.interop.transcript.file import Transcript, looks_like_transcript, read
from openimds.interop.transcript.redact import redact
from openimds.interop.transcript.to_vm import CapturedVm, captured_vm

__all__ = [
    "CapturedVm",
    "Exchange",
    "RecordedRequest",
    "RecordedResponse",
    "Transcript",
    "captured_vm",
    "looks_like_transcript",
    "read",
    "redact",
]
