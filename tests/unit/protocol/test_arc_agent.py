"""The endpoints of Azure Arc's agent beside its tokens."""

import json
from typing import Any

import pytest

from openimds.protocol.response import Response
from tests.unit.protocol.queries import Asked

INSTANCE = "/arc/metadata/instance"
GROUP = "/subscriptions/6a73742d/resourceGroups/lab"
AT = "api-version=2020-06-01"
FIELDS: dict[str, Any] = {
    "compute": {
        "subscriptionId": "6a73742d",
        "resourceGroupName": "lab",
        "tags": {"scenario": "Managed Identity"},
    }
}


def _body(target: str, **more: Any) -> Any:
    reply = Asked(target, fields=FIELDS, **more).reply
    assert isinstance(reply, Response), reply
    return json.loads(reply.body)


def test_document_is_the_recorded_one_of_the_agent() -> None:
    """S67, with the names of this VM put in."""
    document = _body(f"{INSTANCE}?{AT}")
    compute = document.pop("compute")
    assert document == {"network": {}}
    assert list(compute.items()) == [
        ("azEnvironment", "AzurePublicCloud"),
        ("isHostCompatibilityLayerVm", ""),
        ("location", "westeurope"),
        ("name", "web-1"),
        ("offer", ""),
        ("osType", "linux"),
        ("placementGroupId", ""),
        ("plan", {"name": "", "product": "", "publisher": ""}),
        ("platformFaultDomain", ""),
        ("platformUpdateDomain", ""),
        ("provider", ""),
        ("publicKeys", None),
        ("publisher", ""),
        ("resourceGroupName", "lab"),
        ("customData", ""),
        (
            "resourceId",
            f"{GROUP}/providers/Microsoft.HybridCompute/machines/web-1",
        ),
        ("securityProfile", {"secureBootEnabled": "", "virtualTpmEnabled": ""}),
        ("sku", "Ubuntu 24.04.3 LTS"),
        ("storageProfile", {}),
        ("subscriptionId", "6a73742d"),
        ("tags", "scenario:Managed Identity"),
        ("tagsList", [{"name": "scenario", "value": "Managed Identity"}]),
        ("version", compute["version"]),
        ("vmId", compute["vmId"]),
        ("vmScaleSetName", ""),
        ("vmSize", ""),
        ("zone", ""),
    ]
    assert compute["vmId"]
    assert compute["version"]


def test_part_of_the_agents_document_is_found() -> None:
    assert _body(f"{INSTANCE}/compute/tagsList?{AT}")[0]["name"] == "scenario"
    reply = Asked(f"{INSTANCE}/compute/location?{AT}&format=text").reply
    assert isinstance(reply, Response)
    assert reply.body == b"westeurope"
    assert Asked(f"{INSTANCE}/nothing?{AT}").refused.row.key == "not_found"


def test_old_version_lacks_later_members() -> None:
    compute = _body(f"{INSTANCE}?api-version=2017-08-01")["compute"]
    assert not {"tagsList", "resourceId", "securityProfile"} & compute.keys()
    assert compute["tags"] == "scenario:Managed Identity"


@pytest.mark.parametrize(
    "query, key",
    [
        ("", "version_missing"),
        ("?api-version=2017-04-02", "version_unknown"),
        ("?api-version=2021-03-01", "version_unknown"),
    ],
)
def test_version_beyond_the_agents_is_refused(query: str, key: str) -> None:
    assert Asked(INSTANCE + query).refused.row.key == key


def test_missing_version_names_the_supported_ones() -> None:
    text = json.loads(Asked(INSTANCE).refused.body)["error_description"]
    assert text.partition("Supported are ")[2].split(" ")[0] == "2021-02-01"
    assert _body(f"{INSTANCE}?api-version=2021-02-01").keys() == {"compute", "network"}


def test_agent_has_its_tenant_and_its_status() -> None:
    assert _body(f"/arc/metadata/identity/info?{AT}").keys() == {"tenantId"}
    assert _body("/arc/agentstatus", metadata=False) == {"status": "Connected"}
    assert Asked(f"{INSTANCE}?{AT}", metadata=False).refused.row.key == "header_missing"


@pytest.mark.parametrize("path", [f"{INSTANCE}/compute?{AT}", "/arc/agentstatus"])
def test_agent_without_its_setting_is_unknown(path: str) -> None:
    assert Asked(path, extras=frozenset()).refused.row.key == "not_found"
