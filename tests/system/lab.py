"""A host with four guests: three on a bridge, one on a routed interface.

Guest `a` is the VM web-a at 10.0.0.4, `b` is web-b at 10.0.0.5, `c` is on the bridge too and no VM,
`d` is web-d at 10.9.0.4 behind an interface of its own. Their ports on the host are pa to pd.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.log_lines import sentence
from tests.system.frames import frame
from tests.system.machine import Machine, NetnsServer, machine
from tests.system.process import COMMAND

FRAMES = Path(__file__).with_name("frames.py")
NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
IMDS, IMDS_6 = "169.254.169.254", "fe80::a9fe:a9fe"
BRIDGE = "02:00:00:00:00:01"
MACS = {name: f"02:00:00:00:00:0{name}" for name in "abcd"}
IPS = {"a": "10.0.0.4", "b": "10.0.0.5", "c": "10.0.0.66", "d": "10.9.0.4"}
IPS_6 = {name: f"fe80::ff:fe00:{name}" for name in "abcd"}
ANSWERED = 'openimds_requests_total{endpoint="instance",status="200"}'
UNKNOWN_CALLERS = "openimds_unknown_callers_total"

_BUILD = """
sysctl -qw net.ipv6.conf.default.accept_dad=0
for x in iptables ip6tables arptables; do
  [ ! -e /proc/sys/net/bridge ] || sysctl -qw net.bridge.bridge-nf-call-$x=0
done
ip link add br0 type bridge
ip link set br0 address 02:00:00:00:00:01
ip link set br0 up
ip address add 10.0.0.1/24 dev br0
for x in a b c d; do
  ip netns add $x
  ip netns exec $x sysctl -qw net.ipv6.conf.default.accept_dad=0
  ip link add p$x type veth peer name eth0 netns $x address 02:00:00:00:00:0$x
  ip -n $x link set lo up
  ip -n $x link set eth0 up
  ip link set p$x up
done
for x in a b c; do ip link set p$x master br0; done
ip -n a address add 10.0.0.4/24 dev eth0
ip -n b address add 10.0.0.5/24 dev eth0
ip -n c address add 10.0.0.66/24 dev eth0
for x in a b c; do ip -n $x route add default via 10.0.0.1; done
ip -n d address add 10.9.0.4/32 dev eth0
ip -n d route add 10.9.0.1 dev eth0
ip -n d route add default via 10.9.0.1
ip address add 10.9.0.1/32 dev pd
ip route add 10.9.0.4/32 dev pd
"""


def fleet(*names: str, **more: Any) -> dict[str, Any]:
    """Return a fleet of these guests as VMs."""
    reach = {
        name: {
            "address": [IPS[name], IPS_6[name]],
            "interface": f"p{name}",
            "mac": MACS[name],
        }
        for name in names
    }
    return {"vms": {f"web-{name}": {"reach": row, **more} for name, row in reach.items()}}


FLEET = fleet("a", "b", "d")


class Follow:
    """A running `openimds host follow`."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def line(self) -> str:
        """Wait for its next line; a line of its log is returned as the sentence."""
        assert self._process.stdout
        while not (line := sentence(self._process.stdout.readline())) and not self.has_ended:
            pass
        return line.strip()

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def lines_until(self, end: str) -> list[str]:
        """Wait for a line, and return those before it."""
        lines: list[str] = []
        while (line := self.line()) != end:
            assert line, f"it ended after {lines}"
            lines.append(line)
        return lines


class Lab:
    """The host with its guests."""

    def __init__(self, host: Machine) -> None:
        self.host = host

    def up(self, *more: str, fleet: Any = FLEET) -> "subprocess.CompletedProcess[str]":
        """Run `openimds host up` for a fleet."""
        self.edit(fleet)
        return self.host.openimds("host", "up", "--fleet", "fleet.json", *more)

    @contextmanager
    def following(self, *more: str) -> Iterator["Follow"]:
        """Run `openimds host follow` inside the block."""
        words = (*COMMAND, "host", "follow", *more)
        process = self.host.start("sh", "-c", 'echo $$; exec "$@"', "sh", *words)
        follow = Follow(process)
        pid = follow.line()
        try:
            yield follow
        finally:
            # A child of nsenter would outlive it.
            self.host.run("kill", "-s", "KILL", pid, code=None)
            process.kill()
            process.communicate(timeout=30)

    def edit(self, fleet: Any) -> None:
        """Replace the file of the fleet at once: no reader sees a part of it."""
        self.edit_text(json.dumps(fleet))

    def edit_text(self, text: str) -> None:
        """Replace the file of the fleet by a text."""
        new = self.host.folder / "new"
        new.write_text(text)
        new.replace(self.host.folder / "fleet.json")

    def status(self) -> dict[str, Any]:
        """Return the output of `openimds host status --json`."""
        printed = self.host.openimds("host", "status", "--json", code=None).stdout
        status: dict[str, Any] = json.loads(printed)
        return status

    def dropped(self) -> dict[str, int]:
        """Return the number of dropped packets by reason, without the zeros."""
        return {name: count for name, count in self.status()["dropped"].items() if count}

    def request(self, name: str, *more: str) -> str:
        """Return the response to a guest that requests its VM's name."""
        return self.host.request(name, NAME, *more)

    def request_6(self, name: str, *more: str) -> str:
        """Return the response to the same request over IPv6."""
        url = f"http://[{IMDS_6}%25eth0]{NAME}"
        words = ("curl", "-gsS", "-m", "5", "-H", "Metadata:true", *more, url)
        return self.host.guest(name, *words, code=None)

    def request_in_vain(self, name: str, *more: str) -> str:
        """Return the response to one short try of an unserved guest."""
        return self.request(name, "-m", "0.5", *more)

    def send(self, name: str, *frames: bytes) -> None:
        """Send frames from a guest."""
        lines = "\n".join(data.hex() for data in frames)
        self.host.run(
            *("ip", "netns", "exec", name, sys.executable, str(FRAMES), "send", "eth0"), text=lines
        )

    @contextmanager
    def capturing(self, name: str) -> Iterator[list[bytes]]:
        """Capture the frames to a guest; the list fills at the end of the block."""
        frames: list[bytes] = []
        words = ("ip", "netns", "exec", name, sys.executable, str(FRAMES), "capture", "eth0")
        process = self.host.start(*words)
        assert process.stdout
        assert process.stdout.readline() == "capturing\n"
        try:
            yield frames
        finally:
            lines, _ = process.communicate(timeout=30)
            frames += map(bytes.fromhex, lines.split())

    @contextmanager
    def serving(self, *more: str, fleet: Any = FLEET) -> Iterator[NetnsServer]:
        """Serve the fleet at the address."""
        words = ("--listen", f"{IMDS}:80", "--admin", "127.0.0.1:0", "--no-rate-limit", *more)
        with self.host.serving(fleet, *words) as server:
            yield server


@contextmanager
def lab(folder: Path) -> Iterator[Lab]:
    """Build the lab, or skip the test where that is impossible."""
    with machine(folder, "nft") as host:
        host.shell(_BUILD)
        yield Lab(host)


def to_host(by: str, kind: int, body: bytes, *vlans: int | None) -> bytes:
    """Return a frame to the host's bridge, with the tags of these VLANs."""
    return frame(BRIDGE, by, kind, body, *vlans)
