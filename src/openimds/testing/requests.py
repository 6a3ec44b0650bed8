"""The requests of a test, and assertions on them."""

from collections.abc import Callable, Iterable, Sequence
from typing import overload

from openimds.facts.lint import RULES, SLACK_S
from openimds.protocol.lint import Finding, most_in, report
from openimds.protocol.request_log import Record

_MOST_LISTED = 20
_HEADER, _PATH = "metadata", "/metadata"
_RULES = {row.key: row.says for row in RULES}

Read = Callable[[], tuple[Record, ...]]


class Requests(Sequence[Record]):
    """The requests so far, oldest first; the sequence grows as they arrive.

    `to` and `of` filter it. A failed assertion lists all requests that break it.
    """

    def __init__(self, read: Read, words: str = "") -> None:
        """Take the reader of the records, and words for the filters that it applies."""
        self._read, self._words = read, words

    def to(self, path: str) -> "Requests":
        """Return the requests for a path or below it, such as `/metadata/instance`."""
        wanted = path.lower().rstrip("/")
        return self._only(lambda record: f"{_path(record)}/".startswith(f"{wanted}/"), f"to {path}")

    def of(self, vm: str) -> "Requests":
        """Return the requests of a VM; "" is unknown callers."""
        return self._only(lambda record: record.vm == vm, f"of {vm or 'unknown callers'}")

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Record]: ...

    def __getitem__(self, index: int | slice) -> Record | Sequence[Record]:
        """Return one request, or a slice of them."""
        return self._read()[index]

    def __len__(self) -> int:
        """Return the number of requests."""
        return len(self._read())

    def __repr__(self) -> str:
        """Return a line for each request."""
        lines = _lines(self._read())
        return "\n".join([f"requests{self._words}:", *(lines or ["  none"])])

    def report(self) -> tuple[Finding, ...]:
        """Return the requests that Azure refuses or advises against, by VM and rule."""
        return report(self._read())

    def assert_none(self) -> None:
        """Assert that there is no request.

        Raises:
            AssertionError: there are some; each is listed.
        """
        __tracebackhide__ = True
        if records := self._read():
            self._fail(records, f"expected no request{self._words}, saw {len(records)}")

    def assert_polled_at_most(self, most: int, *, per_s: float = 1.0) -> None:
        """Assert that no window of `per_s` seconds has more than `most` requests.

        A window is shorter by 5 %, at most 50 ms: a client that waits exactly that long may arrive
        slightly sooner.

        Raises:
            AssertionError: a window has more; its requests are listed.
        """
        __tracebackhide__ = True
        records = self._read()
        seen = most_in(records, per_s - min(SLACK_S, per_s / 20))
        if seen > most:
            requests = "request" if most == 1 else "requests"
            expected = f"at most {most} {requests}{self._words} in {per_s:g} s"
            self._fail(_closest(records, seen), f"expected {expected}, saw {seen}")

    def assert_sent_metadata_header(self) -> None:
        """Assert that every request below `/metadata` has the header `Metadata: true`.

        Raises:
            AssertionError: there is no such request, or some lack the header; each is listed.
        """
        __tracebackhide__ = True
        records = [record for record in self._read() if f"{_path(record)}/".startswith(f"{_PATH}/")]
        if not records:
            self._fail((), f"expected requests{self._words} with Metadata: true, saw none")
        expected = f"Metadata: true with every request{self._words}"
        if bare := [record for record in records if record.header(_HEADER).lower() != "true"]:
            self._fail(bare, f"expected {expected}, saw {len(bare)} without")

    def assert_clean(self, *but: str) -> None:
        """Assert that Azure refuses no request, and advises against none.

        Args:
            but: keys of rules that may be broken, as in the report.

        Raises:
            AssertionError: each broken rule, with its first request.
        """
        __tracebackhide__ = True
        findings = [finding for finding in self.report() if finding.rule not in but]
        if findings:
            lines = [
                f"  {finding.rule} ({finding.times}x by {finding.vm}): {_RULES[finding.rule]}\n"
                f"    {finding.example}"
                for finding in findings
            ]
            text = "\n".join([f"expected clean requests{self._words}, saw", *lines])
            raise AssertionError(text)

    def _only(self, is_wanted: Callable[[Record], bool], words: str) -> "Requests":
        return Requests(
            lambda: tuple(filter(is_wanted, self._read())), f"{self._words} {words}".rstrip()
        )

    def _fail(self, records: Iterable[Record], text: str) -> None:
        __tracebackhide__ = True
        raise AssertionError("\n".join([text, *_lines(records)]))


def _path(record: Record) -> str:
    return record.target.partition("?")[0].lower().rstrip("/")


def _lines(records: Iterable[Record]) -> list[str]:
    """Return a line for each record, with the time since the first one."""
    every = [*records]
    listed = every[:_MOST_LISTED]
    began_s = listed[0].now_s if listed else 0.0
    lines = [
        f"  #{record.number} +{record.now_s - began_s:.3f} s {record.vm or record.peer}: "
        + record.line
        + (f" {record.reason}" if record.reason else "")
        + (f" (fault {record.fault})" if record.fault else "")
        for record in listed
    ]
    more = len(every) - len(listed)
    return [*lines, f"  and {more} more"] if more else lines


def _closest(records: Sequence[Record], many: int) -> Sequence[Record]:
    """Return the `many` consecutive records within the shortest time."""
    every = sorted(records, key=lambda record: record.now_s)
    starts = range(len(every) - many + 1)
    first = min(starts, key=lambda at: every[at + many - 1].now_s - every[at].now_s)
    return every[first : first + many]
