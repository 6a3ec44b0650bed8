"""What stands in for a value: of its looks, the same for the same one, and nobody's."""

import json
from typing import Any

import pytest

from openimds.interop.transcript import captured, redact
from tests.support.transcripts import (
    TEXT,
    a_document,
    a_transcript,
    an_answer,
    an_exchange,
    compact,
)
from tests.unit.interop.transcript.test_redact import FIRST, ID, SETS, V, bare, compute


@pytest.mark.parametrize(
    "path,value,stand_in",
    [
        ("name", "web-1", "name-1"),
        ("resourceGroupName", "LAB", "NAME-1"),
        ("subscriptionId", ID, FIRST),
        ("subscriptionId", "none", "redacted-1"),
        ("customData", "", ""),
        ("userData", "c2VjcmV0", "cmVkYWN0ZWQtMQ=="),
        ("vmSize", "Standard_D2s_v5", "Standard_D2s_v5"),
        ("brandNew", "secret", "redacted-1"),
        ("brandNew", "true", "true"),
        ("brandNew", True, True),
        ("brandNew", None, None),
        ("brandNew", 7, 0),
        ("tags", "a:b;c:d", "tag-1:value-1;tag-2:value-2"),
        ("virtualMachineScaleSet", {"id": ""}, {"id": ""}),
        (
            "resourceId",
            f"/subscriptions/{ID}/resourceGroups/lab/{SETS}/set/virtualMachines/7",
            f"/subscriptions/{FIRST}/resourceGroups/name-1/{SETS}/name-2/virtualMachines/name-3",
        ),
        ("resourceId", "/subscriptions", "/subscriptions"),
        ("resourceId", "odd", "name-1"),
        ("resourceId", "/odd/a//b/providers/odder/", "/name-1/name-2//name-3/providers/name-4/"),
        (
            "publicKeys",
            [{"keyData": "ssh-rsa AAAA me\r\n"}],
            [{"keyData": "ssh-rsa redacted-1\r\n"}],
        ),
        ("publicKeys", [{"keyData": "AAAA"}], [{"keyData": "redacted-1"}]),
        (
            "publicKeys",
            [{"path": "/home/ann/.ssh/authorized_keys"}, {"path": "C:\\keys"}],
            [{"path": "/home/name-1/.ssh/authorized_keys"}, {"path": "redacted-1"}],
        ),
        (
            "storageProfile",
            {"osDisk": {"vhd": {"uri": "https://acme.blob.core.windows.net/a.vhd"}}},
            {"osDisk": {"vhd": {"uri": "https://redacted-1.invalid/"}}},
        ),
    ],
)
def test_a_value_has_a_stand_in_of_its_looks(path: str, value: Any, stand_in: Any) -> None:
    assert compute(**{path: value}) == {path: stand_in}


@pytest.mark.parametrize(
    "value,stand_in",
    [
        ("10.1.2.4", "10.0.0.1"),
        ("fd12::4", "fd00::1"),
        ("", ""),
        ("X.X.X.X", "redacted-1"),
    ],
)
def test_an_address_stays_one(value: str, stand_in: str) -> None:
    nic = {"ipv4": {"ipAddress": [{"privateIpAddress": value}]}}
    (said,) = bare(a_document("2021-02-01", {"network": {"interface": [nic]}}))
    assert f'"privateIpAddress":"{stand_in}"' in said.body


@pytest.mark.parametrize(
    "value,stand_in",
    [("002248112233", "000D3A000001"), ("000d3aacb22a", "000d3a000001"), ("odd", "redacted-1")],
)
def test_a_hardware_address_keeps_its_letter_case(value: str, stand_in: str) -> None:
    body = {"network": {"interface": [{"macAddress": value}]}}
    (said,) = bare(a_document("2021-02-01", body))
    assert said.body == compact({"network": {"interface": [{"macAddress": stand_in}]}})


def test_the_preview_has_no_names_of_its_own_to_hide_behind() -> None:
    nic = {"mac": "000D3A00FA89", "ipv4": {"ipaddress": [{"ipaddress": "10.9.9.9"}]}}
    (said,) = bare(a_document("2017-03-01", {"network": {"interface": [nic]}}))
    assert "000D3A000001" in said.body
    assert "10.9.9.9" not in said.body


def test_one_value_is_one_stand_in_wherever_it_stands() -> None:
    said = compute(
        name="web-1",
        osProfile={"computerName": "WEB-1", "adminUsername": "ann"},
        resourceId=f"/subscriptions/{ID}/resourceGroups/Lab/providers/Microsoft.Compute/"
        "virtualMachines/web-1",
        resourceGroupName="lab",
        subscriptionId=ID,
    )
    assert said["osProfile"] == {"computerName": "NAME-1", "adminUsername": "name-2"}
    assert said["resourceId"].endswith(
        "resourceGroups/name-3/providers/Microsoft.Compute/virtualMachines/name-1"
    )
    assert said["resourceGroupName"] == "name-3"


def test_no_stand_in_is_a_value_that_stood_there() -> None:
    said = compute(name="web", resourceGroupName="name-1", vmScaleSetName="x/NAME-2")
    assert said == {"name": "name-3", "resourceGroupName": "name-4", "vmScaleSetName": "name-5"}
    disk = {"vhd": {"uri": "HTTPS://Redacted-1.invalid/"}}
    (left,) = compute(storageProfile={"osDisk": disk})["storageProfile"].values()
    assert left == {"vhd": {"uri": "https://redacted-2.invalid/"}}


def test_tags_stay_the_same_tags_in_both_forms() -> None:
    listed = [{"name": "hidden", "value": "a;b:c"}, {"name": "team", "value": ""}]
    document = a_document(
        "2021-02-01", {"compute": {"tags": "hidden:a;b:c;team:", "tagsList": listed}, "network": {}}
    )
    leaf = an_exchange(
        f"/metadata/instance/compute/tags?{V}&format=text",
        an_answer("hidden:a;b:c;team:\n", media=TEXT),
    )
    held = redact(a_transcript(leaf, document))
    text, body = (one.answer.body for one in held.exchanges if one.answer)
    assert text == "tag-1:value-1;tag-2:\n"
    found = captured(json.loads(held.to_bytes()), "vm-1")
    assert found.vm.document["compute"] == json.loads(body)["compute"]


@pytest.mark.parametrize("listed", [7, "x", [1], [{"name": "a"}], None])
def test_a_list_of_tags_that_is_none_does_no_harm(listed: Any) -> None:
    assert compute(tags="a:b", tagsList=listed)["tags"] == "tag-1:value-1"
