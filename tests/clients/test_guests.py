"""Programs of Azure guests read a VM: cloud-init, WALinuxAgent, facter and ohai.

They are Debian's packages, unpacked and unmodified, and the real address is fixed in them.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.clients.fleet import DESCRIBED, KEY
from tests.clients.kits import KITS, tool
from tests.clients.private_server import (
    PROGRAMS,
    REAL,
    CasesRun,
    PrivateServer,
    TextRun,
    private_server,
)
from tests.system.machine import PRIVATE

pytestmark = [pytest.mark.system, pytest.mark.netns]

COMPUTE = DESCRIBED["compute"]
FLEET = {"vms": {"web-1": DESCRIBED}}
INSTANCE = "http://169.254.169.254/metadata/instance?api-version="
RUBY = KITS["Ruby"].place / "usr" / "bin"
CLOUD_INIT = pytest.mark.client("Python cloud-init")
WAAGENT = pytest.mark.client("Python WALinuxAgent")

# facter uses IMDS only on a host of Hyper-V. So the host looks like one in a mount namespace.
HYPER_V = """
mount -t proc proc /proc
mount -t tmpfs tmpfs /sys/class
mkdir -p /sys/class/dmi/id
echo 'Microsoft Corporation' > /sys/class/dmi/id/sys_vendor
echo 'Virtual Machine' > /sys/class/dmi/id/product_name
exec "$@"
"""
AS_HYPER_V = ["unshare", "--mount", "sh", "-ec", HYPER_V, "sh"]


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    folder = tmp_path_factory.mktemp("described")
    with private_server(FLEET, "--no-rate-limit", at=REAL, cwd=folder) as server:
        yield server
        assert server.stop() == (0, "")


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[PrivateServer]:
    """A server with a limit of one request a second."""
    with private_server(FLEET, "--general-per-s", "1", at=REAL, cwd=tmp_path) as server:
        yield server


def guest(served: PrivateServer, program: str, cases: list[dict[str, Any]]) -> CasesRun:
    """Run a program with its modules from Debian."""
    command = [tool("python3.11"), "-P", str(PROGRAMS / program)]
    return served.run(command, cases, **KITS["guests"].variables())


def ruby(served: PrivateServer, *command: str, host: Sequence[str] = ()) -> TextRun:
    """Run a program of Ruby, with a prefix that changes the host."""
    script = [str(RUBY / "ruby3.1"), str(RUBY / command[0]), *command[1:]]
    return served.run_text([*host, *script], [], **KITS["Ruby"].variables())


def document(served: PrivateServer, version: str, more: str = "") -> dict[str, Any]:
    """Return the instance document by a plain request."""
    case = {"url": f"{INSTANCE}{version}{more}", "headers": {"Metadata": "true"}}
    (got,) = served.python("get.py", [case]).results
    return got


@CLOUD_INIT
def test_cloud_init_configures_the_described_vm(described: PrivateServer) -> None:
    ran = guest(described, "cloud_init.py", [{"retries": 0}])
    (result,) = ran.results
    assert result.pop("imds") == document(described, "2021-08-01", "&extended=true")
    metric = {"route-metric": 100}
    assert result == {
        "network": {
            "version": 2,
            "ethernets": {
                "eth0": {
                    "dhcp4": True,
                    "dhcp4-overrides": metric,
                    "dhcp6": False,
                    "addresses": ["10.0.0.5/26"],
                    "match": {"macaddress": "00:0d:3a:11:22:33"},
                    "set-name": "eth0",
                }
            },
        },
        "keys": [KEY],
        "region": "westeurope",
        "fault_domain": "36",
        "host_name": "web-one",
        "user": "ann",
        "no_password": True,
        "user_data": "#cloud-config\n",
    }
    # Its first api-version is served, so it sends one request.
    assert ran.moved == {"requests instance 200": 1}


@CLOUD_INIT
def test_cloud_init_polls_until_its_vm_leaves_the_pool(tmp_path: Path) -> None:
    data = '<?xml version="1.0" encoding="utf-8"?>\n<Environment/>\n'
    with private_server({"vms": {"web-1": {}}}, at=REAL, cwd=tmp_path) as server:
        case = {
            "vm": "web-1",
            "data": data,
            "pauses": 2,
            "python": sys.executable,
            "env": server.variables,
        }
        ran = guest(server, "cloud_init_pool.py", [case])
        assert ran.results == [{"data": data, "pauses": 2}]
        assert ran.moved == {
            "requests reprovisiondata 404": 2,
            "requests reprovisiondata 200": 1,
            "refusals not_found": 2,
        }
        assert server.stop() == (0, "")


@CLOUD_INIT
def test_throttled_cloud_init_gives_up_or_waits(slow: PrivateServer) -> None:
    ran = guest(slow, "cloud_init.py", [{"retries": 0}, {"retries": 0}, {"retries": 5}])
    first, refused, last = ran.results
    assert first["imds"]["compute"]["vmId"] == last["imds"]["compute"]["vmId"] == COMPUTE["vmId"]
    assert refused == {}
    throttled = ran.moved["requests instance 429"]
    assert throttled >= 1
    assert ran.moved == {
        "requests instance 200": 2,
        "requests instance 429": throttled,
        "refusals throttled": throttled,
        "throttled general": throttled,
    }


@WAAGENT
def test_waagent_finds_the_vm_healthy_and_its_image(described: PrivateServer) -> None:
    ran = guest(described, "waagent.py", [{"method": "validate"}, {"method": "compute"}])
    health, compute = ran.results
    assert health == {"is_healthy": True, "reason": ""}
    names = ("location", "name", "osType", "sku", "subscriptionId", "version", "vmId", "zone")
    assert {name: compute[name] for name in names} == {name: COMPUTE[name] for name in names}
    assert compute["tags"] == "env:prod;team:web"
    platform = 3  # of the Marketplace, but not endorsed
    assert (compute["image"], compute["origin"]) == (
        f"canonical:ubuntu-24_04-lts:22_04-lts-gen2:{COMPUTE['version']}",
        platform,
    )
    assert ran.moved == {"requests instance 200": 2}


@WAAGENT
def test_throttled_waagent_waits(slow: PrivateServer) -> None:
    ran = guest(slow, "waagent.py", [{"method": "compute"}, {"method": "validate"}])
    assert [result.get("is_healthy") for result in ran.results] == [None, True]
    throttled = ran.moved["requests instance 429"]
    assert throttled >= 1
    assert ran.moved["requests instance 200"] == len(ran.results)
    assert ran.moved["refusals throttled"] == throttled


@pytest.mark.client("Ruby facter")
def test_facter_gives_the_whole_document(described: PrivateServer) -> None:
    tried = subprocess.run(
        [*PRIVATE, *AS_HYPER_V, "true"], capture_output=True, text=True, check=False
    )
    if tried.returncode:
        pytest.skip(f"this host cannot look like one of Azure: {tried.stderr.strip()}")
    ran = ruby(described, "facter", "--json", "az_metadata", host=AS_HYPER_V)
    assert json.loads(ran.text) == {"az_metadata": document(described, "2020-09-01")}
    assert ran.moved == {"requests instance 200": 1}


@pytest.mark.client("Ruby ohai")
def test_ohai_takes_its_version_from_the_refusal(described: PrivateServer, tmp_path: Path) -> None:
    # It uses IMDS where a hint names Azure.
    (tmp_path / "azure.json").write_text("{}")
    (tmp_path / "ohai.rb").write_text(f'ohai.hints_path = ["{tmp_path}"]\n')
    ran = ruby(described, "ohai", "-c", str(tmp_path / "ohai.rb"), "azure")
    expected = document(described, "2019-11-01")
    lists = {"public_ipv4": ["20.1.2.3"], "local_ipv4": ["10.0.0.4", "10.0.0.5"]}
    lists |= {"public_ipv6": [], "local_ipv6": []}
    assert json.loads(ran.text)["metadata"] == {
        "compute": expected["compute"],
        "network": {"interfaces": {"000D3A112233": {"mac": "000D3A112233", **lists}}, **lists},
    }
    # Its first request has no api-version, to get the newest ones.
    assert ran.moved == {
        "requests instance 400": 1,
        "refusals version_missing": 1,
        "requests instance 200": 1,
    }
