"""The hooks of libvirt and Proxmox: recorded input, a real server, real requests."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.lab import NAME
from tests.system.machine import Machine, machine
from tests.system.process import COMMAND

pytestmark = [pytest.mark.system, pytest.mark.netns]

HOOKS = Path(__file__).parents[2] / "packaging" / "hooks"
STATE = "kept"
# As libvirt 9 gives it to the hook of a guest that has started: it has named the tap.
DOMAIN = """<domain type='kvm' id='7'>
  <name>NAME</name>
  <uuid>7b10d7af-b932-4c66-b2c3-3996152ec465</uuid>
  <memory unit='KiB'>2097152</memory>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>
  <devices>
    <interface type='network'>
      <mac address='MAC'/>
      <source network='default' portid='2d2f' bridge='br0'/>
      <target dev='TAP'/>
      <model type='virtio'/>
      <alias name='net0'/>
    </interface>
  </devices>
</domain>
"""
CONFIG = """boot: order=scsi0
cores: 2
ipconfig0: ip=10.0.0.9/24,gw=10.0.0.1
memory: 2048
name: web-9
net0: virtio=BC:24:11:00:00:04,bridge=br0,firewall=1
ostype: l26
scsi0: local-lvm:vm-101-disk-0,size=32G
smbios1: uuid=7b10d7af-b932-4c66-b2c3-3996152ec465
"""
FLEET = {
    "vms": {
        "web-1": {
            "compute": {"tags": {"env": "prod"}},
            "reach": {"interface": "vnet0", "mac": "52:54:00:00:00:99", "address": ["10.0.0.4"]},
        }
    }
}
BUILD = """
ip link add br0 type bridge && ip address add 10.0.0.1/24 dev br0 && ip link set br0 up
guest() {
  ip netns add "$1"
  ip link add "$2" type veth peer name eth0 netns "$1" address "$3"
  ip link set "$2" up && ip link set "$2" master "$5"
  ip -n "$1" link set eth0 up && ip -n "$1" address add "$4/24" dev eth0
  ip -n "$1" route add default via 10.0.0.1
}
guest web-1 vnet7 52:54:00:00:00:04 10.0.0.4 br0
guest web-2 vnet8 52:54:00:00:00:05 10.0.0.5 br0
# The firewall of Proxmox puts a bridge of its own between the tap and the bridge.
ip link add fwbr101i0 type bridge && ip link set fwbr101i0 up
ip link add fwln101i0 type veth peer name fwpr101p0
ip link set fwln101i0 master fwbr101i0 up && ip link set fwpr101p0 master br0 up
guest web-9 tap101i0 bc:24:11:00:00:04 10.0.0.9 fwbr101i0
"""


class Hypervisor:
    """A machine with a server, on which guests start."""

    def __init__(self, host: Machine) -> None:
        self.host, self.programs = host, host.folder / "programs"
        self.programs.mkdir()
        self.program("openimds", f'exec {" ".join(COMMAND)} "$@"')
        script = HOOKS / "guest_started.py"
        self.program("guest-started", f'exec {sys.executable} -I {script} "$@"')
        (host.folder / "config").write_text(CONFIG)
        self.program("qm", f'[ "$1 $2" = "config 101" ] && cat {host.folder}/config')
        self.program("pct", "echo no such container >&2; exit 2")
        self.choose("vms")

    def program(self, name: str, text: str) -> None:
        """Write a program that the hooks find."""
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def choose(self, mode: str) -> None:
        """Write the settings of the hooks."""
        text = (HOOKS / "hooks.env").read_text().replace("HOOKS=off", f"HOOKS={mode}")
        text = text.replace("#OPENIMDS_STATE=/var/lib/openimds", f"OPENIMDS_STATE={STATE}")
        (self.host.folder / "hooks.env").write_text(text)

    def hook(self, name: str, *words: str, text: str = "") -> "subprocess.CompletedProcess[str]":
        """Call a hook as the hypervisor does; it must never fail."""
        return self.host.run(
            *("sh", str(HOOKS / name), *words),
            text=text,
            PATH=f"{self.programs}:{os.environ['PATH']}",
            GUEST_STARTED=str(self.programs / "guest-started"),
            GUEST_HOOK_SETTINGS=str(self.host.folder / "hooks.env"),
        )

    def libvirt(self, name: str, tap: str, mac: str) -> "subprocess.CompletedProcess[str]":
        """Call the hook of libvirt for a guest that has started."""
        text = DOMAIN.replace("NAME", name).replace("TAP", tap).replace("MAC", mac)
        return self.hook("libvirt.sh", name, "started", "begin", "-", text=text)

    def ask(self, name: str) -> str:
        """Return the name that the guest gets from its metadata, or nothing."""
        return self.host.request(name, NAME, most_s=2).strip()

    def reach(self, name: str) -> dict[str, object]:
        """Return how the server reaches a VM."""
        printed = self.host.openimds("vm", "list", "--json", "--state", STATE).stdout
        (vm,) = [row for row in json.loads(printed) if row["name"] == name]
        found: dict[str, object] = vm["reach"]
        return found


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Hypervisor]:
    with machine(tmp_path, "nft") as host:
        host.shell(BUILD)
        yield Hypervisor(host)


def serving(here: Hypervisor):  # type: ignore[no-untyped-def] # noqa: ANN201 - as Machine.serving
    return here.host.serving(FLEET, "--listen", "169.254.169.254:80", "--state", STATE)


def test_started_guest_of_libvirt_is_bound_to_its_new_tap(here: Hypervisor) -> None:
    with serving(here):
        assert here.ask("web-1") == ""
        ran = here.libvirt("web-1", "vnet7", "52:54:00:00:00:04")
        assert (ran.stdout, ran.stderr) == ("", "")
        assert here.ask("web-1") == "web-1"
        assert here.reach("web-1") == {
            "interface": "vnet7",
            "mac": "52:54:00:00:00:04",
            "address": ["10.0.0.4"],
        }
        printed = here.host.openimds("vm", "show", "web-1", "--state", STATE).stdout
        assert json.loads(printed)["compute"]["tags"] == "env:prod"


def test_new_guest_of_libvirt_is_served_once_it_has_an_address(here: Hypervisor) -> None:
    with serving(here):
        ran = here.libvirt("web-2", "vnet8", "52:54:00:00:00:05")
        assert ran.stderr == (
            "openimds: web-2 has no address, which libvirt does not know. Type openimds vm patch "
            'web-2 with {"reach": {"address": [...]}}\n'
        )
        patch = '{"reach": {"address": ["10.0.0.5"]}}'
        (here.host.folder / "patch.json").write_text(patch)
        here.host.openimds("vm", "patch", "web-2", "patch.json", "--state", STATE)
        assert here.libvirt("web-2", "vnet8", "52:54:00:00:00:05").stderr == ""
        assert here.ask("web-2") == "web-2"


def test_started_guest_of_proxmox_is_put_and_served(here: Hypervisor) -> None:
    with serving(here):
        for _ in range(2):
            ran = here.hook("proxmox.sh", "101", "post-start")
            assert (ran.stdout, ran.stderr) == ("", "")
        assert here.ask("web-9") == "web-9"
        routes = here.host.shell("ip route show 10.0.0.9")
        assert routes.split()[:3] == ["10.0.0.9", "dev", "fwbr101i0"]


def test_rules_alone_leave_the_vms_of_the_server(here: Hypervisor) -> None:
    here.choose("rules")
    with serving(here):
        assert here.libvirt("web-1", "vnet7", "52:54:00:00:00:04").stderr == ""
        assert here.reach("web-1")["interface"] == "vnet0"
        assert "table inet openimds" in here.host.shell("nft list ruleset")


@pytest.mark.parametrize(
    "name, words",
    [
        ("libvirt.sh", ("web-1", "prepare", "begin", "-")),
        ("libvirt.sh", ("web-1", "release", "end", "-")),
        ("proxmox.sh", ("101", "pre-start")),
    ],
)
def test_other_operations_do_nothing(here: Hypervisor, name: str, words: tuple[str, ...]) -> None:
    ran = here.hook(name, *words)
    assert (ran.stdout, ran.stderr) == ("", "")


def test_hooks_are_off_until_they_are_chosen(here: Hypervisor) -> None:
    (here.host.folder / "hooks.env").write_text((HOOKS / "hooks.env").read_text())
    assert here.libvirt("web-1", "vnet7", "52:54:00:00:00:04").stderr == ""
    (here.host.folder / "hooks.env").unlink()
    assert here.libvirt("web-1", "vnet7", "52:54:00:00:00:04").stderr == ""
    assert here.host.shell("nft list ruleset") == ""


def test_failure_is_one_line_and_the_guest_starts(here: Hypervisor) -> None:
    ran = here.libvirt("web-1", "vnet7", "52:54:00:00:00:04")
    (line,) = ran.stderr.splitlines()
    assert line.startswith("openimds: web-1 is not bound: openimds vm list: ")
    (line,) = here.hook("proxmox.sh", "102", "post-start").stderr.splitlines()
    assert line == "openimds: 102 is not bound: pct config 102: no such container"
    here.choose("on")
    (line,) = here.libvirt("web-1", "vnet7", "52:54:00:00:00:04").stderr.splitlines()
    assert line == (
        "openimds: web-1 is not bound: OPENIMDS_HOOKS is 'on' in hooks.env. Type vms, rules or off"
    )
