"""A request becomes an event with the values that are usual for its type."""

import msgspec.json
import pytest
from msgspec.structs import replace

from openimds.errors import ConfigError
from openimds.facts.events import EventStatus
from openimds.protocol.events.event import Event, place_of, prepare, usual
from openimds.protocol.events.request import EventRequest
from openimds.vm.defaults import complete
from openimds.vm.fleet_file import parse_vm
from tests.support.talk import DEFAULT_GROUP
from tests.unit.vm.refused import Refused, refused

ID = "602D9444-D2CD-49C7-8624-8643E7171297"
NOON_S = 1_700_000_000.0
SCHEDULED_OF_0_1_0 = (
    b'{"event_id":"602D9444-D2CD-49C7-8624-8643E7171297","event_type":"Freeze",'
    b'"scope":"set:as-1","status":"Scheduled","concerned":["web-1","web-2"],'
    b'"resources":["pool_0","pool_1"],"not_before_s":1700000901,"duration_s":9,"life_s":600,'
    b'"description":"Host server is undergoing maintenance.","source":"Platform","needs":"all",'
    b'"created_s":1700000000.25,"started_s":null,"approvals":["web-2"]}'
)
STARTED_OF_0_1_0 = (
    b'{"event_id":"602D9444-D2CD-49C7-8624-8643E7171298","event_type":"Reboot",'
    b'"scope":"vm:web-1","status":"Started","concerned":["web-1"],"resources":["web-1"],'
    b'"not_before_s":1700000901,"duration_s":-1,"life_s":-1,'
    b'"description":"Virtual machine has encountered a failure.","source":"Platform",'
    b'"needs":"any","created_s":1700000000.25,"started_s":1700000000.25,"approvals":[]}'
)


def prepared(event_type: str = "Freeze", resource: str = "web-1", **fields: object) -> Event:
    request = EventRequest(event_type, ("web-1",), **fields)  # type: ignore[arg-type]
    return prepare(request, ID, "vm:web-1", [("web-1", resource)], NOON_S)


def test_bare_request_is_host_maintenance_in_fifteen_minutes() -> None:
    assert prepared() == Event(
        event_id=ID,
        event_type="Freeze",
        scope="vm:web-1",
        status=EventStatus.SCHEDULED,
        vms=("web-1",),
        resources=("web-1",),
        not_before_s=1_700_000_900,
        duration_s=6,
        life_s=600,
        description="Host server is undergoing maintenance.",
        source="Platform",
        needs="any",
        created_s=NOON_S,
    )


def test_given_values_stay_as_they_are() -> None:
    event = prepared(
        resource="FrontEnd_IN_0",
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


def test_given_not_before_is_rounded_up() -> None:
    assert prepared(not_before_s=NOON_S + 76.2).not_before_s == 1_700_000_077


def test_event_has_only_the_vms_of_its_scope() -> None:
    request = EventRequest("Freeze", ("web-1", "web-2", "lone"))
    event = prepare(request, ID, "set:as-1", [("web-1", "a"), ("web-2", "b")], NOON_S)
    assert (event.vms, event.resources) == (("web-1", "web-2"), ("a", "b"))


def test_source_chooses_the_description() -> None:
    words = "Virtual machine is going to be restarted as requested by authorized user."
    assert prepared("Reboot", source="User").description == words
    repair = prepared("Reboot", source="Platform")
    assert repair.description == "Host server is undergoing an emergency repair."


def test_without_a_source_the_first_cause_of_the_type_counts() -> None:
    assert prepared("Reboot").source == "User"
    assert prepared("Preempt").source == "Platform"


def test_source_without_a_cause_takes_the_types_description() -> None:
    event = prepared(source="User")
    assert (event.source, event.description) == ("User", "Host server is undergoing maintenance.")


def test_id_is_written_in_upper_case() -> None:
    event = prepare(EventRequest("Freeze", ("a",)), ID.lower(), "vm:a", [("a", "a")], NOON_S)
    assert event.event_id == ID


def test_not_before_is_rounded_up_to_whole_seconds() -> None:
    request = EventRequest("Freeze", ("a",), notice_s=30)
    assert prepare(request, ID, "vm:a", [("a", "a")], 1000.25).not_before_s == 1031


def test_event_lives_as_long_as_its_announced_duration() -> None:
    assert prepared(duration_s=3600).life_s == 3600


def test_failure_is_started_from_the_beginning() -> None:
    event = prepared("Reboot", is_failure=True)
    assert (event.status, event.started_s) == (EventStatus.STARTED, NOON_S)
    assert event.due_s == NOON_S + 600


def test_due_time_is_not_before_then_the_end_of_the_life() -> None:
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
    event = replace(prepared(needs=needs), vms=("a", "b"))
    assert replace(event, approvals=approvals).is_approved == is_approved


def test_only_the_rebalance_recommendation_advises() -> None:
    assert prepared("SpotRebalanceRecommendation").is_advisory
    assert not prepared("Preempt").is_advisory


def test_unknown_type_has_no_usual_values() -> None:
    with pytest.raises(KeyError):
        usual("Explode")


@pytest.mark.parametrize("event_id", ["1", ID + "\n"])
def test_id_that_is_no_guid_is_refused(event_id: str) -> None:
    def call() -> None:
        prepare(EventRequest("Freeze", ("a",)), event_id, "vm:a", [("a", "a")], NOON_S)

    assert refused(call) == Refused("id", f'the string "{event_id}"', "a GUID")


def test_resource_with_half_of_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(ConfigError, match="resources: saw half of a surrogate pair"):
        prepared(resource="\ud83d")


@pytest.mark.parametrize(
    "vm, scope",
    [
        ({}, "vm:Web-1"),
        ({"compute": {"placementGroupId": "ignored"}}, "vm:Web-1"),
        ({"availabilitySet": "AS-1"}, f"set:{DEFAULT_GROUP}/as-1"),
        (
            {
                "availabilitySet": "as-1",
                "compute": {"vmScaleSetName": "Pool", "placementGroupId": "AB-12"},
            },
            f"group:{DEFAULT_GROUP}/pool/ab-12",
        ),
        (
            {"compute": {"vmScaleSetName": "Pool", "placementGroupId": ""}},
            f"group:{DEFAULT_GROUP}/pool/",
        ),
        (
            {
                "availabilitySet": "As",
                "compute": {"subscriptionId": "AB", "resourceGroupName": "C"},
            },
            "set:ab/c/as",
        ),
        (
            {
                "availabilitySet": "c",
                "compute": {"resourceGroupName": "a%/b", "subscriptionId": ""},
            },
            "set:/a%25%2fb/c",
        ),
    ],
)
def test_scope_is_placement_group_then_availability_set_then_vm(
    vm: dict[str, object], scope: str
) -> None:
    assert place_of(parse_vm("Web-1", vm))[0] == scope


@pytest.mark.parametrize(
    "one, other, is_one_scope",
    [
        ("s r as", "s r as", True),
        ("s r as", "S R AS", True),
        ("s r as", "t r as", False),
        ("s r as", "s q as", False),
        ("s r as", "s r at", False),
        ("s a/b c", "s a b/c", False),
        ("s a%2Fb c", "s a/b c", False),
        ("s/a b c", "s a/b c", False),
    ],
)
def test_sets_are_one_scope_in_one_resource_group_alone(
    one: str, other: str, *, is_one_scope: bool
) -> None:
    def scopes(names: str) -> set[str]:
        subscription, group, name = names.split(" ")
        compute = {"subscriptionId": subscription, "resourceGroupName": group}
        members = [
            {"availabilitySet": name, "compute": compute},
            {"compute": {**compute, "vmScaleSetName": name, "placementGroupId": "g"}},
        ]
        return {place_of(parse_vm("a", vm))[0] for vm in members}

    both = scopes(one) | scopes(other)
    assert len(both) == (2 if is_one_scope else 4)


def test_resource_is_the_name_in_the_complete_document() -> None:
    for compute in ({}, {"name": "B"}, {"vmScaleSetName": "Pool"}):
        vm = parse_vm("a", {"compute": compute})
        shown = complete(vm)["compute"]
        assert isinstance(shown, dict)
        assert place_of(vm)[1] == shown["name"]


def test_failure_has_a_platform_source() -> None:
    event = prepared("Reboot", is_failure=True)
    assert (event.status, event.source, event.description) == (
        EventStatus.STARTED,
        "Platform",
        "Virtual machine has encountered a failure.",
    )
    assert usual("Freeze", is_failure=True).source == "Platform"


def test_stored_event_of_0_1_0_is_read() -> None:
    request = EventRequest("Freeze", ("web-1", "web-2"), needs="all")
    hits = [("web-1", "pool_0"), ("web-2", "pool_1")]
    expected = prepare(request, ID, "set:as-1", hits, 1_700_000_000.25)
    event = msgspec.json.decode(SCHEDULED_OF_0_1_0, type=Event)
    assert event == replace(expected, approvals=("web-2",), duration_s=9)


def test_stored_failure_of_0_1_0_is_read() -> None:
    event = msgspec.json.decode(STARTED_OF_0_1_0, type=Event)
    assert (event.status, event.started_s) == (EventStatus.STARTED, 1_700_000_000.25)
    assert (event.vms, event.resources) == (("web-1",), ("web-1",))
    assert event.due_s is None


def test_stored_event_keeps_the_names_of_0_1_0() -> None:
    event = msgspec.json.decode(SCHEDULED_OF_0_1_0, type=Event)
    stored = msgspec.json.decode(msgspec.json.encode(event))
    assert stored.items() >= msgspec.json.decode(SCHEDULED_OF_0_1_0).items()
