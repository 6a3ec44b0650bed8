"""VMs of Azure Stack Hub: their document, their api-versions, and the paths that they lack."""

import json

import pytest

from openimds.facts.versions import catalog
from openimds.protocol.dialect import catalog_of
from openimds.protocol.handle import Subject, handle
from openimds.protocol.pending import Pending
from openimds.protocol.request import parse_query
from openimds.protocol.response import Refusal, Response
from openimds.vm.fleet_file import parse_vm
from tests.golden.azure_stack import DOCUMENT, ENTRY, NEWEST, NEWEST_IN_ERRORS
from tests.golden.document import Json


def ask(
    target: str, value: object = ENTRY, *, newest: str = "2025-11-15"
) -> Response | Refusal | Pending:
    vm = parse_vm("till-1", value)
    query = parse_query("GET", target.encode(), has_metadata_header=True)
    return handle(query, Subject(vm, catalog(newest)), 0)


def body(target: str, value: object = ENTRY) -> object:
    outcome = ask(target, value)
    assert isinstance(outcome, Response)
    return json.loads(outcome.body)


def status(target: str, value: object = ENTRY) -> int:
    outcome = ask(target, value)
    return 200 if not isinstance(outcome, Response | Refusal) else outcome.status


def test_document_is_that_of_the_golden_file() -> None:
    outcome = ask(f"/metadata/instance?api-version={NEWEST}")
    assert isinstance(outcome, Response)
    assert outcome.body.decode() == json.dumps(DOCUMENT, separators=(",", ":"))


def test_empty_members_keep_values_that_the_vm_writes() -> None:
    value = {
        "cloud": "AzureStack",
        "compute": {"securityProfile": {"secureBootEnabled": "true"}},
    }
    assert body(f"/metadata/instance/compute/securityProfile?api-version={NEWEST}", value) == {
        "secureBootEnabled": "true",
        "virtualTpmEnabled": "",
    }


def test_linux_vm_has_the_same_members_empty() -> None:
    compute = body(f"/metadata/instance/compute?api-version={NEWEST}", {"cloud": "AzureStack"})
    assert isinstance(compute, dict)
    assert compute["osType"] == "Linux"
    assert compute["isHostCompatibilityLayerVm"] == ""
    assert compute["storageProfile"]["resourceDisk"] == {"size": ""}


def test_versions_end_where_the_documentation_ends() -> None:
    versions = body("/metadata/versions")
    assert isinstance(versions, dict)
    assert (versions["apiVersions"][-1], len(versions["apiVersions"])) == (NEWEST, 25)


@pytest.mark.parametrize("version", ["2021-08-01", "2021-12-13", "2025-11-15"])
def test_later_version_is_400_with_the_newest_ones(version: str) -> None:
    outcome = ask(f"/metadata/instance?api-version={version}")
    assert isinstance(outcome, Refusal)
    assert outcome.status == 400
    assert json.loads(outcome.body)["newest-versions"] == [*NEWEST_IN_ERRORS]
    assert status(f"/metadata/instance?api-version={version}", {}) == 200


def test_region_with_older_versions_ends_the_list() -> None:
    vm = parse_vm("till-1", ENTRY)
    assert catalog_of(vm, catalog("2020-06-01")).general[-1] == "2020-06-01"
    assert catalog_of(parse_vm("one", {}), catalog()) is catalog()


@pytest.mark.parametrize(
    "target",
    [
        "/metadata/attested/document?api-version=2021-02-01",
        "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net",
        "/metadata/identity/info?api-version=2018-02-01",
        "/metadata/loadbalancer?api-version=2021-02-01",
        "/metadata/scheduledevents?api-version=2020-07-01",
        "/metadata/reprovisiondata?api-version=2017-04-02",
        "/oauth2/token?resource=https://vault.azure.net",
    ],
)
def test_path_of_another_category_is_404(target: str) -> None:
    parts: dict[str, Json] = {
        "identities": {"system": True},
        "loadBalancer": {},
        "reprovisionData": "<a/>",
    }
    assert status(target, ENTRY | parts) == 404
    assert status(target, parts) == 200


def test_root_lists_the_document() -> None:
    assert status(f"/metadata?api-version={NEWEST}") == 200
    assert status("/metadata?api-version=2021-12-13") == 400
