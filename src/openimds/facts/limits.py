"""The request limits of a VM."""

from http import HTTPStatus

from msgspec import Struct

from openimds.facts.evidence import Evidence, documented

REFUSED_IDENTITY = "identity_refused"
"""The limiter class of identity's 400s: SDKs probe with requests that must fail."""
FORGIVENESS = 10
"""So many times the limit of tokens is that of their 400s."""


class Limit(Struct, frozen=True):
    """One limiter class: requests a second, and concurrent requests (0: no such limit).

    `bad_requests` is the class of the requests that get 400, if they have one of their own.
    """

    key: str
    per_s: int
    concurrent: int
    evidence: Evidence
    bad_requests: str = ""


LIMITS: dict[str, Limit] = {
    row.key: row
    for row in (
        Limit(
            "general", 5, 0, documented("S1", "S2", note="the window that Azure uses is unknown")
        ),
        Limit(
            REFUSED_IDENTITY,
            200,
            0,
            documented(
                "S80",
                note="the limits of tokens are strict on 200s and much more forgiving on 400s; "
                "ten times as many is assumed",
            ),
        ),
        Limit(
            "identity",
            20,
            5,
            documented("S1", "S2", note="the window that Azure uses is unknown"),
            REFUSED_IDENTITY,
        ),
    )
}


def class_of(limit: str, status: int) -> str:
    """Return the class in which a request counts, by the status of its response."""
    row = LIMITS.get(limit)
    return (row and status == HTTPStatus.BAD_REQUEST and row.bad_requests) or limit
