"""The classes of endpoints by which the latency of responses is measured.

A response counts from the turn of the reactor that read its request until its bytes are ready: the
work for others in that turn and pending work, such as a signature, are part of it. Responses under
an injected fault, and refusals of bytes that are no request, do not count.
"""

from openimds.facts.endpoints import CATEGORIES, ENDPOINTS

OTHER = "other"
"""The class of unknown callers, and of paths without an endpoint."""
_SIGNED = {"attested", "endorsement", "quote"}
_EVENTS = "scheduledevents"
_IDENTITY = {row.key for row in CATEGORIES if row.limit == "identity"}


def _class_of(key: str, category: str) -> str:
    if category in _IDENTITY:
        return "identity"
    if key in _SIGNED:
        return "attested"
    return "events" if key == _EVENTS else "metadata"


_CLASSES = {row.key: _class_of(row.key, row.category) for row in ENDPOINTS}
CLASSES = (*sorted({*_CLASSES.values()}), OTHER)


def latency_class(endpoint: str) -> str:
    """Return the class of an endpoint by its key, `OTHER` without one."""
    return _CLASSES.get(endpoint, OTHER)
