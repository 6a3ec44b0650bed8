"""The state machine of events against a model: a list and a loop.

The model knows the rules of section G, not the rows of `facts`: it looks at every event each
time, and counts a scope's incarnation by its newest document.
"""

import json
from typing import Any

import msgspec.json
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

from openimds.facts.versions import SCHEDULED_EVENTS
from openimds.protocol.events.document import document
from openimds.protocol.events.event import prepare
from openimds.protocol.events.request import EventRequest
from openimds.protocol.events.state_machine import EventStateMachine, Outcome, Snapshot
from tests.support.talk import DEFAULT_GROUP

VERSIONS = [row.name for row in SCHEDULED_EVENTS]
FLEET = {
    f"group:{DEFAULT_GROUP}/pool/1": ["p-1", "p-2", "p-3"],
    f"set:{DEFAULT_GROUP}/as-1": ["s-1", "s-2"],
    "vm:lone": ["lone"],
}
NOTICE = {"Freeze": 900, "Reboot": 900, "Redeploy": 600, "Preempt": 30, "Terminate": 300}
ADVICE = "SpotRebalanceRecommendation"
SINCE = {"Preempt": "2017-11-01", "Terminate": "2019-01-01", ADVICE: "2024-07-09"}
scopes = st.sampled_from(list(FLEET))
moments = st.sampled_from([0, 0.5, 1, 29, 30, 31, 299.5, 600, 900, 5000]) | st.floats(0, 1000)

requests = st.builds(
    EventRequest,
    event_type=st.sampled_from([*NOTICE, ADVICE]),
    vms=st.just(()),
    notice_s=st.none() | moments,
    life_s=st.sampled_from([0, 1, 300, 1e8]),
    needs=st.sampled_from(["any", "all"]),
    is_failure=st.sampled_from([False, False, False, True]),
)


class Model:
    """Events as dictionaries, in the order of their declaration."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.incarnations = dict.fromkeys(FLEET, 0)
        self.newest: dict[str, list[tuple[Any, ...]]] = {scope: [] for scope in FLEET}

    def count(self, scope: str) -> None:
        """Count one change, which has to be one that the newest document shows."""
        events_shown = self.events_shown(scope, VERSIONS[-1])
        assert events_shown != self.newest[scope]
        self.newest[scope] = events_shown
        self.incarnations[scope] += 1

    def declare(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        self.count(event["scope"])

    def known(self, event_id: str, scope: str = "") -> dict[str, Any] | None:
        same = [event for event in self.events if event["id"] == event_id]
        return same[0] if same and scope in ("", same[0]["scope"]) else None

    def start(self, event: dict[str, Any], at_s: float) -> None:
        event["started_s"] = at_s
        self.count(event["scope"])

    def end(self, event: dict[str, Any]) -> None:
        self.events.remove(event)
        self.count(event["scope"])

    def move(self, now_s: float) -> None:
        """Let time pass: always the earliest transition first."""
        while True:
            dues = [(self.due_s(event), event) for event in self.events]
            ripe = [(due_s, event) for due_s, event in dues if due_s <= now_s]
            if not ripe:
                return
            due_s, event = min(ripe, key=lambda pair: pair[0])
            if event["started_s"] is None and event["type"] != ADVICE:
                self.start(event, due_s)
            else:
                self.end(event)

    def due_s(self, event: dict[str, Any]) -> float:
        if event["started_s"] is None:
            return float(event["not_before_s"])
        return float(event["started_s"] + event["life_s"])

    def events_shown(self, scope: str, version: str) -> list[tuple[Any, ...]]:
        """Return the members of each event that a guest reads: id, status, type, resources."""
        return [
            (
                event["id"],
                "Scheduled" if event["started_s"] is None else "Started",
                event["type"],
                event["vms"],
            )
            for event in self.events
            if event["scope"] == scope and SINCE.get(event["type"], "") <= version
        ]


class EventsMachine(RuleBasedStateMachine):
    """A small fleet, an operator, guests and a clock."""

    @initialize()
    def begin(self) -> None:
        self.now_s = 1_700_000_000.0
        self.machine = EventStateMachine()
        self.model = Model()
        self.declared = 0
        self.is_asleep = False
        self.documents: dict[tuple[str, str, int], bytes] = {}
        self.ever: dict[str, str] = {}
        self.may_start: set[str] = set()

    def happen(self, outcome: Outcome, *, is_refused: bool) -> None:
        self.is_asleep = False
        assert bool(outcome.refusal) == is_refused
        times = [move.at_s for move in outcome.transitions]
        assert times == sorted(times)

    @rule(request=requests, scope=scopes, how_many=st.integers(1, 3))
    def declare(self, request: EventRequest, scope: str, how_many: int) -> None:
        self.declared += 1
        event_id = f"{self.declared:08X}-ABCD-4000-8000-000000000000"
        vms = FLEET[scope][:how_many]
        is_failure = request.is_failure and request.event_type != ADVICE
        request = replace(request, vms=tuple(vms), is_failure=is_failure)
        hits = [(name, name) for name in vms]
        event = prepare(request, event_id.lower(), scope, hits, self.now_s)
        notice_s = (
            NOTICE.get(request.event_type, 900) if request.notice_s is None else request.notice_s
        )
        assert self.now_s + notice_s <= event.not_before_s < self.now_s + notice_s + 1
        self.model.move(self.now_s)
        self.happen(self.machine.declare(event), is_refused=False)
        members: dict[str, Any] = {
            "id": event_id,
            "scope": scope,
            "type": request.event_type,
            "vms": vms,
            "needs": request.needs,
            "not_before_s": event.not_before_s,
            "life_s": request.life_s,
            "approved": set(),
            "started_s": self.now_s if is_failure else None,
        }
        self.model.declare(members)
        self.ever[event_id] = request.event_type
        if is_failure:
            self.may_start.add(event_id)

    def some_ids(self, picks: list[int]) -> list[str]:
        """Ids of events that are, were or will be."""
        return [
            f"{pick % (self.declared + 1) + 1:08X}-ABCD-4000-8000-000000000000" for pick in picks
        ]

    @rule(
        scope=scopes,
        vm=st.integers(0, 2),
        picks=st.lists(st.integers(0, 99), min_size=1, max_size=3),
    )
    def approve(self, scope: str, vm: int, picks: list[int]) -> None:
        self.approve_by(scope, FLEET[scope][vm % len(FLEET[scope])], self.some_ids(picks))

    @rule(scope=scopes, vm=st.integers(0, 2))
    def approve_all(self, scope: str, vm: int) -> None:
        self.model.move(self.now_s)
        ids = [event["id"] for event in self.model.events if event["scope"] == scope]
        self.approve_by(scope, FLEET[scope][vm % len(FLEET[scope])], ids)

    def approve_by(self, scope: str, vm: str, ids: list[str]) -> None:
        self.model.move(self.now_s)
        is_known = all(self.model.known(event_id, scope) for event_id in ids)
        outcome = self.machine.approve(
            scope, vm, [event_id.lower() for event_id in ids], self.now_s
        )
        self.happen(outcome, is_refused=not is_known)
        for event_id in dict.fromkeys(ids if is_known else []):
            event = self.model.known(event_id)
            assert event
            if event["started_s"] is not None or event["type"] == ADVICE:
                continue
            event["approved"].add(vm)
            if event["needs"] == "any" or event["approved"] >= set(event["vms"]):
                self.may_start.add(event_id)
                self.model.start(event, self.now_s)

    @rule(pick=st.integers(0, 99))
    def start(self, pick: int) -> None:
        self.model.move(self.now_s)
        [event_id] = self.some_ids([pick])
        event = self.model.known(event_id)
        is_fine = event is not None and event["started_s"] is None and event["type"] != ADVICE
        self.happen(self.machine.start(event_id, self.now_s), is_refused=not is_fine)
        if event and is_fine:
            self.may_start.add(event_id)
            self.model.start(event, self.now_s)

    @rule(pick=st.integers(0, 99))
    def complete(self, pick: int) -> None:
        self.model.move(self.now_s)
        [event_id] = self.some_ids([pick])
        event = self.model.known(event_id)
        is_fine = event is not None and event["started_s"] is not None
        self.happen(self.machine.complete(event_id, self.now_s), is_refused=not is_fine)
        if event and is_fine:
            self.model.end(event)

    @rule(pick=st.integers(0, 99))
    def cancel(self, pick: int) -> None:
        self.model.move(self.now_s)
        [event_id] = self.some_ids([pick])
        event = self.model.known(event_id)
        is_fine = event is not None and event["started_s"] is None
        self.happen(self.machine.cancel(event_id, self.now_s), is_refused=not is_fine)
        if event and is_fine:
            self.model.end(event)

    @rule(step_s=moments)
    def jump(self, step_s: float) -> None:
        self.now_s += step_s
        self.model.move(self.now_s)
        self.happen(Outcome(tuple(self.machine.tick(self.now_s))), is_refused=False)

    @rule(step_s=moments)
    def sleep(self, step_s: float) -> None:
        """Let time pass without a tick: the next call has to catch up."""
        self.now_s += step_s
        self.is_asleep = True

    @rule()
    def step_to_the_due_time(self) -> None:
        """Tick as a timer does, so that the invariants see every single change."""
        due_s = self.machine.due_s()
        self.model.move(self.now_s)
        if due_s is not None:
            self.jump(max(0, due_s - self.now_s))

    @rule()
    def restore(self) -> None:
        text = msgspec.json.encode(self.machine.snapshot())
        self.machine = EventStateMachine(msgspec.json.decode(text, type=Snapshot))

    @invariant()
    def agrees(self) -> None:
        if self.is_asleep:
            return
        self.machine.tick(self.now_s)
        self.model.move(self.now_s)
        for scope in FLEET:
            incarnation = self.machine.incarnation(scope)
            assert incarnation == self.model.incarnations[scope]
            assert self.model.events_shown(scope, VERSIONS[-1]) == self.model.newest[scope]
            events = self.machine.events_of(scope)
            for version in VERSIONS:
                body = document(events, incarnation, version)
                assert body == self.documents.setdefault((scope, version, incarnation), body)
                self.compare(scope, version, json.loads(body))
        dues = [self.model.due_s(event) for event in self.model.events]
        assert self.machine.due_s() == min(dues, default=None)

    def compare(self, scope: str, version: str, body: dict[str, Any]) -> None:
        prefix = "_" if version == "2017-03-01" else ""
        names = ("EventId", "EventStatus", "EventType", "Resources")
        events_shown = [tuple(event[name] for name in names) for event in body["Events"]]
        expected = [
            (*members, [prefix + vm for vm in vms])
            for *members, vms in self.model.events_shown(scope, version)
        ]
        assert events_shown == expected
        for event_id, event_status, event_type, _ in events_shown:
            assert self.ever[event_id] == event_type
            event = self.model.known(event_id)
            assert event
            is_time = event["not_before_s"] <= self.now_s
            assert event_status == "Scheduled" or is_time or event_id in self.may_start


def test_state_machine_agrees_with_a_list_and_a_loop() -> None:
    run_state_machine_as_test(
        EventsMachine,
        settings=settings(
            max_examples=60,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
