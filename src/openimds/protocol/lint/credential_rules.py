"""Rules of tokens and approvals: tokens fetched again too early, approvals without effect."""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from openimds.facts.lint import EARLY_S
from openimds.protocol.events.document import read_approval
from openimds.protocol.lint.requests import Example, LintedRequest
from openimds.protocol.request_log import MOST_BODY_BYTES

_NOT_OF_THE_TOKEN = frozenset({"api-version", "bypass_cache", "token_sha256_to_refresh", "xms_cc"})
"""Parameters that do not distinguish one token from another."""
_OK = 200


class _Token(Struct, frozen=True):
    """The first issue and the end of a token, in seconds since 1970."""

    since_s: float
    until_s: float

    def is_young(self, utc_s: float) -> bool:
        """Tell whether a client has no reason yet to fetch another one."""
        return utc_s < (self.since_s + self.until_s) / 2 and self.is_good(utc_s)

    def is_good(self, utc_s: float) -> bool:
        """Tell whether clients still use the token."""
        return self.until_s - utc_s >= EARLY_S


def tokens(requests: Sequence[LintedRequest]) -> Iterator[Example]:
    """Find tokens that are fetched again while they are good."""
    issued: dict[tuple[object, ...], _Token] = {}
    for request in requests:
        record, parameters = request.record, request.parameters
        selection = [item for item in parameters.items() if item[0] not in _NOT_OF_THE_TOKEN]
        key = (request.path, *sorted(selection))
        token = issued.get(key)
        is_refused = "token_sha256_to_refresh" in parameters
        is_cached = token is not None and not is_refused
        bypass = parameters.get("bypass_cache", "").lower()
        if bypass and (bypass != "true" or (is_cached and token and token.is_good(record.utc_s))):
            yield Example("cache_bypassed", record)
        if not record.token_until_s:
            continue
        if is_cached and not bypass and token and token.is_young(record.utc_s):
            text = f"{record.line}, {token.until_s - record.utc_s:.0f} s before its end"
            yield Example("token_not_kept", record, text)
        if token is None or token.until_s != record.token_until_s:
            issued[key] = _Token(record.utc_s, record.token_until_s)


def approvals(requests: Sequence[LintedRequest]) -> Iterator[Example]:
    """Find approvals that Azure refuses, and repeated ones."""
    approved: set[str] = set()
    for request in requests:
        record = request.record
        is_approval = record.endpoint == "scheduledevents" and record.method == "POST"
        if not is_approval or request.is_substituted:
            continue
        ids = read_approval(record.sent)
        if record.reason == "malformed_events" and len(record.sent) < MOST_BODY_BYTES:
            yield Example("approval_unknown" if ids else "approval_malformed", record)
        elif record.status == _OK:
            event_ids = {event_id.upper() for event_id in ids or ()}
            for event_id in sorted(event_ids & approved):
                yield Example("approval_again", record, f"{record.line}, {event_id}")
            approved |= event_ids
