"""What an operator declares becomes an event with the values that are usual for it."""

import re
from typing import Any

import pytest
from msgspec.structs import replace

from openimds.errors import ConfigError
from openimds.facts.events import EventStatus
from openimds.protocol.events.event import (
    Declaration,
    Event,
    check,
    place_of,
    prepare,
    scope_of,
    usual,
)
from openimds.vm.defaults import complete
from openimds.vm.fleet_file import parse_fleet

ID = "602D9444-D2CD-49C7-8624-8643E7171297"
NOON_S = 1_700_000_000.0
SAID = Declaration(ID, "Freeze", "vm:web-1", ("web-1",))


def prepared(**changes: Any) -> Event:
    return prepare(replace(SAID, **changes), NOON_S)


def test_a_bare_declaration_is_host_maintenance_in_fifteen_minutes() -> None:
    assert prepare(SAID, NOON_S) == Event(
        event_id=ID,
        event_type="Freeze",
        scope="vm:web-1",
        status=EventStatus.SCHEDULED,
        concerned=("web-1",),
        resources=("web-1",),
        not_before_s=1_700_000_900,
        duration_s=9,
        life_s=600,
        description="Host server is undergoing maintenance.",
        source="Platform",
        needs="any",
        created_s=NOON_S,
    )


def test_what_was_said_stands() -> None:
    event = prepared(
        resources=("FrontEnd_IN_0",),
        notice_s=5,
        duration_s=0,
        life_s=7.5,
        description="",
        source="User",
        needs="all",
    )
    assert event.resources == ("FrontEnd_IN_0",)
    assert event.not_before_s == 1_700_000_005
    assert (event.duration_s, event.life_s) == (0, 7.5)
    assert (event.description, event.source, event.needs) == ("", "User", "all")


def test_the_source_chooses_the_words() -> None:
    words = "Virtual machine is going to be restarted as requested by authorized user."
    assert prepared(event_type="Reboot", source="User").description == words
    repair = prepared(event_type="Reboot", source="Platform")
    assert repair.description == "Host server is undergoing an emergency repair."


def test_without_a_source_the_first_occasion_of_the_type_counts() -> None:
    assert prepared(event_type="Reboot").source == "User"
    assert prepared(event_type="Preempt").source == "Platform"


def test_a_source_without_an_occasion_of_its_own_takes_the_words_of_the_type() -> None:
    event = prepared(source="User")
    assert (event.source, event.description) == ("User", "Host server is undergoing maintenance.")


def test_an_id_is_written_in_upper_case() -> None:
    assert prepared(event_id=ID.lower()).event_id == ID


def test_the_start_is_rounded_up_to_the_seconds_of_the_document() -> None:
    assert prepare(replace(SAID, notice_s=30), 1000.25).not_before_s == 1031


def test_an_event_lives_as_long_as_the_impact_that_it_announces() -> None:
    assert prepared(duration_s=3600).life_s == 3600


def test_a_failure_is_born_started() -> None:
    event = prepared(event_type="Reboot", is_failure=True)
    assert (event.status, event.started_s) == (EventStatus.STARTED, NOON_S)
    assert event.due_s == NOON_S + 600


def test_time_moves_a_scheduled_event_at_its_start_and_a_started_one_at_its_end() -> None:
    event = prepared()
    assert event.due_s == event.not_before_s
    assert replace(event, started_s=5.0, life_s=300).due_s == 305
    assert replace(event, started_s=5.0, life_s=-1).due_s is None


@pytest.mark.parametrize(
    "needs, approvals, is_approved",
    [
        ("any", (), False),
        ("any", ("bystander",), True),
        ("all", ("a",), False),
        ("all", ("a", "bystander"), False),
        ("all", ("b", "a"), True),
    ],
)
def test_one_approval_is_enough_unless_all_are_needed(
    needs: str, approvals: tuple[str, ...], is_approved: bool
) -> None:
    event = prepared(concerned=("a", "b"), needs=needs)
    assert replace(event, approvals=approvals).is_approved == is_approved


def test_only_the_rebalance_recommendation_advises() -> None:
    assert prepared(event_type="SpotRebalanceRecommendation").is_advisory
    assert not prepared(event_type="Preempt").is_advisory


def test_an_unknown_type_has_no_usual_values() -> None:
    with pytest.raises(KeyError):
        usual("Explode")


@pytest.mark.parametrize(
    "changes, text",
    [
        (
            {"event_type": "freeze"},
            (
                'type: saw the string "freeze". Did you mean "Freeze"? Expected one of Freeze, '
                "Reboot, Redeploy, Preempt, Terminate, SpotRebalanceRecommendation"
            ),
        ),
        (
            {"source": "platform"},
            (
                'source: saw the string "platform". Did you mean "Platform"? '
                "Expected one of Platform, User"
            ),
        ),
        ({"needs": "most"}, 'needs: saw the string "most", expected one of any, all'),
        ({"event_id": "1"}, 'id: saw the string "1", expected a GUID'),
        ({"event_id": ID + "\n"}, f'id: saw the string "{ID}\n", expected a GUID'),
        ({"concerned": ()}, "vms: saw no VM, expected the names of one or more VMs"),
        (
            {"event_type": "SpotRebalanceRecommendation", "is_failure": True},
            (
                'type: saw the string "SpotRebalanceRecommendation", expected a type that starts. '
                "It only advises"
            ),
        ),
        (
            {"notice_s": -0.5},
            "notice_s: saw the number -0.5, expected seconds from 0 to 316224000",
        ),
        (
            {"notice_s": float("nan")},
            "notice_s: saw the number nan, expected seconds from 0 to 316224000",
        ),
        (
            {"notice_s": 316224001},
            "notice_s: saw the number 316224001, expected seconds from 0 to 316224000",
        ),
        (
            {"duration_s": -2},
            "duration_s: saw the number -2, expected seconds from -1 to 316224000",
        ),
        ({"life_s": -2}, "life_s: saw the number -2, expected seconds from -1 to 316224000"),
        (
            {"description": "a\udc80"},
            "text: saw half of a surrogate pair, expected text that UTF-8 can carry",
        ),
        (
            {"resources": ("a", "\ud83d")},
            "text: saw half of a surrogate pair, expected text that UTF-8 can carry",
        ),
    ],
    ids=str,
)
def test_a_mistake_is_named(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(text)}$"):
        check(replace(SAID, **changes))


@pytest.mark.parametrize(
    "changes", [{"notice_s": 0}, {"notice_s": 316224000}, {"duration_s": -1}, {"life_s": -1}]
)
def test_the_ends_of_the_ranges_are_fine(changes: dict[str, Any]) -> None:
    assert prepared(**changes).status is EventStatus.SCHEDULED


@pytest.mark.parametrize(
    "facts, scope",
    [
        (("web-1", "", "", ""), "vm:web-1"),
        (("Web-1", "", "", "ignored"), "vm:Web-1"),
        (("web-1", "AS-1", "", ""), "set:as-1"),
        (("web-1", "as-1", "Pool", "AB-12"), "group:pool/ab-12"),
        (("web-1", "", "pool", ""), "group:pool/"),
    ],
)
def test_a_vm_is_in_its_placement_group_else_in_its_set_else_alone(
    facts: tuple[str, str, str, str], scope: str
) -> None:
    assert scope_of(*facts) == scope


def test_the_place_of_a_vm_is_what_its_complete_document_says() -> None:
    said = {
        "a": {},
        "b": {"compute": {"name": "B", "placementGroupId": "g"}, "availabilitySet": "S"},
        "c": {"compute": {"vmScaleSetName": "Pool", "placementGroupId": "G"}},
    }
    vms = parse_fleet({"vms": said}).vms
    assert {name: place_of(vm) for name, vm in vms.items()} == {
        "a": ("vm:a", "a"),
        "b": ("set:s", "B"),
        "c": ("group:pool/g", "c"),
    }
    for vm in vms.values():
        compute = complete(vm)["compute"]
        assert isinstance(compute, dict)
        assert place_of(vm)[1] == compute["name"]


def test_failed_hardware_is_no_users_wish() -> None:
    said = Declaration(ID, "Reboot", "vm:a", ("a",), is_failure=True)
    made = prepare(said, 0)
    assert (made.status, made.source, made.description) == (
        EventStatus.STARTED,
        "Platform",
        "Virtual machine has encountered a failure.",
    )
    assert usual("Freeze", is_failure=True).source == "Platform"
