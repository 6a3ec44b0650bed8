"""A captured body of `/metadata/instance` becomes a VM, its values untouched."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from openimds.errors import ConfigError
from openimds.vm.from_capture import Capture, parse_capture
from openimds.vm.types import Vm
from tests.unit.vm.refused import Refused, refused

WHOLE = "the body of /metadata/instance, with compute and network"
PREVIEW = {
    "compute": {"location": "CentralUS", "name": "IMDSCanary", "osType": "Linux"},
    "network": {
        "interface": [
            {
                "ipv4": {
                    "ipaddress": [{"ipaddress": "10.0.0.4", "publicip": "X.X.X.X"}],
                    "subnet": [
                        {
                            "address": "10.0.0.0",
                            "dnsservers": [{"ipaddress": "10.0.0.2"}],
                            "prefix": "24",
                        }
                    ],
                },
                "ipv6": {"ipaddress": [{"ipaddress": "fd00::4"}]},
                "mac": "000D3A00FA89",
            }
        ]
    },
}


def _document(body: object) -> dict[str, object]:
    return parse_capture(body, "vm-1").vm.document


def _compute(body: dict[str, object]) -> dict[str, object]:
    compute = _document({"compute": body})["compute"]
    assert isinstance(compute, dict)
    return compute


def test_a_body_of_today_is_the_document() -> None:
    body = {
        "compute": {"name": "web-1", "vmId": "02aab8a4-74ef-476e-8182-f6d2ba4166a6", "zone": ""},
        "network": {"interface": []},
        "extended": {"compute": {"hasCustomData": True, "ppsType": "None"}},
    }
    assert parse_capture(body, "vm-1") == Capture(Vm("web-1", document=body), ())


def test_a_preview_body_gets_new_names_and_keeps_its_values() -> None:
    assert parse_capture(PREVIEW, "vm-1").set_aside == ()
    assert _document(PREVIEW) == {
        "compute": PREVIEW["compute"],
        "network": {
            "interface": [
                {
                    "ipv4": {
                        "ipAddress": [
                            {"privateIpAddress": "10.0.0.4", "publicIpAddress": "X.X.X.X"}
                        ],
                        "subnet": [
                            {
                                "address": "10.0.0.0",
                                "dnsservers": [{"ipaddress": "10.0.0.2"}],
                                "prefix": "24",
                            }
                        ],
                    },
                    "ipv6": {"ipAddress": [{"privateIpAddress": "fd00::4"}]},
                    "macAddress": "000D3A00FA89",
                }
            ]
        },
    }


@pytest.mark.parametrize(
    "compute", [{"Priority": "Spot"}, {"priority": "Spot"}, {"PRIORITY": "Spot"}]
)
def test_a_name_may_be_in_any_letter_case(compute: dict[str, object]) -> None:
    assert _compute(compute) == {"priority": "Spot"}


def test_the_key_compute_may_be_in_any_letter_case() -> None:
    captured = parse_capture({"Compute": {"tags": "a:b"}}, "vm-1")
    assert not captured.vm.classic
    assert captured.vm.document["compute"] == {
        "tags": "a:b",
        "tagsList": [{"name": "a", "value": "b"}],
    }


def test_tags_may_be_in_any_letter_case() -> None:
    listed = [{"name": "a", "value": "b"}]
    assert _compute({"Tags": "a:b"}) == {"tags": "a:b", "tagsList": listed}


@pytest.mark.parametrize("name", ["", None])
def test_a_body_without_a_name_takes_the_given_one(name: str | None) -> None:
    compute = {} if name is None else {"name": name}
    captured = parse_capture({"compute": compute}, "vm-1")
    assert captured.vm.name == "vm-1"
    assert captured.vm.document == {"compute": compute}


@pytest.mark.parametrize("nothing", [None, {}])
def test_compute_may_be_empty(nothing: object) -> None:
    assert parse_capture({"compute": nothing}, "vm-1").vm == Vm("vm-1", document={"compute": {}})


def test_a_body_without_compute_makes_a_classic_vm() -> None:
    body: dict[str, object] = {"network": {"interface": [{"macAddress": "000D3AF806EC"}]}}
    assert parse_capture(body, "vm-1").vm == Vm("vm-1", document=body, classic=True)
    assert not parse_capture({"compute": {}, **body}, "vm-1").vm.classic


@pytest.mark.parametrize(
    "name,cloud",
    [
        ("AZUREPUBLICCLOUD", "AzurePublicCloud"),
        ("AzureChinaCloud", "AzureChinaCloud"),
        ("azureusgovernmentcloud", "AzureUSGovernmentCloud"),
        ("AZURESTACK", "AzureStack"),
        ("SomeOtherCloud", "AzurePublicCloud"),
        ("", "AzurePublicCloud"),
    ],
)
def test_the_cloud_is_found_in_any_letter_case(name: str, cloud: str) -> None:
    captured = parse_capture({"compute": {"azEnvironment": name}}, "vm-1")
    assert captured.vm.cloud == cloud
    assert captured.vm.document == {"compute": {"azEnvironment": name}}


def test_unknown_members_are_set_aside_with_their_paths() -> None:
    body = {
        "compute": {"zone": "1", "newThing": {"a": "b"}},
        "network": {"interface": [{}, {"macAddress": "0", "speed": "40"}]},
        "future": [],
    }
    captured = parse_capture(body, "vm-1")
    assert captured.set_aside == ("compute.newThing", "network.interface[1].speed", "future")
    assert captured.vm.document == {
        "compute": {"zone": "1"},
        "network": {"interface": [{}, {"macAddress": "0"}]},
    }


def test_an_unknown_member_of_a_tag_is_set_aside_too() -> None:
    listed = [{"name": "a", "value": "b", "id": "1"}]
    captured = parse_capture({"compute": {"tagsList": listed}}, "vm-1")
    assert captured.set_aside == ("compute.tagsList[0].id",)


def test_tags_as_a_string_alone_make_the_list_too() -> None:
    assert _compute({"tags": "baz:bash;foo:bar"}) == {
        "tags": "baz:bash;foo:bar",
        "tagsList": [{"name": "baz", "value": "bash"}, {"name": "foo", "value": "bar"}],
    }


def test_parts_captured_elsewhere_stand_beside_the_document() -> None:
    beside = {"loadBalancer": {"InboundRules": [{"frontendPort": 80, "new": 1}]}, "attested": {}}
    captured = parse_capture({"compute": {}}, "vm-1", beside)
    assert captured.vm.load_balancer == {"inboundRules": [{"frontendPort": 80}]}
    assert captured.vm.attested == {}
    assert captured.set_aside == ("loadBalancer.InboundRules[0].new",)
    with pytest.raises(ConfigError, match=r"^attested\.sku: saw the number 1"):
        parse_capture({"compute": {}}, "vm-1", {"attested": {"sku": 1}})


def test_the_order_of_captured_tags_is_kept() -> None:
    listed = [{"name": "z", "value": "1"}, {"name": "a", "value": "2;3"}]
    compute: dict[str, object] = {"tags": "z:1;a:2;3", "tagsList": listed}
    assert _compute(compute) == compute


@settings(deadline=None)
@given(st.text(st.sampled_from(";:ab")), st.text(st.sampled_from(";:ab")))
@example("k8s", "Kubernetes:1.27.7")
@example("a", "b;c")
def test_a_tag_string_that_begins_with_a_name_is_kept(name: str, rest: str) -> None:
    text = f"{name.replace(';', '')}:{rest}"
    assert _compute({"tags": text})["tags"] == text


def test_captured_tags_keep_names_with_semicolons() -> None:
    compute: dict[str, object] = {"tags": "a;b:c", "tagsList": [{"name": "a;b", "value": "c"}]}
    assert _compute(compute) == compute


def test_a_list_of_tags_as_powershell_prints_it_is_refused() -> None:
    listed = [{"name": "a", "value": "b"}]
    body = {"compute": {"tagsList": {"value": listed, "Count": 1}}}
    assert refused(parse_capture, body, "vm-1") == Refused(
        "compute.tagsList.value", "a list of 1", "a string"
    )


@pytest.mark.parametrize(
    "body,expected",
    [
        (None, Refused("top level", "nothing (null)", WHOLE)),
        ([], Refused("top level", "a list of 0", WHOLE)),
        ("compute", Refused("top level", 'the string "compute"', WHOLE)),
        ({}, Refused("top level", "a mapping with no members", WHOLE)),
        ({"error": "x"}, Refused("top level", "a mapping with error", WHOLE)),
        (
            {"azEnvironment": "x", "name": "y"},
            Refused("top level", "a mapping with azEnvironment, name", WHOLE),
        ),
        (
            {"compute": "x"},
            Refused("compute", 'the string "x"', "a mapping of names to values"),
        ),
        (
            {"compute": {"zone": 1}},
            Refused("compute.zone", "the number 1", "a string", "Put it in quotes"),
        ),
        (
            {"network": {"interface": {}}},
            Refused("network.interface", "a mapping with no members", "a list"),
        ),
        (
            {"network": {"interface": [{"mac": None}]}},
            Refused("network.interface[0].mac", "nothing (null)", "a string"),
        ),
        (
            {"extended": {"compute": {"hasCustomData": "false"}}, "compute": {}},
            Refused("extended.compute.hasCustomData", 'the string "false"', "true or false"),
        ),
        (
            {"compute": {"tags": "a:b", "tagsList": []}},
            Refused(
                "compute.tagsList",
                "other tags than in tags",
                "the same tags",
                "Leave one of them out",
            ),
        ),
    ],
    ids=str,
)
def test_a_body_that_is_no_instance_document_is_refused(body: object, expected: Refused) -> None:
    assert refused(parse_capture, body, "vm-1") == expected


def test_a_name_that_is_no_string_is_refused_with_its_place() -> None:
    assert refused(parse_capture, {1: {}, "compute": {}}, "vm-1").where == "top level"


def test_one_name_in_two_spellings_is_refused() -> None:
    body = {"compute": {"priority": "Spot", "Priority": "Regular"}}
    assert refused(parse_capture, body, "vm-1") == Refused(
        "compute.Priority", '"Priority" beside another spelling of it', "each name once"
    )
