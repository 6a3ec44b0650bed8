"""Captures: asking an IMDS what it says, without changing anything and without being a burden.

Rules of the room. What there is to ask is rows; code walks them, and no row asks for a token or for
anything else below `/metadata/identity`. One question at a time, on a connection of its own, over a
plain socket: no proxy, no redirect, no header that nobody wrote down. Everything has a bound: the
time of an answer, its size, how often one is asked again, how many in a row may fail.

Theory. `question` says what a row is; `questions` and `misuse` are the rows, of what should be
served and of what should be refused; `plan` makes of them what is asked at the api-versions that
are wanted. `pace` waits between two requests; `message` reads an answer from bytes as they come;
`asker` sends one request and says what came; `survey` asks all of them.

What the room refuses to know: fleets, VMs, and which answer is right.
"""

from openimds.interop.capture.capture import CaptureError, survey
from openimds.interop.capture.client import CaptureClient
from openimds.interop.capture.plan import PlannedQuestion, plan
from openimds.interop.capture.throttle import Throttle

__all__ = ["CaptureClient", "CaptureError", "PlannedQuestion", "Throttle", "plan", "survey"]
