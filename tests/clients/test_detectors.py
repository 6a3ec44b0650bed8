"""Cloud detectors: OpenTelemetry in three languages, and cloud-detect for many clouds.

All of them have the real address written into them.
"""

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.fleet import DESCRIBED
from tests.clients.kits import KITS, tool
from tests.clients.private_server import JS, PROGRAMS, REAL, PrivateServer, private_server

pytestmark = [pytest.mark.system, pytest.mark.netns]

COMPUTE = DESCRIBED["compute"]
WHERE = (
    f"/subscriptions/{COMPUTE['subscriptionId']}/resourceGroups/lab"
    "/providers/Microsoft.Compute/virtualMachineScaleSets/front/virtualMachines/0"
)
ALL = {
    "cloud.provider": "azure",
    "cloud.region": "westeurope",
    "cloud.resource_id": WHERE,
    "host.id": COMPUTE["vmId"],
    "host.type": "Standard_D2s_v5",
    "os.version": "22.04.202510010",
}
OLD = {"azure.vm.scaleset.name": "front", "azure.vm.sku": "22_04-lts-gen2", "host.name": "web-1"}
PYTHON, NODE, GO = (
    "Python opentelemetry-resource-detector-azure",
    "JavaScript @opentelemetry/resource-detector-azure",
    "Go OpenTelemetry's azurevm",
)
ATTRIBUTES: dict[str, dict[str, Any]] = {
    PYTHON: {
        **ALL,
        **OLD,
        "cloud.platform": "azure_vm",
        "os.type": "Linux",
        "service.instance.id": COMPUTE["vmId"],
    },
    NODE: {**ALL, **OLD, "cloud.platform": "azure.vm"},
    GO: {
        **ALL,
        "azure.resource_group.name": "lab",
        "azure.tag.env": "prod",
        "azure.tag.team": "web",
        "azure.vm.name": "web-1",
        "azure.vm.scaleset.name": "front",
        "azure.vm.size": "Standard_D2s_v5",
        "cloud.account.id": COMPUTE["subscriptionId"],
        "cloud.availability_zone": "2",
        "cloud.platform": "azure.vm",
        # It takes the name of the system, not the name of the VM.
        "host.name": "web-one",
        "os.type": "Linux",
    },
}
COMMANDS = {
    PYTHON: [sys.executable, "-P", str(PROGRAMS / "otel_detector.py")],
    NODE: [tool("node"), str(JS / "otel-detector.mjs")],
    GO: [str(KITS["Go"].place / "azurevm")],
}


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """A server that has served a request before: a detector waits 0.2 s at most."""
    folder = tmp_path_factory.mktemp("described")
    fleet = {"vms": {"web-1": DESCRIBED}}
    with private_server(fleet, "--no-rate-limit", at=REAL, cwd=folder) as server:
        url = "http://169.254.169.254/metadata/versions"
        server.python("get.py", [{"url": url, "headers": {"Metadata": "true"}}])
        yield server
        assert server.stop() == (0, "")


@pytest.mark.parametrize(
    "client",
    [
        pytest.param(client, marks=pytest.mark.client(client), id=client.partition(" ")[0])
        for client in COMMANDS
    ],
)
def test_opentelemetry_describes_the_vm(described: PrivateServer, client: str) -> None:
    ran = described.run(COMMANDS[client], [], **KITS[client.partition(" ")[0]].variables())
    assert ran.results == [ATTRIBUTES[client]]
    assert ran.moved == {"requests instance 200": 1}


@pytest.mark.client("Python cloud-detect")
def test_cloud_detect_finds_azure_alone(described: PrivateServer) -> None:
    ran = described.python("cloud_provider.py", [], **KITS["Python"].variables())
    assert ran.results == [{"provider": "azure"}]
    # Requests for other clouds have no Metadata header, which is checked before the path.
    others = ran.moved["requests other 400"]
    # It tries all clouds at once, and stops at the first response.
    assert 0 < others <= 7
    assert ran.moved == {
        "requests instance 200": 1,
        "requests other 400": others,
        "refusals header_missing": others,
    }
