"""A log: its level, its bounds in time, its counts."""

import json
import threading
from typing import Any

import pytest

from openimds.log.event import Level, LogEvent
from openimds.log.formats import LineFormat, as_json
from openimds.log.log import OperatorLog

DENIED = LogEvent("thing.denied", Level.WARNING, "Denied.", ("peer",), per_minute=2)
DETAIL = LogEvent("thing.detail", Level.DEBUG, "A detail.")


class Lab:
    """A log in memory with a clock of its own."""

    def __init__(self, level: Level = Level.INFO) -> None:
        self.now_s = 0.0
        self.data = bytearray()
        self.log = OperatorLog(
            LineFormat(as_json), level, self.data.extend, lambda: 0.0, lambda: self.now_s
        )

    def records(self) -> list[dict[str, Any]]:
        """Return all lines so far."""
        assert self.log.flush(10)
        return [json.loads(line) for line in self.data.splitlines()]


def test_events_below_the_level_are_left_out() -> None:
    lab = Lab(Level.WARNING)
    lab.log(DETAIL.message("no"))
    lab.log(DETAIL.at(Level.INFO, "no"))
    lab.log("a plain text")
    assert [record["message"] for record in lab.records()] == ["a plain text"]
    assert {name: count for name, count in lab.log.counts.items() if count} == {"warning": 1}
    lab.log.close(10)


def test_debug_shows_details() -> None:
    lab = Lab(Level.DEBUG)
    lab.log(DETAIL.message("yes"))
    lab.log.close(10)
    assert lab.records()[0]["level"] == "debug"


def test_bounded_event_is_cut_off_and_counted_in_the_next_minute() -> None:
    lab = Lab()
    for _ in range(5):
        lab.log(DENIED.message("no", peer="10.0.0.1"))
    assert len(lab.records()) == 2
    lab.now_s = 60.0
    lab.log(DENIED.message("no", peer="10.0.0.1"))
    omitted, last = lab.records()[2:]
    assert (omitted["event"], omitted["name"], omitted["omitted"]) == (
        "log.omitted",
        "thing.denied",
        3,
    )
    assert (omitted["level"], last["event"]) == ("warning", "thing.denied")
    lab.log.close(10)


def test_count_of_a_minute_is_written_without_a_further_event() -> None:
    lab = Lab()
    for _ in range(3):
        lab.log(DENIED.message("no"))
    lab.now_s = 61.0
    lab.log.writer.wake()
    assert lab.log.flush(10)
    lab.log.close(10)
    assert lab.records()[-1]["omitted"] == 1


def test_end_writes_the_counts_that_are_left() -> None:
    lab = Lab()
    for _ in range(4):
        lab.log(DENIED.message("no"))
    lab.log.close(10)
    assert [record.get("omitted") for record in lab.records()] == [None, None, 2]


def test_lost_lines_are_counted_in_the_log_once_there_is_room() -> None:
    begun, go_on, data = threading.Event(), threading.Event(), bytearray()

    def write(some: bytes) -> None:
        begun.set()
        go_on.wait(10)
        data.extend(some)

    log = OperatorLog(LineFormat(as_json), write=write)
    log.writer._most = 4
    log("0")
    assert begun.wait(10)
    for _ in range(7):
        log("x")
    assert log.dropped == 3
    go_on.set()
    assert log.flush(10)
    log("after")
    log.close(10)
    records = [json.loads(line) for line in data.splitlines()]
    assert [record["message"] for record in records[-2:]] == [
        "3 lines of this log were not written: too many waited, or stderr took none",
        "after",
    ]
    assert (records[-2]["event"], records[-2]["lost"]) == ("log.dropped", 3)


def test_two_logs_share_nothing() -> None:
    one, two = Lab(), Lab()
    for _ in range(3):
        one.log(DENIED.message("no"))
    two.log(DENIED.message("no"))
    assert len(two.records()) == 1
    assert one.log.counts["warning"] == 2
    one.log.close(10)
    two.log.close(10)


@pytest.mark.parametrize("count", [1, 50])
def test_threads_may_log_at_once(count: int) -> None:
    lab = Lab()

    def work() -> None:
        for _ in range(20):
            lab.log("x")

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lab.records()) == lab.log.counts["warning"] == 20 * count
    lab.log.close(10)
