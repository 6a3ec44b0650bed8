"""The events service over SQLite against a model: restarts, kills and full disks."""

import asyncio
import json
import tempfile
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from openimds.events.clock import Clock
from openimds.events.service import EventsService
from openimds.facts.events import Trigger
from openimds.facts.versions import NEWEST, catalog
from openimds.fleet.index import FleetIndex
from openimds.fleet.service import FleetService
from openimds.fleet.store.port import EventBatch, LogEntry, StoreError
from openimds.fleet.store.sqlite import SqliteStore
from openimds.protocol.events.event import Event
from openimds.protocol.events.request import EventRequest
from openimds.protocol.events.state_machine import TransitionRefusal
from openimds.protocol.pending import Approved, Failed, PendingApproval, PendingEventsDocument
from openimds.vm.fleet_file import parse_fleet
from tests.property.test_events_machine import FLEET, NOTICE, Model, scopes

T = TypeVar("T")
VALUES: dict[str, Any] = {
    **{
        f"p-{n}": {"compute": {"vmScaleSetName": "pool", "placementGroupId": "1"}}
        for n in (1, 2, 3)
    },
    **{f"s-{n}": {"availabilitySet": "as-1"} for n in (1, 2)},
    "lone": {},
}
ORDERS = (Trigger.START, Trigger.COMPLETE, Trigger.CANCEL)
VERSION = "2024-07-09"


class FullStore(SqliteStore):
    """Has no room while `is_full`."""

    is_full = False

    def write_events(self, batch: EventBatch) -> list[LogEntry]:
        if self.is_full:
            raise StoreError("the disk is full")
        return super().write_events(batch)


class EventsServiceMachine(RuleBasedStateMachine):
    """A fleet whose server dies now and then."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.loop = asyncio.new_event_loop()
        self.now_s = 1_700_000_000.0
        self.model = Model()
        self.documents: dict[tuple[str, int], bytes] = {}
        self.services: list[FleetService] = []
        self.ids: list[str] = []
        self.open()

    def open(self) -> None:
        fleet_index: FleetIndex[Any] = FleetIndex(catalog(NEWEST), 1 << 20)
        fleet_index.apply(fleet_index.plan(parse_fleet({"vms": VALUES}).vms.values()))
        self.store = FullStore(Path(self.folder.name) / "fleet.db")
        self.fleet_service = FleetService(
            self.store, fleet_index, lambda: self.now_s, self.open_no_listener
        )
        self.services.append(self.fleet_service)
        self.events_service = EventsService(
            self.fleet_service, Clock(lambda: self.now_s), lambda _: None
        )
        self.run(self.events_service.load())

    async def open_no_listener(self, *_: object) -> None:
        """Open nothing: no VM wants a listener."""

    def run(self, work: Awaitable[T]) -> T:
        self.model.move(self.now_s)
        return self.loop.run_until_complete(work)

    @rule(
        scope=scopes,
        kind=st.sampled_from(list(NOTICE)),
        many=st.integers(1, 3),
        needs=st.sampled_from(["any", "all"]),
        life_s=st.sampled_from([0, 1, 300, 1e8]),
        is_failure=st.booleans(),
    )
    def declare(  # noqa: PLR0917 - the facts of an event
        self, scope: str, kind: str, many: int, needs: str, life_s: float, is_failure: bool
    ) -> None:
        vms = FLEET[scope][:many]
        request = EventRequest(kind, tuple(vms), needs=needs, life_s=life_s, is_failure=is_failure)
        (event,) = self.run(self.events_service.declare(request, "me"))
        self.ids.append(event.event_id)
        self.model.declare(
            {
                "id": event.event_id,
                "scope": scope,
                "type": kind,
                "vms": vms,
                "needs": needs,
                "not_before_s": event.not_before_s,
                "life_s": life_s,
                "approved": set(),
                "started_s": self.now_s if is_failure else None,
            }
        )

    @rule(scope=scopes, vm=st.integers(0, 2), pick=st.integers(0, 99), is_full=st.booleans())
    def approve(self, scope: str, vm: int, pick: int, is_full: bool) -> None:
        if not self.ids:
            return
        event_id, name = self.ids[pick % len(self.ids)], FLEET[scope][vm % len(FLEET[scope])]
        self.tick()
        self.store.is_full = is_full
        need = PendingApproval(name, scope, (event_id.lower(),))
        reply = self.run(self.events_service.approve(need))
        self.store.is_full = False
        event = self.model.known(event_id, scope)
        if event is None:
            assert reply == Failed("malformed_events")
        elif event["started_s"] is not None or name in event["approved"]:
            assert reply == Approved()
        elif is_full:
            assert reply == Failed("unavailable")
        else:
            assert reply == Approved()
            event["approved"].add(name)
            if event["needs"] == "any" or event["approved"] >= set(event["vms"]):
                self.model.start(event, self.now_s)

    @rule(trigger=st.sampled_from(ORDERS), pick=st.integers(0, 99))
    def order(self, trigger: Trigger, pick: int) -> None:
        if not self.ids:
            return
        event_id = self.ids[pick % len(self.ids)]
        got = self.run(self.events_service.order(trigger, event_id, "me"))
        event = self.model.known(event_id)
        has_started = event is not None and event["started_s"] is not None
        is_fine = event is not None and (trigger is Trigger.COMPLETE) == has_started
        assert isinstance(got, Event if is_fine else TransitionRefusal)
        if event and is_fine and trigger is Trigger.START:
            self.model.start(event, self.now_s)
        elif event and is_fine:
            self.model.end(event)

    @rule(step_s=st.sampled_from([0.5, 1, 30, 299.5, 600, 900, 5000, -299.5, -5000]))
    def sleep(self, step_s: float) -> None:
        """Let time pass; a clock may also be set back."""
        self.now_s += step_s

    def tick(self) -> None:
        self.run(self.events_service.set_clock(self.events_service.clock.state))

    @rule(is_killed=st.booleans())
    def restart(self, is_killed: bool) -> None:
        """A killed server closes nothing: every acknowledged change has to be in the file."""
        if not is_killed:
            self.run(self.events_service.close())
            self.fleet_service.close()
            self.services.remove(self.fleet_service)
        self.open()

    @invariant()
    def agrees(self) -> None:
        self.tick()
        for scope, vms in FLEET.items():
            documents = [
                self.events_service.cached(PendingEventsDocument(vm, scope, VERSION), self.now_s)
                for vm in vms
            ]
            assert all(document is documents[0] for document in documents)
            body = json.loads(documents[0].body)
            incarnation = body["DocumentIncarnation"]
            assert incarnation == self.model.incarnations[scope]
            assert documents[0].body == self.documents.setdefault(
                (scope, incarnation), documents[0].body
            )
            names = ("EventId", "EventStatus", "EventType", "Resources")
            events = [tuple(event[name] for name in names) for event in body["Events"]]
            assert events == self.model.events_shown(scope, VERSION)

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        for fleet_service in self.services:
            fleet_service.close()
        self.loop.close()
        self.folder.cleanup()


def test_no_event_is_lost_over_restarts_kills_and_full_disks() -> None:
    run_state_machine_as_test(
        EventsServiceMachine,
        settings=settings(
            max_examples=25,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
