"""Comparison: the differences between two transcripts, each with the fact that it is about.

Rules of the room. Two answers to the same request are compared: status line, headers with their
order and spelling, the shape of a good body (fields, types, the order of members, blanks), and
every byte of a refusal. The values in a body belong to the VM and are compared on request. Values
that differ in every answer (dates, request ids, signatures, the build of the server) are compared
by their form.

Theory. `head` and `body` yield the differences of one pair of answers; `attribution` finds the
fact, a row of the fidelity page, by the place of a difference; `compare` walks the pairs and joins
the same difference at many api-versions into one.

What the room refuses to know: where transcripts come from, and which of two is right.
"""

from openimds.interop.compare.compare import Comparison, compare
from openimds.interop.compare.difference import Difference, DifferenceKind

__all__ = ["Comparison", "Difference", "DifferenceKind", "compare"]
