"""The document equals the recordings S34 and S38; any body can be read."""

import json
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from openimds.facts.events import TYPES, EventStatus
from openimds.facts.versions import SCHEDULED_EVENTS
from openimds.protocol.events.document import ScopeActivity, document, http_date, read_approval
from openimds.protocol.events.event import Event

VERSIONS = [row.name for row in SCHEDULED_EVENTS]
NEWEST = VERSIONS[-1]


def at(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp())  # type: ignore[arg-type,misc]


MAINTENANCE = Event(
    event_id="…",
    event_type="Freeze",
    scope="set:as-1",
    status=EventStatus.SCHEDULED,
    vms=("web-1",),
    resources=("xxxx",),
    not_before_s=at(2019, 9, 26, 15, 15, 21),
    duration_s=9,
    life_s=600,
    description="Host server is undergoing maintenance.",
    source="Platform",
    needs="any",
    created_s=0.0,
)
EVICTION = replace(
    MAINTENANCE,
    event_id="51941B56-8080-45AC-81AE-8BDA818F5958",
    event_type="Preempt",
    resources=("aks-workloads1-15413341-vmss_3",),
    not_before_s=at(2024, 3, 16, 19, 52, 9),
    description="",
    duration_s=-1,
)
STARTED = replace(
    MAINTENANCE,
    event_id="D3D9DFEC-1DCA-4B49-97AA-780E02F45DFE",
    status=EventStatus.STARTED,
    resources=("aks-nodepool1-21922338-vmss_47",),
    started_s=5.0,
)
REBOOT = replace(
    MAINTENANCE,
    event_id="4CAEA225-A741-474D-A72E-428C86FCD853",
    event_type="Reboot",
    resources=("flatcar-vm1",),
    not_before_s=at(2021, 7, 22, 4, 50, 17),
    description="",
    source="User",
    duration_s=-1,
)


@pytest.mark.parametrize(
    "event, incarnation, version, recorded",
    [
        (
            MAINTENANCE,
            279,
            "2017-08-01",
            (
                '{"DocumentIncarnation":279,"Events":[{"EventId":"…","EventStatus":"Scheduled",'
                '"EventType":"Freeze","ResourceType":"VirtualMachine","Resources":["xxxx"],'
                '"NotBefore":"Thu, 26 Sep 2019 15:15:21 GMT"}]}'
            ),
        ),
        (
            EVICTION,
            1,
            "2019-08-01",
            (
                '{"DocumentIncarnation":1,"Events":[{"EventId":"51941B56-8080-45AC-81AE-8BDA818F5958",'
                '"EventStatus":"Scheduled","EventType":"Preempt","ResourceType":"VirtualMachine",'
                '"Resources":["aks-workloads1-15413341-vmss_3"],'
                '"NotBefore":"Sat, 16 Mar 2024 19:52:09 GMT",'
                '"Description":"","EventSource":"Platform"}]}'
            ),
        ),
        (
            STARTED,
            208,
            "2019-08-01",
            (
                '{"DocumentIncarnation":208,"Events":[{"EventId":"D3D9DFEC-1DCA-4B49-97AA-780E02F45DFE"'
                ',"EventStatus":"Started","EventType":"Freeze","ResourceType":"VirtualMachine",'
                '"Resources":["aks-nodepool1-21922338-vmss_47"],"NotBefore":"",'
                '"Description":"Host server is undergoing maintenance.","EventSource":"Platform"}]}'
            ),
        ),
        (
            REBOOT,
            2,
            "2020-07-01",
            (
                '{"DocumentIncarnation":2,"Events":[{"EventId":"4CAEA225-A741-474D-A72E-428C86FCD853",'
                '"EventStatus":"Scheduled","EventType":"Reboot","ResourceType":"VirtualMachine",'
                '"Resources":["flatcar-vm1"],"NotBefore":"Thu, 22 Jul 2021 04:50:17 GMT",'
                '"Description":"","EventSource":"User","DurationInSeconds":-1}]}'
            ),
        ),
    ],
    ids=["Freeze of 2019", "Preempt of 2024", "Started of 2021", "user Reboot of 2021"],
)
def test_document_equals_its_recording(
    event: Event, incarnation: int, version: str, recorded: str
) -> None:
    assert document([event], incarnation, version) == recorded.encode()


@pytest.mark.parametrize("version", VERSIONS)
def test_document_without_events_has_an_empty_list(version: str) -> None:
    assert document([], 1, version) == b'{"DocumentIncarnation":1,"Events":[]}'


def members(version: str, event: Event = MAINTENANCE) -> dict[str, Any]:
    [members] = json.loads(document([event], 7, version))["Events"]
    assert isinstance(members, dict)
    return members


FIRST_MEMBERS = "EventId EventStatus EventType ResourceType Resources NotBefore"


@pytest.mark.parametrize(
    "version, more",
    [
        ("2017-03-01", ""),
        ("2017-08-01", ""),
        ("2017-11-01", ""),
        ("2019-01-01", ""),
        ("2019-04-01", " Description"),
        ("2019-08-01", " Description EventSource"),
        ("2020-07-01", " Description EventSource DurationInSeconds"),
        ("2024-07-09", " Description EventSource DurationInSeconds"),
    ],
)
def test_version_has_its_members_in_order(version: str, more: str) -> None:
    assert " ".join(members(version)) == FIRST_MEMBERS + more


def test_preview_version_puts_an_underscore_before_names() -> None:
    event = replace(MAINTENANCE, resources=("WestNO_0", "WestNO_1"))
    assert members("2017-03-01", event)["Resources"] == ["_WestNO_0", "_WestNO_1"]
    assert members("2017-08-01", event)["Resources"] == ["WestNO_0", "WestNO_1"]


@pytest.mark.parametrize(
    "version, newest_type",
    [
        ("2017-08-01", "Redeploy"),
        ("2017-11-01", "Preempt"),
        ("2019-01-01", "Terminate"),
        ("2020-07-01", "Terminate"),
        ("2024-07-09", "SpotRebalanceRecommendation"),
    ],
)
def test_version_hides_later_types(version: str, newest_type: str) -> None:
    events = [replace(MAINTENANCE, event_type=row.name) for row in TYPES]
    visible = [event["EventType"] for event in json.loads(document(events, 3, version))["Events"]]
    types = [row.name for row in TYPES]
    assert visible == types[: types.index(newest_type) + 1]


def test_events_keep_their_order() -> None:
    events = json.loads(document([EVICTION, MAINTENANCE, STARTED], 3, NEWEST))["Events"]
    assert [event["EventId"] for event in events] == [
        EVICTION.event_id,
        MAINTENANCE.event_id,
        STARTED.event_id,
    ]


def test_started_event_has_an_empty_not_before() -> None:
    assert {members(version, STARTED)["NotBefore"] for version in VERSIONS} == {""}


@given(st.integers(0, 253402300799))
@example(1474309787)  # Mon, 19 Sep 2016 18:29:47 GMT
def test_http_date_equals_the_standard_library(at_s: int) -> None:
    expected = format_datetime(datetime.fromtimestamp(at_s, UTC), usegmt=True)
    assert http_date(at_s) == expected


def test_http_date_equals_the_documented_example() -> None:
    assert http_date(1474309787) == "Mon, 19 Sep 2016 18:29:47 GMT"


@pytest.mark.parametrize(
    "body, ids",
    [
        (b'{"StartRequests":[{"EventId":"A"}]}', ("A",)),
        (
            b'{"StartRequests": [{"EventId": "f020ba2e-3bc0-4c40-a10b-86575a9eabd5"}]}',
            ("f020ba2e-3bc0-4c40-a10b-86575a9eabd5",),
        ),
        (
            b'{\n\t"StartRequests" : [\n\t\t{\n\t\t"EventId": "A"\n\t\t},{"EventId":"B"}\n\t]\n}\n',
            ("A", "B"),
        ),
        (b'{"DocumentIncarnation":1,"StartRequests":[{"EventId":"A","more":[1]}]}', ("A",)),
        (b'{"StartRequests":[' + b'{"EventId":"A"},' * 99 + b'{"EventId":"A"}]}', ("A",) * 100),
        (b'{"StartRequests":[{"EventId":"' + b"A" * 64 + b'"}]}', ("A" * 64,)),
    ],
)
def test_ids_of_an_approval_are_read(body: bytes, ids: tuple[str, ...]) -> None:
    assert read_approval(body) == ids


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"StartRequests=1",
        b'{"StartRequests":null}',
        b'{"StartRequests":[]}',
        b'{"StartRequests":{}}',
        b'{"StartRequests":["A"]}',
        b'{"StartRequests":[{}]}',
        b'{"StartRequests":[{"EventId":1}]}',
        b'{"StartRequests":[{"EventId":null}]}',
        b'{"StartRequests":[{"EventId":""}]}',
        b'{"StartRequests":[{"EventId":"A"}',
        b'{"StartRequests":[{"EventId":"A"}]} x',
        b'{"StartRequests":[{"EventId":"\xff"}]}',
        b'{"StartRequests":[{"EventId":"\\ud800"}]}',
        b'{"StartRequests":[' + b'{"EventId":"A"},' * 100 + b'{"EventId":"A"}]}',
        b'{"StartRequests":[{"EventId":"' + b"A" * 65 + b'"}]}',
        b'{"a":' * 100_000,
    ],
    ids=lambda body: repr(body[:40]),
)
def test_malformed_approval_is_none(body: bytes) -> None:
    assert read_approval(body) is None


def test_deeply_nested_approval_is_none_or_read() -> None:
    # From Python 3.14 on the depth is bounded by the size of the stack, and not by a number.
    body = b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b',"StartRequests":[{"EventId":"A"}]}'
    assert read_approval(body) in (None, ("A",))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["StartRequests", "EventId", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.binary() | values.map(lambda value: json.dumps(value).encode()))
def test_any_body_is_read_or_none(body: bytes) -> None:
    ids = read_approval(body)
    assert ids is None or 1 <= len(ids) <= 100


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1))
def test_any_list_of_ids_within_the_bounds_is_read(ids: list[str]) -> None:
    body = json.dumps({"StartRequests": [{"EventId": event_id} for event_id in ids]}).encode()
    fits = len(ids) <= 100 and all(len(event_id) <= 64 for event_id in ids)
    assert read_approval(body) == (tuple(ids) if fits else None)


def test_events_are_visible_five_minutes_after_the_first_request() -> None:
    activity = ScopeActivity()
    seen = [activity.asks("vm:a", at_s) for at_s in (1000.0, 1001.0, 1299.9, 1300.0, 1301.0)]
    assert seen == [False, False, False, True, True]


def test_scope_that_is_idle_for_a_day_begins_anew() -> None:
    activity = ScopeActivity(delay_s=10)
    times = (0.0, 10.0, 86409.9, 86409.9 + 86400, 86419.9 + 86400)
    assert [activity.asks("vm:a", at_s) for at_s in times] == [False, True, True, False, True]


def test_scopes_are_counted_apart() -> None:
    activity = ScopeActivity(delay_s=10)
    assert not activity.asks("vm:a", 0.0)
    assert not activity.asks("vm:b", 10.0)
    assert activity.asks("vm:a", 10.0)


@pytest.mark.parametrize("idle_s, is_visible", [(20, True), (9, False)])
def test_idle_span_can_be_set(idle_s: float, is_visible: bool) -> None:
    activity = ScopeActivity(delay_s=5, idle_s=idle_s)
    activity.asks("vm:a", 0.0)
    assert activity.asks("vm:a", 10.0) == is_visible


def test_events_are_visible_at_once_without_a_delay() -> None:
    assert ScopeActivity(delay_s=0).asks("vm:a", 0.0)


def test_requests_on_another_host_make_a_scope_active() -> None:
    activity = ScopeActivity()
    assert activity.merge("vm:a", 1000.0, 1010.0)
    assert not activity.merge("vm:a", 1005.0, 1010.0)
    assert activity.of("vm:a") == (1000.0, 1010.0)
    assert activity.merge("vm:a", 990.0, 1020.0)
    assert activity.asks("vm:a", 1290.0)
    assert [*activity.scopes()] == ["vm:a"]


def test_requests_a_day_apart_do_not_merge() -> None:
    activity = ScopeActivity(idle_s=100.0)
    activity.merge("vm:a", 1000.0, 1000.0)
    assert activity.merge("vm:a", 1100.0, 1150.0)
    assert activity.of("vm:a") == (1100.0, 1150.0)
    assert not activity.merge("vm:a", 900.0, 1050.0)
    assert activity.of("vm:a") == (1100.0, 1150.0)


def test_forgotten_scope_begins_anew() -> None:
    activity = ScopeActivity()
    activity.asks("vm:a", 1000.0)
    activity.forget("vm:a")
    activity.forget("vm:b")
    assert activity.of("vm:a") is None
    assert not activity.asks("vm:a", 1300.0)
