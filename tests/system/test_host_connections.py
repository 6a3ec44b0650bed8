"""New connections of a guest: `openimds host` bounds them, by the kernel, for each VM.

Where a test counts, one token comes a day instead of 100 a second, so that no count depends on the
time that it takes.
"""

import json
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from openimds.linux.host.nft_rules import NEW_CONNECTIONS_BURST, NEW_CONNECTIONS_PER_S
from tests.system.frames import IPV4, IPV6, frame, header_checksum, syn
from tests.system.lab import BRIDGE, IMDS, IMDS_6, IPS, IPS_6, MACS, NAME, Lab, lab

pytestmark = [pytest.mark.system, pytest.mark.netns]

BURST = NEW_CONNECTIONS_BURST
EXCESS = 20
PATIENCE_S = 40
LISTENERS = ",".join((f"{IMDS}:80", f"[{IMDS_6}%br0]:80", f"[{IMDS_6}%pd]:80"))
OBSERVER = """
nft add table inet observer
nft add counter inet observer opening
nft 'add chain inet observer input { type filter hook input priority 0; }'
nft 'add rule inet observer input tcp dport 80 tcp flags & (syn | ack) == syn counter name opening'
"""
"""Counts the packets that open a connection, behind the rules."""
KEPT = f"""
import socket, sys
peer = socket.create_connection(({IMDS!r}, 80))
print("connected", flush=True)
for _ in sys.stdin:
    peer.sendall(b"GET {NAME} HTTP/1.1\\r\\nHost: {IMDS}\\r\\nMetadata: true\\r\\n\\r\\n")
    print(peer.recv(65536).decode().rpartition("\\n")[2], flush=True)
"""
"""Connects at once, and sends a request for each line of stdin."""


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Lab]:
    """The lab with the rules, whose limits forget nothing, and with the observer."""
    with lab(tmp_path) as here:
        script = here.up("--dry-run", "--ipv6").stdout
        rate = f"limit rate over {NEW_CONNECTIONS_PER_S}/second"
        assert script.count(rate) == 2
        here.host.run("sh", "-e", text=script.replace(rate, "limit rate over 1/day"))
        here.host.shell(OBSERVER)
        yield here


def opened(here: Lab) -> int:
    """Return the number of packets behind the rules that open a connection."""
    words = here.host.shell("nft list counter inet observer opening").split()
    return int(words[words.index("packets") + 1])


def gateway(here: Lab, name: str) -> str:
    """Return the hardware address of the host on the way of a guest."""
    if name != "d":
        return BRIDGE
    (link,) = json.loads(here.host.shell(f"ip -j link show p{name}"))
    return str(link["address"])


def opening(here: Lab, name: str, version: int = 4) -> bytes:
    """Return a frame of a guest that opens a connection."""
    if version == 4:
        return frame(gateway(here, name), MACS[name], IPV4, syn(IPS[name], IMDS))
    return frame(gateway(here, name), MACS[name], IPV6, syn(IPS_6[name], IMDS_6))


def dropped_of(here: Lab) -> dict[str, int]:
    """Return the dropped packets by VM, without the zeros."""
    guests = here.status()["guests"]
    return {guest["vm"]: guest["dropped"] for guest in guests if guest["dropped"]}


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("name", ["a", "d"], ids=["bridge", "routed"])
def test_packets_beyond_the_burst_are_dropped(here: Lab, name: str, version: int) -> None:
    here.send(name, *[opening(here, name, version)] * (BURST + EXCESS))
    assert opened(here) == BURST
    assert here.dropped() == {"too_many": EXCESS}
    assert dropped_of(here) == {f"web-{name}": EXCESS}


@pytest.mark.parametrize("name", ["a", "d"], ids=["bridge", "routed"])
def test_addresses_of_a_vm_share_its_limit(here: Lab, name: str) -> None:
    here.send(name, *[opening(here, name)] * BURST)
    assert here.dropped() == {}
    here.send(name, opening(here, name, 6), opening(here, name))
    assert here.dropped() == {"too_many": 2}


@pytest.mark.parametrize("name", ["a", "d"], ids=["bridge", "routed"])
def test_flood_leaves_others_and_open_connections(here: Lab, name: str) -> None:
    others = [other for other in "abd" if other != name]
    with here.serving("--listen", LISTENERS):
        kept = here.host.start("ip", "netns", "exec", name, sys.executable, "-c", KEPT)
        assert kept.stdout
        assert kept.stdin
        assert kept.stdout.readline() == "connected\n"
        here.send(name, *[opening(here, name)] * BURST)
        assert here.request_in_vain(name) == ""
        kept.stdin.write("\n")
        kept.stdin.flush()
        assert kept.stdout.readline() == f"web-{name}\n"
        kept.communicate(timeout=30)
        assert [here.request(other) for other in others] == [f"web-{other}" for other in others]
    assert set(dropped_of(here)) == {f"web-{name}"}


def fragments(packet: bytes) -> list[bytes]:
    """Return an IPv4 packet in two fragments, none with readable flags of TCP."""
    return [_fragment(packet[:20], packet[20:28], 0x2000), _fragment(packet[:20], packet[28:], 1)]


def _fragment(head: bytes, part: bytes, offset: int) -> bytes:
    length, place = struct.pack("!H", 20 + len(part)), struct.pack("!H", offset)
    plain = head[:2] + length + head[4:6] + place + head[8:10] + b"\0\0" + head[12:]
    return plain[:10] + header_checksum(plain) + plain[12:] + part


def test_fragments_do_not_evade_the_limit(here: Lab) -> None:
    # Some kernels look for the port in a later fragment, too: 80 stands there.
    packet = syn(IPS["a"], IMDS, acknowledged=80)
    frames = [frame(BRIDGE, MACS["a"], IPV4, part) for part in fragments(packet)]
    here.send("a", *frames)
    assert opened(here) == 1, "fragments do not even arrive below the limit"
    here.send("a", *[opening(here, "a")] * (BURST - len(frames)))
    assert here.dropped() == {}
    here.send("a", *frames)
    assert here.dropped() == {"too_many": len(frames)}


def test_packets_of_an_open_connection_are_unlimited(here: Lab) -> None:
    acknowledgement = bytearray(opening(here, "a"))
    flags = 14 + 20 + 13
    acknowledgement[flags] = 0x10
    here.send("a", *[bytes(acknowledgement)] * (BURST + EXCESS))
    assert here.dropped() == {}
    assert here.status()["guests"][0]["accepted"] == BURST + EXCESS


def test_hundred_connections_at_once_are_answered(tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        here.up()
        with here.serving():
            urls = [f"http://{IMDS}{NAME}"] * 99
            answers = here.request("d", "-H", "Connection: close", *urls)
        assert answers == "web-d" * 100
        assert here.dropped() == {}


def half_open(here: Lab) -> int:
    """Return the number of half-open connections of the host."""
    return len(here.host.shell("ss -Htn state syn-recv").splitlines())


def cookies(here: Lab) -> int:
    """Return the number of handshakes that the host answered with a cookie."""
    names, values = (
        line.split()
        for line in here.host.shell("cat /proc/net/netstat").splitlines()
        if line.startswith("TcpExt:")
    )
    return int(values[names.index("SyncookiesSent")])


@pytest.mark.parametrize("name", ["a", "d"], ids=["bridge", "routed"])
def test_half_open_connections_end_and_others_are_served(here: Lab, name: str) -> None:
    others = [other for other in "abd" if other != name]
    packets = [syn(IPS[name], IMDS, by_port=1024 + number) for number in range(BURST + EXCESS)]
    # Without its address, the guest's kernel resets none of them.
    here.host.shell(f"ip -n {name} address flush dev eth0 scope global")
    with here.serving():
        here.send(name, *[frame(gateway(here, name), MACS[name], IPV4, one) for one in packets])
        assert half_open(here) <= BURST
        assert (opened(here), here.dropped()) == (BURST, {"too_many": EXCESS})
        assert [here.request(other) for other in others] == [f"web-{other}" for other in others]
        # By default the kernel keeps them for 63 seconds.
        end_s = time.monotonic() + PATIENCE_S
        while half_open(here):
            assert time.monotonic() < end_s
    assert cookies(here) == 0


HELD = f"""
import socket, sys
held = [socket.create_connection(({IMDS!r}, 80)) for _ in range(int(sys.argv[1]))]
print("connected", flush=True)
sys.stdin.read()
"""
"""Keeps connections open until its stdin ends."""


@pytest.mark.parametrize("name", ["a", "d"], ids=["bridge", "routed"])
def test_open_connections_of_an_address_are_bounded(tmp_path: Path, name: str) -> None:
    others = [other for other in "abd" if other != name]
    with lab(tmp_path) as here:
        here.up("--most-open", "3")
        assert here.status()["isUp"]
        with here.serving():
            held = here.host.start("ip", "netns", "exec", name, sys.executable, "-c", HELD, "3")
            assert held.stdout
            assert held.stdout.readline() == "connected\n"
            assert here.request_in_vain(name) == ""
            assert here.dropped() == {"too_many_open": 1}
            assert [here.request(other) for other in others] == [f"web-{other}" for other in others]
            held.communicate(timeout=30)
        assert here.up("--most-open", "3").stdout.startswith("Nothing to do")
        assert here.up().stdout.startswith("nft -f - (")
