"""Placeholders have the form of their value, and are the same everywhere."""

import json
from typing import Any

import pytest

from openimds.interop.transcript import captured_vm, redact
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
    "path,value,placeholder",
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
def test_placeholder_has_the_form_of_its_value(path: str, value: Any, placeholder: Any) -> None:
    assert compute(**{path: value}) == {path: placeholder}


@pytest.mark.parametrize(
    "value,placeholder",
    [
        ("10.1.2.4", "10.0.0.1"),
        ("fd12::4", "fd00::1"),
        ("", ""),
        ("X.X.X.X", "redacted-1"),
    ],
)
def test_placeholder_of_an_address_is_an_address(value: str, placeholder: str) -> None:
    nic = {"ipv4": {"ipAddress": [{"privateIpAddress": value}]}}
    (redacted,) = bare(a_document("2021-02-01", {"network": {"interface": [nic]}}))
    assert f'"privateIpAddress":"{placeholder}"' in redacted.body


@pytest.mark.parametrize(
    "value,placeholder",
    [("002248112233", "000D3A000001"), ("000d3aacb22a", "000d3a000001"), ("odd", "redacted-1")],
)
def test_hardware_address_keeps_its_letter_case(value: str, placeholder: str) -> None:
    body = {"network": {"interface": [{"macAddress": value}]}}
    (redacted,) = bare(a_document("2021-02-01", body))
    assert redacted.body == compact({"network": {"interface": [{"macAddress": placeholder}]}})


def test_preview_has_no_names_of_its_own_to_hide_behind() -> None:
    nic = {"mac": "000D3A00FA89", "ipv4": {"ipaddress": [{"ipaddress": "10.9.9.9"}]}}
    (redacted,) = bare(a_document("2017-03-01", {"network": {"interface": [nic]}}))
    assert "000D3A000001" in redacted.body
    assert "10.9.9.9" not in redacted.body


def test_value_has_the_same_placeholder_everywhere() -> None:
    redacted = compute(
        name="web-1",
        osProfile={"computerName": "WEB-1", "adminUsername": "ann"},
        resourceId=f"/subscriptions/{ID}/resourceGroups/Lab/providers/Microsoft.Compute/"
        "virtualMachines/web-1",
        resourceGroupName="lab",
        subscriptionId=ID,
    )
    assert redacted["osProfile"] == {"computerName": "NAME-1", "adminUsername": "name-2"}
    assert redacted["resourceId"].endswith(
        "resourceGroups/name-3/providers/Microsoft.Compute/virtualMachines/name-1"
    )
    assert redacted["resourceGroupName"] == "name-3"


def test_no_placeholder_is_a_value_of_the_transcript() -> None:
    redacted = compute(name="web", resourceGroupName="name-1", vmScaleSetName="x/NAME-2")
    assert redacted == {"name": "name-3", "resourceGroupName": "name-4", "vmScaleSetName": "name-5"}
    disk = {"vhd": {"uri": "HTTPS://Redacted-1.invalid/"}}
    (left,) = compute(storageProfile={"osDisk": disk})["storageProfile"].values()
    assert left == {"vhd": {"uri": "https://redacted-2.invalid/"}}


def test_tags_are_the_same_in_both_forms() -> None:
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
    found = captured_vm(json.loads(held.to_bytes()), "vm-1")
    assert found.vm.document["compute"] == json.loads(body)["compute"]


@pytest.mark.parametrize("listed", [7, "x", [1], [{"name": "a"}], None])
def test_malformed_list_of_tags_is_redacted(listed: Any) -> None:
    assert compute(tags="a:b", tagsList=listed)["tags"] == "tag-1:value-1"
