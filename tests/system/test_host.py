"""`openimds host`: its changes to a host, which `host down` undoes exactly."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.frames import IPV4, frame, is_tcp, syn
from tests.system.lab import FLEET, IMDS, IPS, MACS, Lab, fleet, lab
from tests.system.process import COMMAND

pytestmark = [pytest.mark.system, pytest.mark.netns]

HERE = "169.254.169.254 is here for 3 VMs: openimds serve --listen 169.254.169.254:80"

IGNORING = (
    "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)
"""Becomes a command that ignores SIGCHLD."""


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Lab]:
    with lab(tmp_path) as here:
        # Foreign rules, which have to stay.
        here.host.shell("nft add table inet other; nft add chain inet other mine")
        yield here


def everything(here: Lab) -> str:
    """Return all interfaces with their addresses, all routes and all rules."""
    return here.host.shell("""
        ip -br address; ip rule; ip route show table all; ip neighbour show nud permanent
        nft list ruleset
    """)


def test_up_and_down_are_exact_and_listed_by_a_dry_run(here: Lab) -> None:
    before = everything(here)
    dry = here.up("--dry-run", "--ipv6").stdout
    assert everything(here) == before
    # The list can be pasted into a shell, and is complete.
    here.host.run("sh", "-e", text=dry)
    assert here.up("--ipv6").stdout == f"Nothing to do\n{HERE}\n"
    after = everything(here)
    assert after.count("fe80::a9fe:a9fe/64") == 2
    assert f"local {IMDS} dev lo table 16925" in after
    assert f"blackhole {IMDS}" in after
    assert IMDS not in here.host.shell("ip -br address")
    assert here.up("--ipv6").stdout == f"Nothing to do\n{HERE}\n"
    assert everything(here) == after
    dry = here.host.openimds("host", "down", "--dry-run").stdout
    assert everything(here) == after
    assert here.host.openimds("host", "down").stdout == dry
    assert everything(here) == before
    assert here.host.openimds("host", "down").stdout == "Nothing to do\n"


def test_up_prints_its_steps_in_order(here: Lab) -> None:
    first = here.up().stdout.splitlines()
    assert first[0].startswith("nft -f - (")
    assert first[1:] == [
        "ip route add blackhole 169.254.169.254/32 protocol 169",
        "ip route add local 169.254.169.254/32 dev lo table 16925 protocol 169",
        "ip rule add fwmark 0x6f696d64 lookup 16925 priority 169 protocol 169",
        *(
            f"ip neighbour replace {IPS[name]} lladdr {MACS[name]} dev {device} nud permanent "
            "protocol 169"
            for name, device in (("a", "br0"), ("b", "br0"), ("d", "pd"))
        ),
        HERE,
    ]
    changed = here.up(fleet=fleet("a", "b")).stdout.splitlines()
    assert [line.partition(" (")[0] for line in changed[:-1]] == [
        "nft -f -",
        "ip neighbour delete 10.9.0.4 dev pd",
    ]


def test_up_binds_the_fleet_of_a_running_server(here: Lab) -> None:
    with here.serving("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:8170"):
        (here.host.folder / "fleet.json").unlink()
        assert here.host.openimds("host", "up").stdout.endswith(f"{HERE}\n")
    guests = here.status()["guests"]
    assert [guest["vm"] for guest in guests] == ["web-a", "web-b", "web-d"]
    assert [(guest["interface"], guest["on"]) for guest in guests] == [
        ("pa", "br0"),
        ("pb", "br0"),
        ("pd", ""),
    ]
    assert guests[0]["mac"] == MACS["a"]
    assert IPS["a"] in guests[0]["addresses"]


def test_status_names_missing_interfaces_and_routes(here: Lab) -> None:
    absent = here.host.openimds("host", "status", code=1)
    assert absent.stdout.startswith("169.254.169.254 is not here: openimds host up\n")
    here.up()
    here.host.shell("ip link delete pb; ip route delete 10.9.0.4/32 dev pd")
    status = here.host.openimds("host", "status")
    first, head, *rows = status.stdout.splitlines()
    assert first == "169.254.169.254 is here"
    assert head == "NAME\tINTERFACE\tON\tHARDWARE\tADDRESSES\tACCEPTED\tDROPPED"
    assert rows == [
        "web-a\tpa\tbr0\t02:00:00:00:00:0a\t10.0.0.4\t0\t0",
        "web-b\tpb\tnot there\t02:00:00:00:00:0b\t10.0.0.5\t0\t0",
        "web-d\tpd\t-\t02:00:00:00:00:0d\t10.9.0.4\t0\t0",
    ]
    assert status.stderr == (
        "openimds: web-b: the interface pb does not exist yet; type openimds host up once it does\n"
        "openimds: web-d: responses to 10.9.0.4 have no route; type ip route add 10.9.0.4/32 dev "
        "pd\n"
    )


def test_guest_that_starts_later_is_served(here: Lab) -> None:
    here.host.shell("ip link set pa nomaster; ip link set pa down; ip link set pa name gone")
    here.up()
    here.host.shell("ip link set gone name pa; ip link set pa up; ip link set pa master br0")
    with here.serving():
        assert here.request("a") == "web-a"
        # With another gateway, its requests are dropped until `host up` learns its bridge.
        here.host.shell("ip -n a route replace default via 10.0.0.66")
        with here.capturing("c") as frames:
            assert here.request_in_vain("a") == ""
        assert [frame for frame in frames if is_tcp(frame)] == []
        here.up()
        assert here.request("a") == "web-a"


def test_port_behind_a_firewall_bridge_needs_a_route(here: Lab) -> None:
    # As on Proxmox with its firewall: tap, a bridge, a veth, the bridge.
    here.host.shell("""
        ip link add fwbr type bridge && ip link set fwbr up && ip link set pa master fwbr
        ip link add fwln type veth peer name fwpr && ip link set fwln up && ip link set fwpr up
        ip link set fwln master fwbr && ip link set fwpr master br0
    """)
    route = "ip route add 10.0.0.4/32 dev fwbr"
    assert here.up().stderr == (
        f"openimds: web-a: responses to 10.0.0.4 would leave by br0 and be dropped; type {route}\n"
    )
    with here.serving():
        assert here.request_in_vain("a") == ""
        here.host.shell(route)
        assert here.up().stderr == ""
        assert {name: here.request(name) for name in "ab"} == {"a": "web-a", "b": "web-b"}
        assert here.request_in_vain("c") == ""


def test_foreign_address_is_named_and_left(here: Lab) -> None:
    here.host.shell(f"ip address add {IMDS}/32 dev br0")
    before = everything(here)
    (here.host.folder / "fleet.json").write_text(json.dumps(FLEET))
    for word in ((), ("--dry-run",)):
        ended = here.host.openimds("host", "up", "--fleet", "fleet.json", *word, code=1)
        assert ended.stderr == (
            "openimds: 169.254.169.254 is already on br0; type ip address delete "
            "169.254.169.254/32 dev br0\n"
        )
    assert here.host.openimds("host", "down").stdout == "Nothing to do\n"
    assert everything(here) == before


def test_command_without_net_admin_names_the_right(here: Lab) -> None:
    words = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", *COMMAND, "host"]
    for command in ("up", "down", "status"):
        ended = here.host.run(*words, command, code=1)
        assert ended.stderr == (
            "openimds: openimds host needs root (CAP_NET_ADMIN): type sudo before it\n"
        )


def test_failed_step_is_reported_also_with_sigchld_ignored(here: Lab) -> None:
    nft = here.host.folder / "bin" / "nft"
    nft.parent.mkdir()
    nft.write_text(
        '#!/bin/sh\n[ "$1" != -f ] || { echo never >&2; exit 1; }\nexec /usr/sbin/nft "$@"\n'
    )
    nft.chmod(0o755)
    (here.host.folder / "fleet.json").write_text(json.dumps(FLEET))
    start = ["env", f"PATH={nft.parent}:{os.environ['PATH']}", sys.executable, "-c", IGNORING]
    words = [*COMMAND, "host", "up", "--fleet", "fleet.json"]
    ended = here.host.run(*start, *words, code=1)
    assert ended.stderr == "openimds: nft -f -: never\n"
    assert not here.status()["isUp"]


def test_up_without_a_fleet_names_the_sources_of_one(here: Lab) -> None:
    ended = here.host.openimds("host", "up", code=1)
    assert ended.stderr.startswith("openimds: no server answers at http://127.0.0.1:8170 ")
    assert "Type openimds serve in another terminal" in ended.stderr


LOCAL = "169.254.169.253"
DOCUMENT = "/metadata/attested/document?api-version=2018-10-01"


def test_vm_of_azure_local_asks_at_its_own_address(tmp_path: Path) -> None:
    vms = fleet("a", "b", "d")
    vms["vms"]["web-b"]["kind"] = vms["vms"]["web-d"]["kind"] = "azure-local"
    with lab(tmp_path) as here:
        printed = here.up(fleet=vms).stdout
        assert printed.endswith(f"openimds serve --listen {IMDS}:80,{LOCAL}:80\n")
        with here.serving("--listen", f"{IMDS}:80,{LOCAL}:80", fleet=vms):
            for name in "bd":
                words = ("curl", "-sS", "-m", "5", "-H", "Metadata:true")
                got = here.host.guest(name, *words, f"http://{LOCAL}{DOCUMENT}")
                assert json.loads(got)["encoding"] == "pkcs7"
            assert here.request("a") == "web-a"
            # A guest of no VM gets nothing there either, and may not claim the address.
            here.host.guest("c", *words, "-m", "0.5", f"http://{LOCAL}{DOCUMENT}", code=None)
            here.send("c", frame(MACS["a"], MACS["c"], IPV4, syn(LOCAL, IPS["a"])))
            assert here.dropped().keys() == {"unknown_interface", "false_service"}
        here.up(fleet=FLEET)
        assert LOCAL not in here.host.shell("ip route show table all")
