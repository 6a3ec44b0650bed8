"""A suite of another project: VMs."""

import os
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from openimds.errors import ConfigError
from openimds.pytest_plugin import Imds

VERSION = {"api-version": "2021-02-01"}
HEADERS = {"Metadata": "true"}
PRINTS = """
import os
from urllib.request import Request, urlopen
query = "?api-version=2021-02-01&format=text"
url = os.environ["OPENIMDS_URL"] + "/metadata/instance/compute/name" + query
print(urlopen(Request(url, headers={"Metadata": "true"})).read().decode())
"""


def name_at(url: str, source: str = "127.0.0.1") -> str:
    with httpx2.Client(transport=httpx2.HTTPTransport(local_address=source)) as client:
        path = f"{url}/metadata/instance/compute"
        answer = client.get(path, params=VERSION, headers=HEADERS)
    return str(answer.json()["name"]) if answer.is_success else f"{answer.status_code}"


def test_change_is_visible_with_the_next_request(imds: Imds) -> None:
    assert name_at(imds.url) == "vm-1"
    imds.vm.patch({"compute": {"name": "other", "tags": {"env": "test"}}})
    assert name_at(imds.url) == "other"
    assert imds.vm.document("2021-02-01")["compute"]["tags"] == "env:test"
    imds.vm.put({"compute": {"name": "third"}})
    assert name_at(imds.url) == "third"
    assert imds.vm.definition["compute"] == {"name": "third"}
    assert len(imds.requests) == 3


def test_source_address_identifies_the_calling_vm(imds: Imds) -> None:
    imds.vms["web-2"].put({"reach": {"address": ["127.0.0.2"]}})
    assert [*imds.vms] == ["vm-1", "web-2"]
    imds.vm.put({})  # It is still the one at 127.0.0.1.
    assert name_at(imds.url) == "vm-1"
    assert name_at(imds.url, "127.0.0.2") == "web-2"
    assert name_at(imds.url, "127.0.0.3") == "404"
    assert [one.vm for one in imds.requests] == ["vm-1", "web-2", ""]
    assert "unknown caller 127.0.0.3" in imds.messages[-1]
    imds.vms["web-2"].remove()
    assert "web-2" not in imds.vms
    assert len(imds.vms) == 1


def test_vm_may_have_its_own_listener(imds: Imds) -> None:
    imds.vms["web-2"] = {"reach": {"listen": ["127.0.0.2:0"]}}
    assert imds.vms["web-2"].url != imds.url == imds.vm.url
    assert name_at(imds.vms["web-2"].url) == "web-2"
    assert name_at(imds.url) == "vm-1"


@pytest.mark.imds(fleet="fleet.yaml")
class TestFleet:
    def test_first_vm_is_under_test(self, imds: Imds) -> None:
        assert imds.vm.name == name_at(imds.url) == "web-1"
        assert imds.vm.document()["compute"]["location"] == "northeurope"
        assert name_at(imds.url, "127.0.0.12") == "db-1"

    @pytest.mark.imds(vm="db-1")
    def test_mark_names_the_vm_under_test(self, imds: Imds) -> None:
        assert imds.vm.name == name_at(imds.url) == "db-1"

    @pytest.mark.imds(document={"compute": {"name": "captured", "location": "CentralIndia"}})
    def test_document_replaces_a_fleet(self, imds: Imds) -> None:
        assert [*imds.vms] == [name_at(imds.url)] == ["captured"]


def test_mistake_is_reported_with_a_suggestion(imds: Imds) -> None:
    with pytest.raises(ConfigError, match='Did you mean "vmSize"'):
        imds.vm.patch({"compute": {"vmsize": "Standard_D2s_v5"}})
    with pytest.raises(ConfigError, match=r"imds\.vms\['vm-2'\]: saw no VM\. Did you mean"):
        imds.vms["vm-2"].patch({})
    with pytest.raises(ConfigError, match="saw no VM"):
        imds.vms["vm-2"].document()
    with pytest.raises(ConfigError, match="2021-02-31"):
        imds.vm.document("2021-02-31")


def test_child_process_uses_the_variables(imds: Imds) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PRINTS],
        env={**os.environ, **imds.env},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "vm-1\n"


def test_variables_are_set_for_the_test(imds: Imds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", "http://elsewhere")
    imds.env.use(monkeypatch)
    assert os.environ["AZURE_POD_IDENTITY_AUTHORITY_HOST"] == imds.url
    assert os.environ["AZURE_TOKEN_CREDENTIALS"] == "ManagedIdentityCredential"
    assert "IDENTITY_ENDPOINT" not in os.environ
    imds.env.use(monkeypatch, "app-service")
    assert os.environ["IDENTITY_ENDPOINT"] == f"{imds.url}/msi/token"
    assert "AZURE_POD_IDENTITY_AUTHORITY_HOST" not in os.environ
    assert "AZURE_TOKEN_CREDENTIALS" not in os.environ
    imds.env.is_pinned = False
    imds.env.use(monkeypatch)
    assert "AZURE_TOKEN_CREDENTIALS" not in os.environ
    assert imds.env.keys() == {"AZURE_POD_IDENTITY_AUTHORITY_HOST", "OPENIMDS_URL"}
    with pytest.raises(ConfigError, match=r"Write @pytest\.mark\.imds\(arc_folder=\.\.\.\)"):
        imds.env.of("arc")


@pytest.mark.imds(fleet={"vms": {"web-1": {}}})
def test_variables_of_azure_ml_name_the_first_identity(imds: Imds) -> None:
    assert "DEFAULT_IDENTITY_CLIENT_ID" not in imds.env.of("azure-ml")
    detail = {"clientId": "c0000000-0000-0000-0000-000000000001"}
    group = "/subscriptions/s/resourceGroups/g"
    user = f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/app"
    imds.vm.patch({"identities": {"user": [user], "details": {user: detail}}})
    assert imds.env.of("azure-ml")["DEFAULT_IDENTITY_CLIENT_ID"] == detail["clientId"]
    imds.vm.patch({"identities": {"system": True}})
    assert imds.env.of("azure-ml")["DEFAULT_IDENTITY_CLIENT_ID"] != detail["clientId"]


def test_folder_of_challenges_serves_azure_arc(request: pytest.FixtureRequest) -> None:
    folder = Path(__file__).parent / "challenges"
    request.node.add_marker(pytest.mark.imds(arc_folder=folder))
    imds: Imds = request.getfixturevalue("imds")
    assert imds.env.of("arc")["IMDS_ENDPOINT"] == f"{imds.url}/arc"


def test_names_of_0_1_0_still_work(imds: Imds) -> None:
    assert imds.vm.said == imds.vm.definition
    assert imds.told is imds.messages
