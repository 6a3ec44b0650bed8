"""Capture: ask an IMDS every planned question, without changing it and without burdening it.

Rules of the room. Questions are rows; code walks them, and no row asks for a token or for anything
else below `/metadata/identity`. One request at a time, on a connection of its own, over a plain
socket: no proxy, no redirect, no header but those of the row. Everything has a bound: the time and
the size of an answer, how often a question is repeated, how many in a row may fail.

Theory. `question` defines a row; `questions` and `misuse_questions` are the rows, of requests that
should be served and of requests that should be refused; `plan` turns them into requests at the
wanted api-versions. `throttle` keeps the distance between two requests; `http_message` parses an
answer from bytes as they arrive; `client` sends one request and returns the exchange; `capture`
asks all of them.

What the room refuses to know: fleets, VMs, and which answer is right.
"""

from openimds.interop.capture.capture import CaptureError, ask_all
from openimds.interop.capture.client import CaptureClient
from openimds.interop.capture.plan import PlannedQuestion, plan
from openimds.interop.capture.throttle import Throttle

__all__ = ["CaptureClient", "CaptureError", "PlannedQuestion", "Throttle", "ask_all", "plan"]
