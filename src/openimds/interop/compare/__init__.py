"""Comparisons: what two transcripts do not share, and which of our facts each difference is about.

Rules of the room. Two answers to one request are held against each other: status line, headers with
their order and spelling, the shape of a good body (fields, types, the order of members, blanks),
and every byte of a refusal. What a body says of a VM is its own matter and compared on request.
What changes with every answer (dates, request ids, signatures, the build of the server) is
compared by its form.

Theory. `head` and `body` yield what they find in one pair of answers; `about` tells the fact, a row
of the fidelity page, by the place where it was found; `compare` walks the pairs and puts together
what is the same difference at many api-versions.

What the room refuses to know: where transcripts come from, and which of two is right.
"""

from openimds.interop.compare.compare import Comparison, compare
from openimds.interop.compare.difference import Difference, DifferenceKind

__all__ = ["Comparison", "Difference", "DifferenceKind", "compare"]
