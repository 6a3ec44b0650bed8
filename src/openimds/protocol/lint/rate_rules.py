"""Rules of rate and patience: too many requests, polls and retries, and early give-ups."""

from collections.abc import Iterable, Iterator, Sequence

from openimds.facts.limits import LIMITS, class_of
from openimds.facts.lint import (
    MOST_IN_VAIN,
    OUTAGE_S,
    POLLS,
    RETRY_S,
    SLACK_S,
    SOON_S,
    UNDER_WAY_S,
)
from openimds.protocol.lint.requests import TOO_MANY, Example, LintedRequest
from openimds.protocol.request_log import Record

_THROTTLED = frozenset({"throttled", "throttled_text"})
_FINAL = frozenset({"resource_unknown", "entra_refused"})
"""Refusals that last, at any status: App Service answers 500 for some of them."""
_SILENCE, _BAD, _NONE, _GONE, _BROKEN = 0, 400, 404, 410, 500


def most_in(records: Iterable[Record], per_s: float) -> int:
    """Return the largest number of requests in any `per_s` seconds, their end not included."""
    times = sorted(record.now_s for record in records)
    most = first = 0
    for last, at in enumerate(times):
        while at - times[first] >= per_s:
            first += 1
        most = max(most, last - first + 1)
    return most


def limits(requests: Sequence[LintedRequest]) -> Iterator[Example]:
    """Find requests over Azure's limits, refused by this server's limiter or not.

    This server's limit may be lower than Azure's: a refusal counts only if Azure could refuse too.
    """
    for key, row in LIMITS.items():
        limited = [request for request in requests if _class_of(request) == key]
        for request in _over(limited, 1.0 + SLACK_S, row.concurrent or row.per_s):
            if _is_throttled(request):
                yield Example("over_limit", request.record)
        granted = [request for request in limited if not _is_throttled(request)]
        for request in _over(granted, 1.0 - SLACK_S, row.per_s):
            text = f"{request.record.line}, more than {row.per_s} in a second"
            yield Example("over_limit", request.record, text)


def _class_of(request: LintedRequest) -> str:
    """Return the limiter class that a request counts in."""
    return class_of(request.limit, request.record.status)


def _is_throttled(request: LintedRequest) -> bool:
    """Tell whether this server's limiter refused a request, and not an injected fault."""
    return request.record.reason in _THROTTLED and not request.is_substituted


def polls(requests: Sequence[LintedRequest]) -> Iterator[Example]:
    """Find polls of the scheduled events that come more often than once a second."""
    events = [
        request
        for request in requests
        if request.record.endpoint == "scheduledevents" and request.record.method == "GET"
    ]
    examples: dict[int, Example] = {}
    for span_s, most in POLLS:
        for request in _over(events, span_s, most):
            text = f"{request.record.line}, more than {most} in {span_s:g} s"
            example = Example("polled_often", request.record, text)
            examples.setdefault(request.record.number, example)
    yield from examples.values()


def _over(requests: Sequence[LintedRequest], span_s: float, most: int) -> Iterator[LintedRequest]:
    """Yield the requests that have `most` others within the span before them."""
    for earlier, request in zip(requests, requests[most:], strict=False):
        if request.record.now_s - earlier.record.now_s < span_s:
            yield request


class _Run:
    """Consecutive failures of one request, with the time and status of the last."""

    __slots__ = ("at_s", "failures", "status")

    def __init__(self) -> None:
        self.failures = 0
        self.at_s = 0.0
        self.status = 0


def retries(requests: Sequence[LintedRequest]) -> Iterator[Example]:
    """Find retries without a wait."""
    runs: dict[tuple[object, ...], _Run] = {}
    for request in requests:
        run = runs.setdefault(request.key, _Run())
        wait_s = request.record.now_s - run.at_s
        if run.failures and wait_s <= UNDER_WAY_S:
            continue  # The client sent it before it could know of the failure.
        if run.failures > 1 and wait_s < RETRY_S - SLACK_S:
            rule = "throttle_ignored" if run.status == TOO_MANY else "retried_soon"
            text = f"{request.record.line}, {wait_s:.2f} s after {run.status}"
            yield Example(rule, request.record, text)
        is_new = wait_s > SOON_S or not _is_transient(request)
        run.failures = (0 if is_new else run.failures) + _is_transient(request)
        run.at_s, run.status = request.record.now_s, request.record.status


def give_ups(requests: Sequence[LintedRequest]) -> Iterator[Example]:
    """Find transient failures that the client never retried."""
    last: dict[tuple[str, str], LintedRequest] = {
        (request.record.method, request.path): request for request in requests
    }
    end_s = requests[-1].record.now_s
    for request in last.values():
        if _is_transient(request) and end_s - request.record.now_s > OUTAGE_S:
            yield Example("given_up", request.record)


def vain_retries(requests: Sequence[LintedRequest]) -> Iterator[Example]:
    """Find wrong identity requests that come again unchanged."""
    refused: dict[tuple[object, ...], list[LintedRequest]] = {}
    for request in requests:
        is_wrong = request.record.status == _BAD and request.record.reason != "header_missing"
        if request.category == "identity" and is_wrong and not request.is_substituted:
            refused.setdefault(request.key, []).append(request)
    for repeats in refused.values():
        for request in _over(repeats, SOON_S, MOST_IN_VAIN):
            yield Example("retried_in_vain", request.record)


def _is_transient(request: LintedRequest) -> bool:
    """Tell whether a request failed in a way that passes by itself."""
    record = request.record
    if record.status == _NONE:
        return request.category == "identity" and record.endpoint != "other"
    is_broken = record.status >= _BROKEN and record.reason not in _FINAL
    return is_broken or record.status in {_SILENCE, _GONE, TOO_MANY}
