"""Guests' requests in the log: taken from the recorder, written by a thread."""

import time
from functools import partial

from openimds.log.event import Value
from openimds.log.events import GUEST_REQUEST
from openimds.log.log import OperatorLog
from openimds.log.masking import shown
from openimds.protocol.request_log import Record
from openimds.server.notify import Notify
from openimds.settings import Settings

_GOLDEN, _WHOLE = 2654435769, 1 << 32
"""The golden ratio of 32 bits: its multiples fall evenly, and in step with no client."""


class AccessLog:
    """Passes one request in so many to a log; the others cost a multiplication.

    A server with one answers no request by its bytes, from a response that is kept: each request,
    in the sample or not, is parsed, so that it could be recorded.
    """

    def __init__(self, log: OperatorLog, one_in: int) -> None:
        """Log one request in `one_in`, chosen by its number."""
        self._log, self._limit = log, _WHOLE // one_in

    def wants(self, number: int) -> bool:
        """Tell whether the request of a number is in the sample."""
        return number * _GOLDEN % _WHOLE < self._limit

    def take(self, record: Record) -> None:
        """Put a request into the queue of the log, if few wait there."""
        # The values alone: a record has bodies and headers, which would wait in memory.
        values = (
            *(record.vm, record.peer, record.method, record.target, record.endpoint),
            *(record.status, record.reason, record.size_bytes, record.header("user-agent")),
            record.fault,
        )
        self._log.put(GUEST_REQUEST.level, partial(self._line, time.time(), values))

    def _line(self, utc_s: float, values: tuple[Value, ...]) -> bytes:
        fields = [
            (name, shown(name, value))
            for name, value in zip(GUEST_REQUEST.fields, values, strict=True)
            if value != ""
        ]
        return self._log.format.line_of(GUEST_REQUEST.level, GUEST_REQUEST.name, utc_s, "", fields)


def access_log(settings: Settings, notify: Notify) -> AccessLog | None:
    """Return the tap of the settings, if messages go to a log that shows it."""
    if settings.access_log == "off" or not isinstance(notify, OperatorLog):
        return None
    if GUEST_REQUEST.level < notify.level:
        return None
    return AccessLog(notify, settings.access_sample if settings.access_log == "sampled" else 1)
