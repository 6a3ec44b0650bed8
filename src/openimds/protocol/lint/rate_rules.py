"""How often, and how soon again."""

from collections.abc import Iterable, Iterator, Sequence

from openimds.facts.limits import LIMITS
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
"""Refusals that last, whatever their status: App Service answers 500 for some of them."""
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


def limits(every: Sequence[LintedRequest]) -> Iterator[Example]:
    """See requests over Azure's limits, whether ours stopped them or not.

    A limit of ours may be lower than Azure's: a refusal counts where Azure could have refused too.
    """
    for key, row in LIMITS.items():
        mine = [one for one in every if one.limit == key]
        for one in _over(mine, 1.0 + SLACK_S, row.concurrent or row.per_s):
            if _is_stopped(one):
                yield Example("over_limit", one.record)
        granted = [one for one in mine if not _is_stopped(one)]
        for one in _over(granted, 1.0 - SLACK_S, row.per_s):
            words = f"{one.record.line}, more than {row.per_s} in a second"
            yield Example("over_limit", one.record, words)


def _is_stopped(one: LintedRequest) -> bool:
    """Tell whether our limiter said no, and no fault in its words."""
    return one.record.reason in _THROTTLED and not one.is_played


def polls(every: Sequence[LintedRequest]) -> Iterator[Example]:
    """See more looks at the scheduled events than one a second."""
    looks = [
        one
        for one in every
        if one.record.endpoint == "scheduledevents" and one.record.method == "GET"
    ]
    found: dict[int, Example] = {}
    for span_s, most in POLLS:
        for one in _over(looks, span_s, most):
            words = f"{one.record.line}, more than {most} in {span_s:g} s"
            found.setdefault(one.record.number, Example("polled_often", one.record, words))
    yield from found.values()


def _over(every: Sequence[LintedRequest], span_s: float, most: int) -> Iterator[LintedRequest]:
    """Yield the requests that have `most` others within the span before them."""
    for before, one in zip(every, every[most:], strict=False):
        if one.record.now_s - before.record.now_s < span_s:
            yield one


class _Run:
    """Failures of one request that nothing has ended: how many, the last, and its time."""

    __slots__ = ("at_s", "failures", "status")

    def __init__(self) -> None:
        self.failures = 0
        self.at_s = 0.0
        self.status = 0


def retries(every: Sequence[LintedRequest]) -> Iterator[Example]:
    """See retries that do not wait."""
    runs: dict[tuple[object, ...], _Run] = {}
    for one in every:
        run = runs.setdefault(one.what, _Run())
        wait_s = one.record.now_s - run.at_s
        if run.failures and wait_s <= UNDER_WAY_S:
            continue  # It was sent before the failure was known.
        if run.failures > 1 and wait_s < RETRY_S - SLACK_S:
            rule = "throttle_ignored" if run.status == TOO_MANY else "retried_soon"
            words = f"{one.record.line}, {wait_s:.2f} s after {run.status}"
            yield Example(rule, one.record, words)
        is_new = wait_s > SOON_S or not _passes(one)
        run.failures = (0 if is_new else run.failures) + _passes(one)
        run.at_s, run.status = one.record.now_s, one.record.status


def ends(every: Sequence[LintedRequest]) -> Iterator[Example]:
    """See failures that would have passed, and that nobody asked about again."""
    last: dict[tuple[str, str], LintedRequest] = {
        (one.record.method, one.path): one for one in every
    }
    for one in last.values():
        if _passes(one) and every[-1].record.now_s - one.record.now_s > OUTAGE_S:
            yield Example("given_up", one.record)


def vain(every: Sequence[LintedRequest]) -> Iterator[Example]:
    """See requests of identity that come again although they are wrong in themselves."""
    refused: dict[tuple[object, ...], list[LintedRequest]] = {}
    for one in every:
        is_wrong = one.record.status == _BAD and one.record.reason != "header_missing"
        if one.category == "identity" and is_wrong and not one.is_played:
            refused.setdefault(one.what, []).append(one)
    for those in refused.values():
        for one in _over(those, SOON_S, MOST_IN_VAIN):
            yield Example("retried_in_vain", one.record)


def _passes(one: LintedRequest) -> bool:
    """Tell whether an answer is one of those that pass by themselves."""
    record = one.record
    if record.status == _NONE:
        return one.category == "identity" and record.endpoint != "other"
    is_broken = record.status >= _BROKEN and record.reason not in _FINAL
    return is_broken or record.status in {_SILENCE, _GONE, TOO_MANY}
