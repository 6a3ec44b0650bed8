"""Host rules fail closed: without them no guest gets metadata, and changes are seen."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.frames import IPV4, is_tcp, syn
from tests.system.lab import FLEET, IMDS, IPS, MACS, NAME, UNKNOWN_CALLERS, Lab, fleet, lab, to_host
from tests.system.process import COMMAND

pytestmark = [pytest.mark.system, pytest.mark.netns]

KEPT = f"""
import socket, sys
peer = socket.create_connection(({IMDS!r}, 80))
peer.settimeout(float(sys.argv[1]))
def ask():
    peer.sendall(b"GET {NAME} HTTP/1.1\\r\\nHost: {IMDS}\\r\\nMetadata: true\\r\\n\\r\\n")
    try:
        return peer.recv(65536).decode().rpartition("\\n")[2]
    except OSError as error:
        return type(error).__name__
print(ask(), flush=True)
for _ in sys.stdin:
    print(ask() or "closed", flush=True)
"""
"""Sends a request at once, and one more on the same connection for each line of stdin."""


class Kept:
    """A guest's open connection, on which one request was answered."""

    def __init__(self, here: Lab, name: str, patience_s: float) -> None:
        enter = ("ip", "netns", "exec", name, sys.executable, "-c", KEPT, str(patience_s))
        self._process = here.host.start(*enter)
        self.first = self._line()

    def ask(self) -> str:
        """Return the name in the response to the next request, or the outcome without one."""
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._line()

    def close(self) -> None:
        self._process.communicate(timeout=30)

    def _line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Lab]:
    with lab(tmp_path) as here:
        yield here


def claim(here: Lab, name: str, address: str) -> None:
    """Give a guest an address of b, and take b off the network."""
    here.host.shell(f"ip -n {name} address add {address}/32 dev eth0; ip -n b link set eth0 down")


@pytest.mark.parametrize("name", ["a", "d"], ids=["bridge", "routed"])
def test_flushed_rules_leave_no_way_to_the_service(here: Lab, name: str) -> None:
    here.up()
    with here.serving() as server:
        assert here.request(name) == f"web-{name}"
        here.host.shell("nft flush ruleset")
        claim(here, name, IPS["b"])
        assert here.request_in_vain(name, "--interface", IPS["b"]) == ""
        assert here.request_in_vain(name) == ""
        assert server.counter(UNKNOWN_CALLERS) == 0
        here.up()
        assert here.request(name) == f"web-{name}"


def test_open_connection_ends_with_the_rules(here: Lab) -> None:
    here.up()
    with here.serving():
        kept = Kept(here, "a", 0.5)
        assert (kept.first, kept.ask()) == ("web-a", "web-a")
        here.host.shell("nft flush ruleset")
        assert kept.ask() == "TimeoutError"
        kept.close()


def test_moved_address_is_not_served_to_its_old_guest(here: Lab) -> None:
    here.up()
    moved = fleet("a", "b", "d")
    reach = {name: moved["vms"][f"web-{name}"]["reach"] for name in "ab"}
    reach["a"]["address"], reach["b"]["address"] = reach["b"]["address"], reach["a"]["address"]
    with here.serving() as server:
        kept = Kept(here, "a", 5)
        assert kept.first == "web-a"
        here.edit(moved)
        assert server.next_line().endswith("2 changes applied.\n")
        assert kept.ask() in ("closed", "ConnectionResetError")
        kept.close()
        assert f"{IPS['a']} is an address of web-b" in server.next_line()
        assert here.request("a") == ""
        here.up(fleet=moved)
        here.host.shell(f"ip -n b address add {IPS['a']}/32 dev eth0")
        assert here.request("b", "--interface", IPS["a"]) == "web-b"
        assert here.request_in_vain("a") == ""


CHANGES = {
    "flushed chain": "nft flush chain inet openimds requests",
    "flushed table": "nft flush table bridge openimds",
    "accept": "nft insert rule bridge openimds from_ports accept",
    "accept in a lower chain": "nft insert rule inet openimds reason accept",
    "dormant": "nft add table bridge openimds '{ flags dormant; }'",
    "element": "nft add element inet openimds bridged4 '{ 02:00:00:00:00:0c . 10.0.0.5 }'",
    "rule of routing": "ip rule delete fwmark 0x6f696d64",
    "route": "ip route delete blackhole 169.254.169.254",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changed_rules_are_reported_and_replaced(here: Lab, change: str) -> None:
    here.up()
    assert here.status()["isUp"]
    here.host.shell(change)
    status = here.host.openimds("host", "status", code=1)
    assert status.stdout.startswith(f"{IMDS} is not as it should be: openimds host up\n")
    assert not here.status()["isUp"]
    assert not here.up().stdout.startswith("Nothing to do")
    assert here.status()["isUp"]
    assert here.up().stdout.startswith("Nothing to do")


@pytest.mark.parametrize("tags", [(0, 0), (0, 0, 0)])
@pytest.mark.parametrize("name, reason", [("a", "posing"), ("c", "hidden")])
def test_stacked_vlan_tags_do_not_evade_the_port(
    here: Lab, name: str, reason: str, tags: tuple[int, ...]
) -> None:
    here.up()
    with here.serving() as server, here.capturing("b") as frames:
        here.send(name, to_host(MACS["b"], IPV4, syn(IPS["b"], IMDS), *tags))
        assert here.request("d") == "web-d"
        assert server.counter(UNKNOWN_CALLERS) == 0
        assert here.dropped() == {reason: 1}
    # An answer would go to b, who did not ask.
    assert [frame for frame in frames if is_tcp(frame)] == []


@pytest.mark.parametrize("kind", ["bridge", "dummy"])
def test_half_made_interface_of_an_ended_up_heals(here: Lab, kind: str) -> None:
    if here.host.run("ip", "link", "add", "imds0", "type", kind, code=None).returncode:
        pytest.skip(f"this kernel has no {kind} interfaces")
    here.up()
    with here.serving():
        assert here.request("a") == "web-a"
    here.host.openimds("host", "down")
    assert here.host.run("ip", "link", "show", "imds0", code=None).returncode


INHERITED = f"""
import os, socket, sys
bound = socket.socket()
bound.setsockopt(socket.IPPROTO_IP, 15, 1)  # IP_FREEBIND
bound.setsockopt(socket.IPPROTO_IP, 19, int(sys.argv[1]))  # IP_TRANSPARENT
bound.bind(({IMDS!r}, 80))
bound.listen()
os.dup2(bound.fileno(), 3)
os.set_inheritable(3, True)
os.environ |= {{"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}}
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Becomes a command with a socket as of systemd, transparent or not."""


def test_inherited_transparent_socket_is_behind_the_rules(here: Lab) -> None:
    here.up()
    before = (sys.executable, "-c", INHERITED, "1")
    with here.host.serving(FLEET, "--admin", "127.0.0.1:0", before=before):
        assert here.request("a") == "web-a"
        claim(here, "a", IPS["b"])
        here.host.shell("nft flush ruleset")
        assert here.request_in_vain("a", "--interface", IPS["b"]) == ""


def test_inherited_socket_that_cannot_answer_is_reported(here: Lab) -> None:
    here.up()
    before = (sys.executable, "-c", INHERITED, "0")
    with here.host.serving(FLEET, "--admin", "127.0.0.1:0", before=before) as server:
        assert server.next_line() == (
            f"openimds: http://{IMDS}:80 cannot answer, as its address is on no interface; write "
            "Transparent=yes in the socket unit.\n"
        )
        assert here.request_in_vain("a") == ""


def test_serving_without_the_right_names_the_remedies(here: Lab) -> None:
    words = ["setpriv", "--bounding-set=-net_admin,-net_raw", "--inh-caps=-net_admin,-net_raw"]
    serve = [*COMMAND, "serve", "--listen", f"{IMDS}:80", "--admin", "none"]
    ended = here.host.run(*words, *serve, code=None)
    assert ended.returncode
    assert ended.stderr == (
        f"openimds: listen: saw {IMDS}:80 (operation not permitted), expected an address that is "
        "free here. Type openimds host up and serve as root, or let systemd open it with "
        "Transparent=yes\n"
    )


def test_serving_without_host_rules_or_address_is_reported(here: Lab) -> None:
    with here.serving(fleet={"vms": {"web-a": {}}}) as server:
        assert server.next_line() == (
            f"openimds: nobody reaches http://{IMDS}:80: its address is on no interface, and no VM "
            "has an interface for openimds host up. Type ip address add 169.254.169.254/32 dev lo "
            "before the server, or write reach.interface.\n"
        )
