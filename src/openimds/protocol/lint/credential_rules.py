"""Tokens that are not kept, caches that are passed by, and approvals that change nothing."""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from openimds.facts.lint import EARLY_S
from openimds.protocol.events.document import read_approval
from openimds.protocol.lint.requests import Example, LintedRequest
from openimds.protocol.request_log import MOST_BODY_BYTES

_BESIDE = frozenset({"api-version", "bypass_cache", "token_sha256_to_refresh", "xms_cc"})
"""Parameters that do not tell one token from another."""
_OK = 200


class _Token(Struct, frozen=True):
    """When a token was given first, and when it ends: seconds since 1970."""

    since_s: float
    until_s: float

    def is_young(self, utc_s: float) -> bool:
        """Tell whether no client has a reason to ask for another one."""
        return utc_s < (self.since_s + self.until_s) / 2 and self.is_good(utc_s)

    def is_good(self, utc_s: float) -> bool:
        """Tell whether clients take it as good."""
        return self.until_s - utc_s >= EARLY_S


def tokens(every: Sequence[LintedRequest]) -> Iterator[Example]:
    """See tokens that are asked for again while they are good."""
    held: dict[tuple[object, ...], _Token] = {}
    for one in every:
        record, said = one.record, one.parameters
        key = (one.path, *sorted(item for item in said.items() if item[0] not in _BESIDE))
        token = held.get(key)
        is_refused = "token_sha256_to_refresh" in said
        is_held = token is not None and not is_refused
        bypass = said.get("bypass_cache", "").lower()
        if bypass and (bypass != "true" or (is_held and token and token.is_good(record.utc_s))):
            yield Example("cache_bypassed", record)
        if not record.token_until_s:
            continue
        if is_held and not bypass and token and token.is_young(record.utc_s):
            words = f"{record.line}, {token.until_s - record.utc_s:.0f} s before its end"
            yield Example("token_not_kept", record, words)
        if token is None or token.until_s != record.token_until_s:
            held[key] = _Token(record.utc_s, record.token_until_s)


def approvals(every: Sequence[LintedRequest]) -> Iterator[Example]:
    """See approvals that Azure refuses, and those that come twice."""
    approved: set[str] = set()
    for one in every:
        record = one.record
        if record.endpoint != "scheduledevents" or record.method != "POST" or one.is_played:
            continue
        ids = read_approval(record.sent)
        if record.reason == "malformed_events" and len(record.sent) < MOST_BODY_BYTES:
            yield Example("approval_unknown" if ids else "approval_malformed", record)
        elif record.status == _OK:
            named = {event_id.upper() for event_id in ids or ()}
            for event_id in sorted(named & approved):
                yield Example("approval_again", record, f"{record.line}, {event_id}")
            approved |= named
