"""Logs of the admin API, read from their end."""

from datetime import UTC, datetime
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openimds.cli.client import Client
from openimds.cli.history import Moment, NumberedLog
from openimds.errors import ConfigError
from tests.unit.cli.fake_log import LogApi

NUMBERS = st.lists(st.integers(1, 5000), unique=True, max_size=40).map(sorted)


def at(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def log_of(numbers: list[int]) -> tuple[LogApi, NumberedLog]:
    """Return a log in which two entries each have the same time."""
    api = LogApi()
    api.entries = [
        {"number": number, "at": at(place // 2 * 10), "odd": bool(number % 2)}
        for place, number in enumerate(numbers)
    ]
    return api, NumberedLog(cast("Client", api), "/log", "number")


@given(numbers=NUMBERS, count=st.integers(1, 50), is_odd=st.booleans())
def test_tail_is_the_newest_entries(numbers: list[int], count: int, *, is_odd: bool) -> None:
    api, log = log_of(numbers)
    expected = [entry for entry in api.entries if entry["odd"] == is_odd][-count:]
    assert log.tail(count, lambda entry: entry["odd"] is is_odd) == expected
    assert log.end == max(numbers, default=0)


@given(NUMBERS, st.integers(-5, 250))
def test_since_is_every_entry_from_a_time_on(numbers: list[int], at_s: int) -> None:
    api, log = log_of(numbers)
    assert [*log.since(at_s)] == [entry for entry in api.entries if entry["at"] >= at(at_s)]


@given(NUMBERS, st.sets(st.integers(1, 5000)), st.integers(-5, 250))
def test_entries_outside_a_scope_do_not_end_a_log(
    numbers: list[int], hidden: set[int], at_s: int
) -> None:
    api, log = log_of(numbers)
    api.hidden = hidden | {*numbers[::2], *numbers[-3:]}
    shown = [entry for entry in api.entries if entry["number"] not in api.hidden]
    assert log.tail(50, lambda _: True) == shown
    assert log.end == max((entry["number"] for entry in shown), default=0)
    assert [*log.since(at_s)] == [entry for entry in shown if entry["at"] >= at(at_s)]


def test_many_hidden_entries_are_skipped_in_few_requests() -> None:
    api, log = log_of([*range(1, 4001)])
    api.hidden = {*range(1, 3000)}
    assert [entry["number"] for entry in log.tail(1, lambda _: True)] == [4000]
    assert len(api.calls) < 60


def test_tail_reads_no_more_than_its_bound() -> None:
    api, log = log_of([*range(1, 101)])
    assert [entry["number"] for entry in log.tail(9, lambda _: False, 20)] == []
    assert [entry["number"] for entry in log.tail(99, lambda _: True, 20)] == [*range(81, 101)]
    assert len(api.calls) < 60


def test_end_of_a_long_log_is_found_in_few_requests() -> None:
    api, log = log_of([*range(1000, 9000)])
    assert [entry["number"] for entry in log.tail(2, lambda _: True)] == [8998, 8999]
    assert len(api.calls) < 40


def test_entries_after_the_last_one_are_read_once() -> None:
    api, log = log_of([1, 2])
    assert len(log.tail(9, lambda _: True)) == 2
    api.entries += [{"number": number, "at": at(99)} for number in (3, 4, 5)]
    assert [entry["number"] for entry in log.until(4)] == [3, 4]
    assert [entry["number"] for entry in log.until(4)] == []
    assert [entry["number"] for entry in log.until(5)] == [5]


@pytest.mark.parametrize(
    "text, at_s",
    [
        ("600", 400.0),
        ("10m", 400.0),
        ("1.5", 998.5),
        ("0", 1000.0),
        ("1970-01-01T00:01:00Z", 60.0),
    ],
)
def test_moment_is_a_time_or_so_long_ago(
    text: str, at_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 1000.0)
    assert Moment().convert(text, None, None) == at_s


@pytest.mark.parametrize("text", ["soon", "-10m", "2026-11-22", "1e3"])
def test_text_that_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Moment().convert(text, None, None)
    assert caught.value.seen == f'"{text}"'
    assert caught.value.expected == (
        "a duration such as 90s, 10m or 2h30m, or a time with its zone, such as "
        "2026-11-22T19:54:46Z"
    )
