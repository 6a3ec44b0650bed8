"""The whole names of scopes, in stores as release 0.1.0 wrote them."""

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from openimds.fleet.store.schema import STEPS
from openimds.fleet.store.sqlite import SqliteStore
from tests.support.talk import DEFAULT_GROUP

RELEASED = Path(__file__).parents[2] / "upgrade/state-0.1.0/fleet.sql"
RED, BLUE = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
AT_RED, AT_BLUE = f"set:{RED}/one/as-1", f"set:{BLUE}/two/as-1"
TENANTS = {
    "red": {
        "compute": {"subscriptionId": RED, "resourceGroupName": "one"},
        "availabilitySet": "as-1",
    },
    "blue": {
        "compute": {"subscriptionId": BLUE, "resourceGroupName": "two"},
        "availabilitySet": "as-1",
    },
}
FIRST, SECOND = "602D9444-D2CD-49C7-8624-8643E7171297", "602D9444-D2CD-49C7-8624-8643E7171298"


def an_event(event_id: str, *vms: str, scope: str = "set:as-1", **members: object) -> Any:
    """Return an event with the members that 0.1.0 wrote."""
    return {
        "event_id": event_id,
        "event_type": "Reboot",
        "scope": scope,
        "status": "Scheduled",
        "concerned": [*vms],
        "resources": [f"{name}-shown" for name in vms],
        "not_before_s": 1793535000,
        "duration_s": -1,
        "life_s": 600,
        "description": "a reboot",
        "source": "User",
        "needs": "any",
        "is_failure": False,
        "created_s": 1793534000.5,
        "started_s": None,
        "approvals": [],
        **members,
    }


def store_of_0_1_0(
    path: Path,
    vms: Mapping[str, object],
    incarnations: Mapping[str, int],
    *events: object,
    removed: Mapping[str, object] | None = None,
) -> None:
    with closing(sqlite3.connect(path)) as store:
        for step in STEPS[:2]:
            assert isinstance(step, str)
            store.executescript(step)
        for number, (name, value) in enumerate([*(removed or {}).items(), *vms.items()]):
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            revision = store.execute(
                "INSERT INTO change (at, who, name, after, origin) VALUES ('', '', ?, ?, 'api')",
                (name, body),
            ).lastrowid
            if number >= len(removed or ()):
                store.execute("INSERT INTO vm VALUES (?, ?, ?, 'api')", (name, body, revision))
        store.executemany("INSERT INTO scope VALUES (?, ?)", incarnations.items())
        for event in events:
            body = event if isinstance(event, bytes) else json.dumps(event).encode()
            event_id = event["event_id"] if isinstance(event, dict) else "DAMAGED"
            store.execute("INSERT INTO event (id, body) VALUES (?, ?)", (event_id, body))
        store.execute("PRAGMA user_version = 2")
        store.commit()


def opened(path: Path) -> tuple[dict[str, int], list[Any]]:
    """Return the incarnations and the events of a store after it was opened."""
    with closing(SqliteStore(path)) as store:
        again = store.incarnations(), store.events()
    with closing(SqliteStore(path)) as store:  # The step is taken once.
        assert (store.incarnations(), store.events()) == again
    return again[0], [json.loads(body) for body in again[1]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fleet.db"


def test_scope_splits_and_its_events_follow_their_vms(path: Path) -> None:
    store_of_0_1_0(path, TENANTS, {"set:as-1": 7}, an_event(FIRST, "red"))
    # Blue has lost the event from its document, so that its number rises.
    expected = [an_event(FIRST, "red", scope=AT_RED)]
    assert opened(path) == ({AT_RED: 7, AT_BLUE: 8}, expected)


def test_scope_that_splits_without_events_copies_its_number(path: Path) -> None:
    store_of_0_1_0(path, TENANTS, {"set:as-1": 7, "vm:other": 3})
    assert opened(path) == ({AT_RED: 7, AT_BLUE: 7, "vm:other": 3}, [])


def test_event_of_two_scopes_becomes_one_for_each(path: Path) -> None:
    both = an_event(
        FIRST, "red", "blue", status="Started", started_s=1793534001.0, approvals=["blue"]
    )
    lone = an_event("602D9444-D2CD-49C7-8624-8643E7171299", "lone", scope="vm:lone")
    later = an_event(SECOND, "blue")
    store_of_0_1_0(path, TENANTS, {"set:as-1": 7, "vm:lone": 1}, both, lone, later)
    incarnations, events = opened(path)
    assert incarnations == {AT_RED: 8, AT_BLUE: 8, "vm:lone": 1}
    assert [(event["scope"], event["concerned"], event["resources"]) for event in events] == [
        (AT_RED, ["red"], ["red-shown"]),
        (AT_BLUE, ["blue"], ["blue-shown"]),
        ("vm:lone", ["lone"], ["lone-shown"]),
        (AT_BLUE, ["blue"], ["blue-shown"]),
    ]
    ids = [event["event_id"] for event in events]
    assert (ids[0], ids[3]) == (FIRST, SECOND)
    assert ids[1] not in {FIRST, SECOND}
    assert ids[1] == ids[1].upper()
    for event in events[:2]:
        assert {**event, **{key: both[key] for key in ("event_id", "scope")}} == {
            **both,
            "concerned": event["concerned"],
            "resources": event["resources"],
        }


def test_placement_groups_split_like_sets(path: Path) -> None:
    vms = {
        name: {"compute": {**vm["compute"], "vmScaleSetName": "Pool", "placementGroupId": "G"}}  # type: ignore[dict-item]
        for name, vm in TENANTS.items()
    }
    store_of_0_1_0(path, vms, {"group:pool/g": 2}, an_event(FIRST, "blue", scope="group:pool/g"))
    red, blue = f"group:{RED}/one/pool/g", f"group:{BLUE}/two/pool/g"
    assert opened(path) == ({red: 3, blue: 2}, [an_event(FIRST, "blue", scope=blue)])


def test_event_of_a_removed_vm_goes_where_the_vm_was(path: Path) -> None:
    gone = {"gone": TENANTS["blue"]}
    store_of_0_1_0(path, TENANTS, {"set:as-1": 1}, an_event(FIRST, "gone"), removed=gone)
    assert opened(path) == (
        {AT_RED: 2, AT_BLUE: 1},
        [an_event(FIRST, "gone", scope=AT_BLUE)],
    )


def test_event_of_a_vm_that_moved_stays_in_its_old_set(path: Path) -> None:
    store_of_0_1_0(
        path, {**TENANTS, "red": {}}, {"set:as-1": 1}, an_event(FIRST, "red"), removed=TENANTS
    )
    incarnations, events = opened(path)
    assert events == [an_event(FIRST, "red", scope=AT_RED)]
    assert incarnations == {AT_RED: 1, AT_BLUE: 2}


def test_event_of_an_unknown_vm_reaches_no_other_tenant(path: Path) -> None:
    store_of_0_1_0(path, TENANTS, {"set:as-1": 4, "set:empty": 2}, an_event(FIRST, "lost"))
    incarnations, events = opened(path)
    assert events == [an_event(FIRST, "lost", scope="unknown:set:as-1")]
    assert incarnations == {AT_RED: 5, AT_BLUE: 5, "unknown:set:empty": 2}


@pytest.mark.parametrize("vms", [("lost",), ("red", "lost")])
def test_unknown_vm_stays_in_the_only_scope_of_its_set(path: Path, vms: tuple[str, ...]) -> None:
    store_of_0_1_0(path, {"red": TENANTS["red"]}, {"set:as-1": 4}, an_event(FIRST, *vms))
    assert opened(path) == ({AT_RED: 4}, [an_event(FIRST, *vms, scope=AT_RED)])


@pytest.mark.parametrize(
    "body",
    [
        b"\x00 no JSON",
        b"[]",
        b'{"compute": 5, "availabilitySet": ["as-1"]}',
        b"[" * 10000,
        b'"\xff"',
    ],
)
def test_damaged_rows_do_not_stop_the_step(path: Path, body: bytes) -> None:
    vms = {**TENANTS, "damaged": body}
    event = an_event(SECOND, "red")
    odd = {**an_event(FIRST, "red"), "resources": []}
    store_of_0_1_0(path, vms, {"set:as-1": 1}, b"{no event", odd, event)
    with closing(SqliteStore(path)) as store:
        assert store.events()[0] == b"{no event"
        assert [json.loads(row) for row in store.events()[1:]] == [
            odd,
            {**event, "scope": AT_RED},
        ]
        stored = store.get("damaged")
        assert stored
        assert stored.body == body


def test_body_of_another_release_still_names_its_scope(path: Path) -> None:
    vms = {name: {**vm, "fromTheFuture": 1} for name, vm in TENANTS.items()}
    store_of_0_1_0(path, vms, {"set:as-1": 1}, an_event(FIRST, "red"))
    assert opened(path)[1] == [an_event(FIRST, "red", scope=AT_RED)]


def test_failed_step_leaves_the_store_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_of_0_1_0(path, TENANTS, {"set:as-1": 7}, an_event(FIRST, "red"))

    def fail(*_: object) -> None:
        raise OSError("no ids today")

    with monkeypatch.context() as patch:
        patch.setattr("openimds.fleet.scope_names.WholeNames.renamed_incarnations", fail)
        with pytest.raises(OSError, match="no ids"):
            SqliteStore(path)
    with closing(sqlite3.connect(path)) as store:
        assert store.execute("PRAGMA user_version").fetchone() == (2,)
        assert store.execute("SELECT * FROM scope").fetchall() == [("set:as-1", 7)]
        assert len(store.execute("SELECT * FROM event").fetchall()) == 1
    assert len(opened(path)[0]) == 2


def test_store_of_release_0_1_0_keeps_numbers_and_events(path: Path) -> None:
    with closing(sqlite3.connect(path)) as store:
        store.executescript(RELEASED.read_text("utf-8"))
        before = [json.loads(body) for (body,) in store.execute("SELECT body FROM event")]
    incarnations, events = opened(path)
    group = DEFAULT_GROUP.replace("openimds", "lab")
    assert incarnations == {f"set:{group}/as-1": 2, "vm:api-1": 2, "vm:db-1": 2}
    assert [event["scope"] for event in events] == [f"set:{group}/as-1", "vm:db-1"]
    assert [{**event, "scope": ""} for event in events] == [
        {**event, "scope": ""} for event in before
    ]
