"""What clients asked in a test, and what can be asserted of it."""

from collections.abc import Callable, Iterable, Sequence
from typing import overload

from openimds.facts.lint import RULES, SLACK_S
from openimds.protocol.lint import Finding, most_in, report
from openimds.protocol.request_log import Record

_MOST_LISTED = 20
_HEADER, _PATH = "metadata", "/metadata"
_SAYS = {row.key: row.says for row in RULES}

Read = Callable[[], tuple[Record, ...]]


class Requests(Sequence[Record]):
    """The requests so far, oldest first; it grows as they come.

    `to` and `of` narrow it. What is asserted says all requests that are against it.
    """

    def __init__(self, read: Read, words: str = "") -> None:
        """Look at records; `words` say which they are."""
        self._read, self._words = read, words

    def to(self, path: str) -> "Requests":
        """Return those for a path or below it, such as `/metadata/instance`, whatever the query."""
        wanted = path.lower().rstrip("/")
        return self._only(lambda one: f"{_path(one)}/".startswith(f"{wanted}/"), f"to {path}")

    def of(self, vm: str) -> "Requests":
        """Return those of a VM; "" is for callers who are none."""
        return self._only(lambda one: one.vm == vm, f"of {vm or 'strangers'}")

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Record]: ...

    def __getitem__(self, index: int | slice) -> Record | Sequence[Record]:
        """Return one of them, or some."""
        return self._read()[index]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._read())

    def __repr__(self) -> str:
        """Return a line for each of them."""
        lines = _lines(self._read())
        return "\n".join([f"requests{self._words}:", *(lines or ["  none"])])

    def report(self) -> tuple[Finding, ...]:
        """Return what Azure would have refused, or advises against, by VM and rule."""
        return report(self._read())

    def assert_none(self) -> None:
        """Assert that there is none.

        Raises:
            AssertionError: there is; each is listed.
        """
        __tracebackhide__ = True
        if records := self._read():
            self._fail(records, f"expected no request{self._words}, saw {len(records)}")

    def assert_polled_at_most(self, most: int, *, per_s: float = 1.0) -> None:
        """Assert that in no `per_s` seconds there were more than `most` of them.

        The last 5 % of them do not count, 50 ms at most: who waits just so long is heard a little
        sooner now and then.

        Raises:
            AssertionError: there were; the closest ones are listed.
        """
        __tracebackhide__ = True
        records = self._read()
        seen = most_in(records, per_s - min(SLACK_S, per_s / 20))
        if seen > most:
            requests = "request" if most == 1 else "requests"
            expected = f"at most {most} {requests}{self._words} in {per_s:g} s"
            self._fail(_closest(records, seen), f"expected {expected}, saw {seen}")

    def assert_sent_metadata_header(self) -> None:
        """Assert that there are some, and that each of IMDS's own has the header `Metadata: true`.

        Raises:
            AssertionError: they do not; each that lacks it is listed.
        """
        __tracebackhide__ = True
        records = [one for one in self._read() if f"{_path(one)}/".startswith(f"{_PATH}/")]
        if not records:
            self._fail((), f"expected requests{self._words} with Metadata: true, saw none")
        expected = f"Metadata: true with every request{self._words}"
        if bare := [one for one in records if one.header(_HEADER).lower() != "true"]:
            self._fail(bare, f"expected {expected}, saw {len(bare)} without")

    def assert_clean(self, *but: str) -> None:
        """Assert that Azure would have refused none of them, and that its documents allow them all.

        Args:
            but: keys of rules that may be broken, as the report has them.

        Raises:
            AssertionError: each rule that was broken, with its first request.
        """
        __tracebackhide__ = True
        found = [one for one in self.report() if one.rule not in but]
        if found:
            lines = [
                f"  {one.rule} ({one.times}x by {one.vm}): {_SAYS[one.rule]}\n    {one.example}"
                for one in found
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
    shown = every[:_MOST_LISTED]
    began_s = shown[0].now_s if shown else 0.0
    lines = [
        f"  #{one.number} +{one.now_s - began_s:.3f} s {one.vm or one.peer}: {one.line}"
        + (f" {one.reason}" if one.reason else "")
        + (f" (fault {one.fault})" if one.fault else "")
        for one in shown
    ]
    left = len(every) - len(shown)
    return [*lines, f"  and {left} more"] if left else lines


def _closest(records: Sequence[Record], many: int) -> Sequence[Record]:
    """Return the `many` records in a row that came in the shortest time."""
    every = sorted(records, key=lambda one: one.now_s)
    starts = range(len(every) - many + 1)
    first = min(starts, key=lambda at: every[at + many - 1].now_s - every[at].now_s)
    return every[first : first + many]
