"""Assertions on requests, and their messages."""

from collections.abc import Mapping

import pytest
from msgspec import structs

from openimds.protocol.request_log import Record
from openimds.testing.requests import Requests

EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"
ONE = Record(1, 0.0, 100.0, "web-1", "10.0.0.4", "GET", EVENTS, (("metadata", "true"),), "", 200)


def requests(*changes: Mapping[str, object]) -> Requests:
    """Return requests with these changes, numbered from 1."""
    changed = (structs.replace(ONE, number=n, **one) for n, one in enumerate(changes, 1))
    records = tuple(changed)
    return Requests(lambda: records)


def test_requests_are_a_growing_sequence() -> None:
    records: list[Record] = []
    every = Requests(lambda: tuple(records))
    polls = every.to("/metadata/scheduledevents")
    assert (len(polls), repr(polls)) == (0, "requests to /metadata/scheduledevents:\n  none")
    records.append(ONE)
    assert polls[0] is every[-1] is ONE
    assert [*polls] == [*every[:1]] == records
    assert repr(polls).endswith(f"\n  #1 +0.000 s web-1: GET {EVENTS} 200")


@pytest.mark.parametrize(
    "path, numbers",
    [
        ("/metadata", [1, 2, 3]),
        ("/Metadata/Instance/", [1, 2]),
        ("/metadata/instance/compute", [2]),
        ("/metadata/inst", []),
        ("/", [1, 2, 3, 4]),
    ],
)
def test_path_filter_includes_paths_below_in_any_case(path: str, numbers: list[int]) -> None:
    targets = ("/metadata/instance?x=/metadata/versions", "/METADATA/instance/compute/", EVENTS, "")
    every = requests(*({"target": one} for one in targets))
    assert [one.number for one in every.to(path)] == numbers


def test_vm_filter_separates_unknown_callers() -> None:
    every = requests({}, {"vm": "web-2"}, {"vm": ""})
    assert [one.number for one in every.of("web-2")] == [2]
    assert [one.number for one in every.of("")] == [3]
    every.of("web-2").to("/msi").assert_none()
    with pytest.raises(
        AssertionError, match="expected no request of unknown callers, saw 1"
    ) as failed:
        every.of("").assert_none()
    assert f"#3 +0.000 s 10.0.0.4: GET {EVENTS} 200" in str(failed.value)


def test_only_polls_that_are_too_close_are_listed() -> None:
    polls = requests(*({"now_s": at} for at in (0.0, 5.0, 5.4, 5.9, 9.0)))
    polls.assert_polled_at_most(3)
    polls.assert_polled_at_most(1, per_s=0.4)
    polls.assert_polled_at_most(4, per_s=5.0)
    with pytest.raises(AssertionError) as failed:
        polls.assert_polled_at_most(2, per_s=1)
    first, *lines = str(failed.value).splitlines()
    assert first == "expected at most 2 requests in 1 s, saw 3"
    assert [line.split()[:2] for line in lines] == [
        ["#2", "+0.000"],
        ["#3", "+0.400"],
        ["#4", "+0.900"],
    ]
    with pytest.raises(AssertionError, match="at most 1 request in 1 s, saw 3"):
        polls.assert_polled_at_most(1)


def test_poll_that_arrives_slightly_early_is_allowed() -> None:
    requests({"now_s": 0.0}, {"now_s": 0.96}).assert_polled_at_most(1)
    requests({"now_s": 0.0}, {"now_s": 0.096}).assert_polled_at_most(1, per_s=0.1)
    requests({"now_s": 0.0}, {"now_s": 59.96}).assert_polled_at_most(1, per_s=60)
    for at_s, per_s in ((0.94, 1.0), (0.094, 0.1), (59.94, 60.0)):
        with pytest.raises(AssertionError, match="at most 1 request in"):
            requests({"now_s": 0.0}, {"now_s": at_s}).assert_polled_at_most(1, per_s=per_s)


def test_request_without_the_header_is_listed() -> None:
    app_service = {"target": "/msi/token", "headers": ()}
    requests({}, app_service).assert_sent_metadata_header()
    bare = requests({}, {"headers": (), "status": 400, "reason": "header_missing"})
    with pytest.raises(AssertionError) as failed:
        bare.assert_sent_metadata_header()
    first, line = str(failed.value).splitlines()
    assert first == "expected Metadata: true with every request, saw 1 without"
    assert line == f"  #2 +0.000 s web-1: GET {EVENTS} 400 header_missing"
    with pytest.raises(AssertionError, match="saw none"):
        requests(app_service).assert_sent_metadata_header()


def test_refused_request_is_reported_with_its_rule() -> None:
    fine = requests({}, {"now_s": 101.5})
    fine.assert_clean()
    bad = requests({"headers": (), "status": 400, "reason": "header_missing"})
    with pytest.raises(AssertionError) as failed:
        bad.assert_clean()
    assert str(failed.value).splitlines() == [
        "expected clean requests, saw",
        "  header_missing (1x by web-1): A request without the header Metadata: true gets 400",
        f"    GET {EVENTS} 400",
    ]
    assert [one.rule for one in bad.report()] == ["header_missing"]
    bad.assert_clean("header_missing")


def test_long_list_is_cut() -> None:
    with pytest.raises(AssertionError, match=r"\n  and 5 more$") as failed:
        requests(*[{}] * 25).assert_none()
    assert len(str(failed.value).splitlines()) == 22


def test_fault_is_named() -> None:
    assert repr(requests({"fault": "delay"})).endswith("200 (fault delay)")
