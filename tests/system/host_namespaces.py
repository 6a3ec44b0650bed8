"""Machines of a fleet in namespaces: an engine, controls, hosts and their guests.

A private machine (`machine`) stands for the network between them. Each of them has a network,
mounts and a host name of its own, and a bridge of the private machine joins them. The engine is a
PostgreSQL on db-1. Each guest is a namespace, which a veth joins to the bridge of its host: its end
there is the guest's tap. Terminals on the machines find two programs of the tests: `ssh` runs a
command on another machine, `virsh migrate` takes the tap of a guest to another host.
"""

import json
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.postgres import programs, skip
from tests.support.waiting import until
from tests.system.machine import Machine, machine
from tests.system.process import next_line

CONTROLS, HOSTS = ("control-1", "control-2"), ("host-1", "host-2", "host-3")
ENGINE = "db-1"
STORE = f"postgresql://openimds@{ENGINE}/openimds"
GATEWAY, GATEWAY_MAC = "10.0.0.1", "02:00:00:00:00:01"
"""Those of the bridge of each host: a guest that moves finds the same gateway."""
_NETWORK = "10.20.0"
_ADDRESSES = {name: f"{_NETWORK}.{n}" for n, name in enumerate((ENGINE, *CONTROLS, *HOSTS), 10)}
_READY_S = 30.0

_MACHINE = """
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=755 tmpfs /var/lib
mkdir /run/netns
mount --bind "$1/names" /etc/hosts
hostname "$2"
ip link set lo up
echo $$
exec sleep infinity
"""
_JOIN = """
ip link add {name} type veth peer name eth0 netns {pid}
ip link set {name} master lan up
{enter} ip address add {address}/24 dev eth0
{enter} ip link set eth0 up
"""
_BRIDGE = f"""
for x in iptables ip6tables arptables; do
  [ ! -e /proc/sys/net/bridge ] || sysctl -qw net.bridge.bridge-nf-call-$x=0
done
ip link add br0 type bridge
ip link set br0 address {GATEWAY_MAC}
ip address add {GATEWAY}/24 dev br0
ip link set br0 up
"""
_GUEST = f"""
ip netns add {{name}}
ip link add {{tap}} type veth peer name eth0 netns {{name}} address {{mac}}
ip -n {{name}} link set lo up
ip -n {{name}} link set eth0 up
ip -n {{name}} address add {{address}}/24 dev eth0
ip -n {{name}} route add default via {GATEWAY}
ip link set {{tap}} netns {{pid}}
{{enter}} ip link set {{tap}} master br0 up
"""
_SSH = """#!/bin/sh -e
name=$1; shift
pid=$(cat {folder}/pids/$name)
exec nsenter -t $pid -n -m -u -- env -C {folder}/$name HOME={folder}/$name sh -c "$*"
"""
_VIRSH = """#!/bin/sh -e
[ "$1 $2" = "migrate --live" ]
host=${{4#qemu+ssh://}}; host=${{host%/system}}
{clock}
ip link set tap-$3 netns $(cat {folder}/pids/$host)
ssh $host "ip link set tap-$3 master br0 up; {clock}"
"""
_CLOCK = f"{sys.executable} -c 'import time; print(time.monotonic())'"
"""The time before a tap leaves and after it came, by the clock of the polling guest."""
_DATABASE = """
{postgres} --single -D data postgres <<'END' > single.log 2>&1
CREATE DATABASE openimds
END
echo 'host openimds openimds {network}.0/24 trust' >> data/pg_hba.conf
"""
_CERTIFICATE = f"""
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={ENGINE} \\
  -addext subjectAltName=DNS:{ENGINE} -keyout data/server.key -out data/server.crt
chmod 600 data/server.key
cp data/server.crt {ENGINE}.crt
"""


class Terminal:
    """A shell on a machine, in which a test types one thing after another."""

    def __init__(self, on: Machine, folder: Path, enter: Iterable[str]) -> None:
        """Begin in a folder, which has the output of what is typed."""
        self._folder, self._count = folder, 0
        self._process = on.start(*enter, "sh", "-e")

    def type(self, text: str, ready: str = "") -> str:
        """Type lines, and return their output, also that of stderr.

        Lines of which each is there until it is ended are left running; `ready` is a part of the
        output that comes once they work.
        """
        self._count += 1
        out = self._folder / f"{self._count}.out"
        line = f"{{\n{text}\n}} < /dev/null > {out} 2>&1; echo typed\n"
        assert self._process.stdin
        self._process.stdin.write(line)
        self._process.stdin.flush()
        assert self._process.stdout
        try:
            answer = next_line(self._process.stdout.fileno())
        except AssertionError:
            raise AssertionError(f"{text}: {out.read_text()}") from None
        assert answer == "typed\n", answer
        if ready:
            until(lambda: ready in out.read_text(), _READY_S)
        return out.read_text()

    def close(self) -> None:
        """End the shell, and leave what it has started."""
        self._process.kill()
        self._process.communicate()


class HostNamespaces:
    """The engine, the controls and the hosts, each on a machine of its own."""

    def __init__(self, on: Machine) -> None:
        """Build nothing yet; `build` does."""
        self._on, self.folder = on, on.folder
        self._holders: list[subprocess.Popen[str]] = []
        self._pids: dict[str, str] = {}
        self._terminals: dict[str, Terminal] = {}

    def build(self) -> None:
        """Build the machines and the network between them, and start the engine."""
        (self.folder / "pids").mkdir()
        names = [f"{address} {name}" for name, address in _ADDRESSES.items()]
        (self.folder / "names").write_text("\n".join(("127.0.0.1 localhost", *names, "")))
        for name, text in (("ssh", _SSH), ("virsh", _VIRSH)):
            program = self.folder / "bin" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(text.format(folder=self.folder, clock=_CLOCK))
            program.chmod(0o755)
        self._on.shell("ip link add lan type bridge; ip link set lan up")
        for name, address in _ADDRESSES.items():
            self._build(name, address)
        for name in HOSTS:
            self.run(name, "sh", "-ec", _BRIDGE)
        self._start_engine()

    def _build(self, name: str, address: str) -> None:
        (self.folder / name).mkdir()
        words = ("unshare", "-nmu", "sh", "-ec", _MACHINE, "sh", str(self.folder), name)
        holder = self._on.start(*words)
        self._holders.append(holder)
        assert holder.stdout
        pid = next_line(holder.stdout.fileno()).strip()
        assert pid.isdecimal(), pid + holder.stdout.read()
        self._pids[name] = pid
        (self.folder / "pids" / name).write_text(pid)
        enter = f"nsenter -t {pid} -n"
        self._on.shell(_JOIN.format(name=name, pid=pid, enter=enter, address=address))

    def _enter(self, name: str) -> tuple[str, ...]:
        """Return the words before a command on a machine, or in a guest."""
        home = self.folder / name
        path = f"{self.folder}/bin:{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin"
        environment = ("env", "-C", str(home), f"HOME={home}", f"PATH={path}")
        if name in self._pids:
            into: tuple[str, ...] = ("nsenter", "-t", self._pids[name], "-n", "-m", "-u", "--")
        else:
            into = ("ip", "netns", "exec", name)
        return (*into, *environment)

    def run(self, name: str, *command: str, code: int | None = 0) -> str:
        """Run a command on a machine or in a guest; return its stdout."""
        return self._on.run(*self._enter(name), *command, code=code).stdout

    def start(self, name: str, *command: str) -> "subprocess.Popen[str]":
        """Start a command that ends when its stdin does."""
        return self._on.start(*self._enter(name), *command)

    def terminal(self, name: str) -> Terminal:
        """Return the terminal on a machine, or in a guest."""
        if name not in self._terminals:
            place = self.folder / name / "terminal"
            place.mkdir()
            self._terminals[name] = Terminal(self._on, place, self._enter(name))
        return self._terminals[name]

    def is_bound(self, host: str, vm: str) -> bool:
        """Tell whether the host rules of a machine bind a VM."""
        words = ("openimds", "host", "status", "--json")
        guests = json.loads(self.run(host, *words, code=None))["guests"]
        return any(guest["vm"] == vm for guest in guests)

    def add_guest(self, name: str, host: str, tap: str, mac: str, address: str) -> None:
        """Begin a guest on a host."""
        (self.folder / name).mkdir()
        pid = self._pids[host]
        words = {"name": name, "tap": tap, "mac": mac, "address": address, "pid": pid}
        self._on.shell(_GUEST.format(**words, enter=f"nsenter -t {pid} -n"))

    def _start_engine(self) -> None:
        """Start a PostgreSQL on its machine, with a database and a user."""
        binaries = programs()
        if binaries is None:
            skip("PostgreSQL is not installed: type apt-get install postgresql")
        # PostgreSQL refuses root, and wants a user that has a name.
        user = pwd.getpwnam("postgres")
        other = f"unshare -U --map-user={user.pw_uid} --map-group={user.pw_gid}"
        postgres = f"{other} {binaries}/postgres"
        terminal = self.terminal(ENGINE)
        options = "--no-sync --auth=trust --username=openimds --encoding=UTF8 --locale=C"
        terminal.type(f"{other} {binaries}/initdb {options} -D data")
        terminal.type(_DATABASE.format(postgres=postgres, network=_NETWORK))
        terminal.type(_CERTIFICATE)
        for control in CONTROLS:
            shutil.copy(self.folder / ENGINE / f"{ENGINE}.crt", self.folder / control)
        settings = {
            "ssl": "on",
            "listen_addresses": _ADDRESSES[ENGINE],
            "unix_socket_directories": "",
            "fsync": "off",
            "shared_buffers": "16MB",
        }
        words = " ".join(f"-c {name}={value}" for name, value in settings.items())
        terminal.type(f"{postgres} -D data {words} &", "ready to accept connections")

    def close(self) -> None:
        """Leave the terminals, after everything on the machines has ended."""
        for terminal in self._terminals.values():
            terminal.close()
        for holder in self._holders:
            holder.kill()
            holder.communicate()


@contextmanager
def host_namespaces(folder: Path) -> Iterator[HostNamespaces]:
    """Build the machines with an engine, or skip the test where that is impossible."""
    if programs() is None:
        skip("PostgreSQL is not installed: type apt-get install postgresql")
    with ExitStack() as afterwards, machine(folder, "nft", "hostname", "openssl") as private:
        built = HostNamespaces(private)
        afterwards.callback(built.close)
        built.build()
        yield built


def guest_of(name: str, row: Mapping[str, object]) -> tuple[str, str, str, str, str]:
    """Return the words of `add_guest` for a VM of a fleet file."""
    reach = row["reach"]
    assert isinstance(reach, dict)
    (address,) = reach["address"]
    return name, str(row["host"]), reach["interface"], reach["mac"], address
