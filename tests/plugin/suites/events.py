"""A suite of another project: maintenance events and time."""

from datetime import UTC, datetime, timedelta
from threading import Thread

import httpx2
import pytest

from openimds.errors import ConfigError
from openimds.pytest_plugin import Imds

NEW_YEAR = datetime(2030, 1, 1, tzinfo=UTC)


def approve(imds: Imds, event_id: str) -> int:
    return httpx2.post(
        f"{imds.url}/metadata/scheduledevents",
        params={"api-version": "2020-07-01"},
        headers={"Metadata": "true"},
        json={"StartRequests": [{"EventId": event_id}]},
    ).status_code


def test_guest_sees_an_event_and_approves_it(imds: Imds) -> None:
    event = imds.events.schedule("Reboot", in_s=600, description="a new kernel")
    (shown,) = imds.events.document()["Events"]
    assert shown["EventId"] == event.event_id
    assert shown["Description"] == "a new kernel"
    # The wait begins before the approval arrives, and ends with it.
    guest = Thread(target=approve, args=(imds, event.event_id))
    guest.start()
    imds.events.wait(event, "approved", timeout_s=30)
    guest.join()
    imds.events.wait(event, "started")
    assert [one.status for one in imds.events] == ["Started"]
    imds.events.complete(event)
    assert imds.events.get(event) is None
    assert len(imds.events) == 0


def test_time_starts_an_unapproved_event(imds: Imds) -> None:
    imds.clock.rate = 0
    imds.clock.set(NEW_YEAR)
    event = imds.events.schedule("Freeze", not_before=NEW_YEAR + timedelta(minutes=15))
    imds.clock.advance(timedelta(minutes=14))
    assert imds.clock.now == NEW_YEAR + timedelta(minutes=14)
    assert imds.events.document()["Events"][0]["EventStatus"] == "Scheduled"
    imds.clock.advance(60)
    assert imds.events.document("2017-08-01")["Events"][0]["EventStatus"] == "Started"
    with pytest.raises(AssertionError, match="has started without approval"):
        imds.events.wait(event)


def test_unreached_state_is_reported(imds: Imds) -> None:
    imds.clock.rate = 0
    event = imds.events.schedule("Reboot")
    with pytest.raises(AssertionError, match="is not started after 0 s, it is Scheduled"):
        imds.events.wait(event.event_id, "started", timeout_s=0)
    imds.events.cancel(event)
    with pytest.raises(AssertionError, match="there is no event"):
        imds.events.wait(event)
    with pytest.raises(ConfigError, match=event.event_id):
        imds.events.start(event)


def test_event_has_one_scope(imds: Imds) -> None:
    imds.vms["web-2"] = {}
    with pytest.raises(ConfigError, match="Schedule an event for each scope"):
        imds.events.schedule("Reboot", imds.vm, "web-2")
    event = imds.events.schedule("Redeploy", "web-2", needs="all", duration_s=9)
    assert imds.events.document()["Events"] == []
    assert len(imds.events.document(vm="web-2")["Events"]) == 1
    assert imds.events.approve(event).status == "Started"


def test_scenario_runs_by_the_clock(imds: Imds) -> None:
    imds.clock.rate = 0
    imds.events.begin([{"type": "Freeze", "vms": ["vm-1"], "at_s": 60, "notice_s": 900}])
    assert len(imds.events) == 0
    imds.clock.advance(60)
    assert len(imds.events) == 1


@pytest.mark.imds(virtual_clock=False)
def test_clock_at_real_time_cannot_be_set(imds: Imds) -> None:
    with pytest.raises(ConfigError, match="saw a clock at real time"):
        imds.clock.advance(1)


def test_time_without_a_zone_is_refused(imds: Imds) -> None:
    with pytest.raises(ConfigError, match="Write tzinfo=UTC"):
        imds.clock.set(NEW_YEAR.replace(tzinfo=None))
