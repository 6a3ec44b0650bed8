"""Requests without the right token: counted by kind, reported, and slowed by address.

A right token is never slowed. The wait is a part of the answer to a wrong one; meanwhile its
connection gives way to newcomers.
"""

from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from ipaddress import IPv6Address, ip_address

from openimds.log.events import ADMIN_TOKEN_FAILED

MOST_ADDRESSES = 1024
"""The addresses with failures that are remembered; the one that failed longest ago is forgotten."""
FREE = 10
"""Failures of an address without a wait; one more is free after each second."""
STEP_S = 0.1
"""The additional wait for each further failure."""
MOST_WAIT_S = 2.0
REPORT_S = 60.0
"""The shortest time between two reports."""
_SITE_BITS = 64
"""A site with IPv6 has so many bits for its own addresses."""


class TokenFailure(StrEnum):
    """The ways in which a request has no right token; the labels of their metric."""

    ABSENT = "absent"
    MALFORMED = "malformed"
    WRONG = "wrong"
    EXPIRED = "expired"


class FailedTokens:
    """The failures of all addresses."""

    def __init__(self, now: Callable[[], float], notify: Callable[[str], None]) -> None:
        """Begin with no failure; `now` is a steady clock in seconds."""
        self.counts: Counter[str] = Counter(dict.fromkeys(TokenFailure, 0))
        self._now, self._notify = now, notify
        self._debts: dict[str, tuple[float, float]] = {}
        self._reported_s = float("-inf")
        self._unreported = 0

    def note(self, kind: TokenFailure, address: str) -> float:
        """Count a failure of an address, and return the seconds that its answer waits."""
        now_s, site = self._now(), _site(address)
        self.counts[kind] += 1
        debt, at_s = self._debts.pop(site, (0.0, now_s))
        debt = max(0.0, debt - (now_s - at_s)) + 1
        if len(self._debts) >= MOST_ADDRESSES:
            del self._debts[next(iter(self._debts))]
        self._debts[site] = debt, now_s
        wait_s = min(MOST_WAIT_S, max(0.0, debt - FREE) * STEP_S)
        # A command without a token is a slip; many are a search for something open.
        self._unreported += 1
        if (kind is not TokenFailure.ABSENT or wait_s) and now_s - self._reported_s >= REPORT_S:
            self._report(kind, address, now_s)
        return wait_s

    def _report(self, kind: TokenFailure, address: str, now_s: float) -> None:
        others = self._unreported - 1
        more = f", as did {others} requests before it" if others else ""
        self._reported_s, self._unreported = now_s, 0
        self._notify(
            ADMIN_TOKEN_FAILED.message(
                f"admin API: a request from {address or 'a unix socket'} has {_TEXTS[kind]}{more}; "
                "openimds_admin_token_failures_total counts them",
                kind=kind.value,
                peer=address,
                before=others,
            )
        )


_TEXTS = {
    TokenFailure.ABSENT: "no token",
    TokenFailure.MALFORMED: "an Authorization header that is not Bearer TOKEN",
    TokenFailure.WRONG: "a wrong token",
    TokenFailure.EXPIRED: "a token that has expired or was rotated",
}


def _site(address: str) -> str:
    """Return an IPv4 address, or the network of 64 bits of an IPv6 address."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address) and not parsed.ipv4_mapped:
        return f"{int(parsed) >> _SITE_BITS:x}/{_SITE_BITS}"
    return address
