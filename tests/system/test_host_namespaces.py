"""Listeners in network namespaces that stand for guests: `reach.listen: ["netns:NAME"]`."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.machine import Machine, NetnsServer, machine
from tests.system.process import COMMAND

pytestmark = [pytest.mark.system, pytest.mark.netns]

NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
COUNTER = 'openimds_requests_total{endpoint="instance",status="200"}'
PAIR = {
    "vms": {
        "web-1": {"reach": {"listen": ["netns:one"]}},
        "web-2": {"reach": {"listen": ["netns:two", "netns:three@127.0.0.1:8080"]}},
    }
}
LISTEN = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as host:
        host.shell(
            "ip netns add one; ip netns add two; ip netns add three; ip -n three link set lo up"
        )
        yield host


def test_each_namespace_reaches_its_own_vm_at_the_real_address(host: Machine) -> None:
    with host.serving(PAIR, *LISTEN) as server:
        assert host.request("one", NAME) == "web-1"
        assert host.request("two", NAME) == "web-2"
        at = f"http://127.0.0.1:8080{NAME}"
        assert host.guest("three", "curl", "-sS", "-H", "Metadata:true", at) == "web-2"
        assert server.counter(COUNTER) == 3
        assert server.counter("openimds_unknown_callers_total") == 0
        assert "169.254.169.254" not in host.shell("ip address")
        code, err = server.stop()
    assert (code, err) == (0, "")


def test_azure_local_answers_at_its_address_in_a_namespace(host: Machine) -> None:
    reach = {"listen": ["netns:one@169.254.169.253:80"]}
    with host.serving({"vms": {"here": {"kind": "azure-local", "reach": reach}}}, *LISTEN):
        at = "http://169.254.169.253/metadata/attested/document?api-version=2018-10-01"
        got = host.guest("one", "curl", "-sS", "-H", "Metadata:true", at)
        assert json.loads(got)["encoding"] == "pkcs7"
        assert "169.254.169.253" not in host.shell("ip address")


def test_line_of_a_vm_in_a_namespace_works_as_shown(host: Machine) -> None:
    (host.folder / "fleet.json").write_text(json.dumps(PAIR))
    in_terminal = (sys.executable, "-c", "import pty, sys; pty.spawn(sys.argv[1:])")
    serve = (*COMMAND, "serve", "--fleet", "fleet.json", *LISTEN, "--public", "none")
    process = host.start(*in_terminal, *serve)
    assert process.stdout
    shown = ""
    while "Ctrl-C ends it." not in shown or "event=server.ready" not in shown:
        line = process.stdout.readline()
        assert line, shown
        shown += line
    lines = re.findall(r"^  (.*curl .*?)\s*$", shown, re.MULTILINE)
    found = [json.loads(host.shell(line))["compute"]["name"] for line in lines]
    assert found == ["web-1", "web-2"], shown
    assert lines[0].startswith("ip netns exec one curl -s -H Metadata:true")
    (pid,) = re.findall(r"event=server\.starting .* pid=(\d+)", shown)
    host.shell(f"kill -INT {pid}")
    process.communicate(timeout=60)


def test_missing_namespace_stops_the_start(host: Machine) -> None:
    (host.folder / "fleet.json").write_text(json.dumps(PAIR))
    host.shell("ip netns delete two")
    ended = host.openimds("serve", "--fleet", "fleet.json", *LISTEN, code=2)
    assert ended.stderr == (
        "openimds: fleet.json: vms.web-2.reach.listen: saw netns:two (/run/netns/two: no such file "
        "or directory), expected a namespace that ip netns list prints. Type ip netns add two\n"
    )


def test_namespace_of_the_server_is_refused(host: Machine) -> None:
    host.shell("ip netns attach me $$")
    (host.folder / "fleet.json").write_text('{"vms": {"a": {"reach": {"listen": ["netns:me"]}}}}')
    ended = host.openimds("serve", "--fleet", "fleet.json", *LISTEN, code=2)
    assert ended.stderr == (
        "openimds: fleet.json: vms.a.reach.listen: saw netns:me, which is the namespace of this "
        "server, expected that of a guest. Write 169.254.169.254:80\n"
    )
    assert "169.254.169.254" not in host.shell("ip address")


NOT_THERE = (
    "cannot assign requested address), expected an address of an interface in it. "
    "Type ip -n NAME address"
)
TAKEN = "address already in use), expected 127.0.0.1:80 to be free in it"


@pytest.mark.parametrize("address, message", [("10.0.0.1:80", NOT_THERE), ("127.0.0.1:80", TAKEN)])
def test_address_that_cannot_be_bound_stops_the_start(
    host: Machine, address: str, message: str
) -> None:
    taken = {"vms": {"a": {"reach": {"listen": ["netns:three@127.0.0.1:80"]}}}}
    with host.serving(taken, *LISTEN):
        more = {"vms": {"b": {"reach": {"listen": [f"netns:three@{address}"]}}}}
        (host.folder / "more.json").write_text(json.dumps(more))
        ended = host.openimds("serve", "--fleet", "more.json", *LISTEN, code=2)
    assert ended.stderr == (
        f"openimds: more.json: vms.b.reach.listen: saw netns:three ({message}\n"
    )


@pytest.mark.parametrize("on", ["lo", "eth0"])
def test_address_may_be_on_an_interface_before(host: Machine, on: str) -> None:
    host.shell(f"""
        ip -n one link add eth0 type veth peer name eth1
        ip -n one link set eth0 up
        ip -n one address add 169.254.169.254/32 dev {on}
    """)
    with host.serving(PAIR, *LISTEN):
        assert host.request("one", NAME) == "web-1"


def test_recreated_namespace_is_served_after_a_reload(host: Machine) -> None:
    with host.serving(PAIR, *LISTEN) as server:
        assert host.request("one", NAME) == "web-1"
        host.shell("ip netns delete one; ip netns add one; ip -n one link set lo up")
        assert host.request("one", NAME) == ""
        server.signal("HUP")
        assert server.next_line() == (
            "openimds: netns:one was recreated; its listener is open again.\n"
        )
        assert host.request("one", NAME) == "web-1"
        assert server.counter(COUNTER) == 2


def line_about(server: NetnsServer, thing: str) -> str:
    """Wait for the line about a thing; the file watcher has lines of its own."""
    while True:
        line = server.next_line().removeprefix("openimds: ")
        if line.startswith(thing):
            return line


def test_recreated_namespace_is_served_after_a_shortage(host: Machine) -> None:
    with host.serving(PAIR, *LISTEN) as server:
        host.shell("ip netns delete one; ip netns add one; ip -n one link set lo up")
        limit = f"prlimit --pid {server.ready['pid']} --nofile"
        before = host.shell(f"{limit} -o SOFT --noheadings").strip()
        host.shell(f"{limit}=3:")
        server.signal("HUP")
        assert line_about(server, "vms.web-1.reach.listen: saw netns:one").endswith(
            "netns:one (/run/netns/one: too many open files), expected free file descriptors, "
            "memory and threads. Raise the limits (LimitNOFILE= and TasksMax= of systemd; "
            "ulimit -Hn, ulimit -Hu); guests in the new namespace get no answer; retrying every "
            "1 s.\n"
        )
        host.shell(f"{limit}={before}:")
        line = line_about(server, "netns:one")
        assert line == "netns:one was recreated; its listener is open again.\n"
        assert host.request("one", NAME) == "web-1"
        assert server.counter("openimds_listener_failures_total") >= 1


ENTER = "operation not permitted), expected the right to enter it (CAP_SYS_ADMIN, CAP_NET_ADMIN)"
PORT = "permission denied), expected the right to that port (CAP_NET_BIND_SERVICE)"


@pytest.mark.parametrize(
    "lacks, message", [("sys_admin", ENTER), ("net_admin", ENTER), ("net_bind_service", PORT)]
)
def test_missing_right_is_named(host: Machine, lacks: str, message: str) -> None:
    # Some systems give port 80 to every user.
    host.shell("ip netns exec one sysctl -qw net.ipv4.ip_unprivileged_port_start=1024")
    fleet = {"vms": {"web-1": {"reach": {"listen": ["netns:one"]}}}}
    (host.folder / "fleet.json").write_text(json.dumps(fleet))
    words = ["setpriv", f"--bounding-set=-{lacks}", f"--inh-caps=-{lacks}", *COMMAND]
    ended = host.run(*words, "serve", "--fleet", "fleet.json", *LISTEN, code=2)
    assert ended.stderr == (
        f"openimds: fleet.json: vms.web-1.reach.listen: saw netns:one ({message}. Run the server "
        "as root, or let systemd open the socket: packaging/systemd/openimds-netns@.socket\n"
    )


def test_shared_listener_may_be_in_namespaces(host: Machine) -> None:
    with host.serving({"vms": {"a": {}}}, "--listen", "netns:one,netns:two") as server:
        assert [host.request(name, NAME) for name in ("one", "two")] == ["a", "a"]
        assert server.ready["imds"] == "http://169.254.169.254:80"
        code, err = server.stop()
    assert (code, err) == (0, "")
    (host.folder / "more.json").write_text('{"vms": {"a": {}}}')
    words = ("serve", "--fleet", "more.json", "--admin", "none")
    ended = host.openimds(*words, "--listen", "netns:one,netns:none", code=2)
    assert ended.stderr.startswith(
        "openimds: listen: saw netns:none (/run/netns/none: no such file"
    )
