"""Guests' requests in the log: a sample, bounded, and without secrets."""

import json
import threading
from typing import Any

import pytest

from openimds.log.event import Level
from openimds.log.events import GUEST_REQUEST
from openimds.log.formats import LineFormat, as_json
from openimds.log.log import OperatorLog
from openimds.log.writer import MOST_ACCESS_LINES
from openimds.protocol.request_log import Record
from openimds.server.access_log import AccessLog, access_log
from openimds.settings import Settings

RECORD = Record(
    number=1,
    utc_s=0.0,
    now_s=0.0,
    vm="web",
    peer="10.0.0.4",
    method="GET",
    target="/metadata/instance?api-version=2021-02-01",
    headers=(("metadata", "true"), ("user-agent", "curl/8\x1b")),
    endpoint="/instance",
    status=200,
    size_bytes=99,
)


def logged(data: bytearray) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def test_request_is_a_line_with_its_vm_and_status() -> None:
    data = bytearray()
    log = OperatorLog(LineFormat(as_json), write=data.extend)
    AccessLog(log, 1).take(RECORD)
    log.close(10)
    (line,) = logged(data)
    del line["time"]
    assert line == {
        "level": "info",
        "event": "guest.request",
        "vm": "web",
        "peer": "10.0.0.4",
        "method": "GET",
        "target": "/metadata/instance?api-version=2021-02-01",
        "endpoint": "/instance",
        "status": 200,
        "bytes": 99,
        "agent": "curl/8\\u001b",
    }
    assert {*line} - {"level", "event"} <= {*GUEST_REQUEST.fields}
    assert log.counts["info"] == 1


@pytest.mark.parametrize("one_in", [1, 2, 7, 100])
def test_sample_has_its_share_of_every_client(one_in: int) -> None:
    tap = AccessLog(OperatorLog(LineFormat(as_json)), one_in)
    for clients in (1, 2, 10):
        for client in range(clients):
            numbers = range(1 + client, 40_000, clients)
            share = sum(map(tap.wants, numbers)) / len(numbers)
            assert share == pytest.approx(1 / one_in, rel=0.1)


def test_full_queue_drops_requests_but_takes_messages() -> None:
    begun, go_on, data = threading.Event(), threading.Event(), bytearray()
    reported = threading.Event()

    def write(some: bytes) -> None:
        begun.set()
        go_on.wait(10)
        data.extend(some)
        if b"log.dropped" in some:
            reported.set()

    log = OperatorLog(LineFormat(as_json), write=write)
    tap = AccessLog(log, 1)
    tap.take(RECORD)
    assert begun.wait(10)
    for _ in range(MOST_ACCESS_LINES + 5):
        tap.take(RECORD)
    log("a message")
    assert log.dropped == 5
    go_on.set()
    assert reported.wait(10)  # Without a further message.
    log.close(10)
    lines = logged(data)
    assert lines[-2]["message"] == "a message"
    assert (lines[-1]["event"], lines[-1]["lost"]) == ("log.dropped", 5)
    assert "5 lines of this log were not written" in lines[-1]["message"]
    assert len(lines) == MOST_ACCESS_LINES + 3


@pytest.mark.parametrize(
    "settings, level, is_there",
    [
        (Settings(), Level.INFO, False),
        (Settings(access_log="all"), Level.INFO, True),
        (Settings(access_log="sampled"), Level.INFO, True),
        (Settings(access_log="all"), Level.NOTICE, False),
    ],
)
def test_tap_is_there_where_lines_would_be(
    settings: Settings, level: Level, is_there: bool
) -> None:
    log = OperatorLog(LineFormat(as_json), level)
    assert (access_log(settings, log) is not None) is is_there
    assert access_log(settings, print) is None
