"""Responses are timed from the turn that read their request, by class."""

import pytest

from openimds.dataplane.latency import CLASSES, latency_class
from openimds.dataplane.response_bytes import CountKey
from openimds.facts.endpoints import ENDPOINTS
from tests.support.talk import Talk, a_dispatcher, a_fleet, an_index

VERSIONS = "/metadata/versions"
FLEET = a_fleet(a={"reach": {"address": ["10.0.0.1"]}})


@pytest.mark.parametrize(
    "endpoint, expected",
    [
        ("token", "identity"),
        ("app_service", "identity"),
        ("attested", "attested"),
        ("scheduledevents", "events"),
        ("instance", "metadata"),
        ("unknown_caller", "other"),
        ("http", "other"),
    ],
)
def test_class_of_an_endpoint(endpoint: str, expected: str) -> None:
    assert latency_class(endpoint) == expected


def test_every_endpoint_has_a_class() -> None:
    assert {latency_class(row.key) for row in ENDPOINTS} == {*CLASSES} - {"other"}


def test_first_and_known_requests_are_timed() -> None:
    dispatcher = a_dispatcher(an_index(*FLEET))
    talk = Talk(dispatcher, ("10.0.0.1", 5))
    for _ in range(3):
        talk.ask(VERSIONS)
    count = dispatcher.counts[CountKey("versions", 200, "")]
    assert (count.requests, count.count, count.untimed) == (3, 3, 0)


def test_late_answer_to_known_bytes_is_in_a_later_bucket() -> None:
    dispatcher = a_dispatcher(an_index(*FLEET))
    talk = Talk(dispatcher, ("10.0.0.1", 5))
    talk.ask(VERSIONS)
    now = dispatcher.now
    late_s = iter([0.0, *[0.02] * 99])
    dispatcher.now = lambda: now() + next(late_s)  # The turn begins before the answer.
    talk.ask(VERSIONS)
    samples = dispatcher.counts[CountKey("versions", 200, "")].samples()
    assert samples["0.01"] == 1
    assert samples["0.025"] == 2


def test_unreadable_bytes_are_counted_without_a_duration() -> None:
    dispatcher = a_dispatcher(an_index(*FLEET))
    talk = Talk(dispatcher, ("10.0.0.1", 5))
    talk.send(b"no request\r\n\r\n")
    (count,) = dispatcher.counts.values()
    assert (count.requests, count.untimed) == (1, 1)
