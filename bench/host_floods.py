"""A flood of connections in host mode: guests behind the rules of `openimds host`.

The guests are VMs on a bridge of a private network. `unshare` makes it, and runs this module in it:
the measuring process is at home with the quiet guests, the server and the flooding guest have a
namespace each. As among the other floods, idle is measured in turns with the flood, beside the same
generator that sends to a sink in its own namespace.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import msgspec.json

from bench.beside import Beside
from bench.figures import Plan, Row, Table, progress
from bench.flooder import Shape
from bench.guests import NEW, PER_KIND
from bench.http_client import pinned
from bench.loads import Load, running
from bench.machine import cores
from bench.quiet import Patience
from bench.servers import Address, openimds

FLOOD = "connections that are reset at once, host mode"
OTHERS = f"{FLOOD}: {NEW.name}"
_KEY = "host_floods"
_SERVICE = Address("169.254.169.254", 80)
_GATEWAY = "10.0.0.1"
_FLOODER = "10.0.0.5"
_ROUNDS = 5
_ROUND_S = 3.0
_PATIENCE_S = 30.0
_UNSHARE = ("unshare", "-Urnmpf", "--mount-proc", "--kill-child")
_HOST, _GUEST = ("ip", "netns", "exec", "host"), ("ip", "netns", "exec", "guest")

_BUILD = f"""
set -e
mount -t tmpfs tmpfs /run
mkdir /run/netns
ip netns add host
ip netns add guest
ip -n host link set lo up
ip -n host link add br0 type bridge
ip -n host address add {_GATEWAY}/16 dev br0
ip -n host link set br0 up
ip -n guest link set lo up
ip link set lo up
# Each of the quiet guests has an interface of its own in one namespace: it answers only for itself,
# and its packets leave there.
echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore
echo 2 > /proc/sys/net/ipv4/conf/all/arp_announce
echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter
echo 0 > /proc/sys/net/ipv4/conf/default/rp_filter
"""
_PORT = """
ip -n host link set {port} master br0
ip -n host link set {port} up
"""
_QUIET = """
ip link add {name} address {mac} type veth peer name {port} netns host
ip link set {name} up
ip address add {address}/32 dev {name}
ip route add {gateway} dev {name} src {address} table {table}
ip route add default via {gateway} dev {name} table {table}
ip rule add from {address} lookup {table}
"""
_BAD = """
ip -n guest link add eth0 address {mac} type veth peer name {port} netns host
ip -n guest link set eth0 up
ip -n guest address add {address}/16 dev eth0
ip -n guest route add default via {gateway}
"""


def measure(plan: Plan) -> dict[str, Table]:
    """Return the table, or none where a private network or nft cannot be had."""
    if not shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"):
        progress("host_floods: nft is not installed")
        return {}
    command = (*_UNSHARE, sys.executable, "-m", __name__, "quick" if plan.is_quick else "full")
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if ran.returncode:
        progress("host_floods: not measured; it needs private networks (unshare -Urn)")
        return {}
    return {_KEY: msgspec.json.decode(ran.stdout, type=Table)}


def address(number: int) -> str:
    """Return the address of a quiet guest."""
    return f"10.0.1.{number + 1}"


def _measured(plan: Plan) -> Table:
    """Measure, in the private network."""
    server_core, client_core = cores()
    rounds, patience = 1 if plan.is_quick else _ROUNDS, Patience(plan.seconds(_PATIENCE_S))
    shape = Shape("reset", 0, (_FLOODER,))
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        fleet = _build(Path(folder))
        up = (*_HOST, sys.executable, "-m", "openimds", "host", "up", "--fleet", str(fleet))
        subprocess.run(up, stdout=subprocess.DEVNULL, check=True)
        listen = ("--listen", f"{_SERVICE.host}:{_SERVICE.port}", "--fleet", str(fleet))
        server = stack.enter_context(openimds(*listen, core=server_core, before=_HOST))
        stack.enter_context(pinned(client_core))
        idle = Beside(partial(_sunk, shape), address=address)
        flooded = Beside(partial(_flood, shape, _SERVICE), address=address)
        for number in range(rounds):
            progress(f"host_floods: round {number + 1} of {rounds}")
            for beside in (idle, flooded):
                patience.wait()
                beside.run(server, (NEW,), 0, plan.seconds(_ROUND_S))
    rows: dict[str, Row] = {FLOOD: flooded.costs(idle), OTHERS: flooded.waits(NEW, idle)}
    return Table("Quiet guests while one guest floods a host with connections", "flood", rows)


def _build(folder: Path) -> Path:
    """Build the network, and return the file of its fleet."""
    vms = {"flood": (_FLOODER, _BAD)}
    vms |= {f"quiet{number}": (address(number), _QUIET) for number in range(PER_KIND)}
    script, reach = _BUILD, {}
    for number, (name, (own, lines)) in enumerate(vms.items()):
        mac, port = f"02:00:00:00:01:{number:02x}", f"p{number}"
        script += (lines + _PORT).format(
            name=name, mac=mac, port=port, address=own, gateway=_GATEWAY, table=100 + number
        )
        reach[name] = {"reach": {"address": [own], "interface": port, "mac": mac}}
    subprocess.run(("sh", "-c", script), check=True)
    fleet = folder / "fleet.json"
    fleet.write_text(json.dumps({"vms": reach}), "utf-8")
    return fleet


@contextmanager
def _flood(shape: Shape, server: Address) -> Iterator[Load]:
    arguments = (server.host, str(server.port), msgspec.json.encode(shape).decode())
    with running("bench.flooder", *arguments, before=_GUEST) as load:
        yield load


@contextmanager
def _sunk(shape: Shape) -> Iterator[Load]:
    # It listens on loopback, so the flood comes from there.
    near = Shape(shape.way, shape.connections, ("127.0.0.1",))
    with (
        running("bench.sink", before=_GUEST) as sink,
        _flood(near, Address("127.0.0.1", int(sink.fact))) as load,
    ):
        yield load


def main() -> None:
    """Measure, and print the table as JSON."""
    table = _measured(Plan(is_quick=sys.argv[1] == "quick"))
    print(msgspec.json.encode(table).decode())


if __name__ == "__main__":
    main()
