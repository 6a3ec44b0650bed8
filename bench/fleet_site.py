"""A site of many hosts: PostgreSQL, controls, host processes and streams, on loopback."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import mkdtemp
from typing import IO

from cryptography import x509

from bench import fleets
from bench.changes import AdminClient
from bench.servers import Address, Server, free_port, read_ready, running
from openimds.credentials.hosts.authority import HostsCa
from openimds.credentials.hosts.host_certificates import new_host_key
from openimds.credentials.hosts.identity import HOST, IDENTITY
from openimds.credentials.hosts.register import KEY, HostEntry, HostRegister
from openimds.credentials.keys.holders import Holder, write_holder
from openimds.fleet.store.port import EventBatch
from openimds.server.hosts.engine import PostgresEngine
from tests.support.postgres import PostgresCluster

_LOOPBACK = "127.0.0.1"
_PATIENCE_S = 120.0


class Site:
    """An engine, certified hosts, VMs on them, one set over all hosts."""

    def __init__(self, folder: Path, cluster: PostgresCluster, hosts: int, each: int) -> None:
        """Make the certificates, the register, and a fleet file."""
        self.folder, self.cluster, self.hosts, self.each = folder, cluster, hosts, each
        self.store = f"postgresql://openimds@/postgres?host={cluster.folder}"
        self.key, self.fleet = folder / "key", folder / "fleet.json"
        self.port = free_port()
        self.key.write_text(secrets.token_hex(32), "ascii")
        self.key.chmod(0o600)
        self._certify()
        value = fleets.value(hosts * each, has_identities=True)
        for number, vm in enumerate(value["vms"].values()):
            vm["host"] = f"h-{number // each}"
            if number % each == 0:
                vm["availabilitySet"] = "everywhere"
        self.fleet.write_text(json.dumps(value), "utf-8")

    def _certify(self) -> None:
        """Let every host have joined: the joins themselves are not measured."""
        now_s = time.time()
        state = self.folder / "control-0"
        state.mkdir(mode=0o700)
        authority, key = HostsCa.open(state, now_s), new_host_key()
        above = tuple(x509.load_pem_x509_certificates(authority.roots(now_s)))
        entries: dict[str, HostEntry] = {}
        for number in range(self.hosts):
            name = f"h-{number}"
            made = authority.sign(name, key.public_key(), now_s)
            entry = HostRegister({name: HostEntry(name, "invited", now_s)})
            entries |= entry.join(name, made, now_s).hosts
            home = self.folder / name / HOST
            home.mkdir(parents=True, mode=0o700)
            home.parent.chmod(0o700)
            write_holder(
                home / IDENTITY, Holder(key, x509.load_der_x509_certificate(made.der), above)
            )
        register = HostRegister(entries)
        engine = PostgresEngine(self.store)
        lease = engine.open_lease()
        epoch = lease.take("bench", "", 60.0)
        assert epoch is not None
        store = engine.open_store(epoch)
        store.write_events(EventBatch(values={KEY: register.to_bytes()}))
        store.close()
        lease.release()
        lease.close()

    @contextmanager
    def control(self, number: int = 0, port: int = 0) -> Iterator[Server]:
        """Run a control; it may stand by."""
        state = self.folder / f"control-{number}"
        command = (
            *(sys.executable, "-m", "openimds", "control", "run", "--store", self.store),
            *("--key-file", str(self.key), "--state", str(state), "--fleet", str(self.fleet)),
            *("--admin", f"{_LOOPBACK}:0", "--public", "none"),
            *("--hosts", f"{_LOOPBACK}:{port or self.port}"),
        )
        home = Path(mkdtemp(dir=self.folder))
        with running(command, None, str(home)) as process:
            ready = read_ready(process, home)
            host, _, admin = ready["admin"].rpartition("//")[2].rpartition(":")
            yield Server(process, Address(host, int(admin)), 0.0, ready)

    @contextmanager
    def host(self, number: int) -> Iterator[Server]:
        """Run a host process, ready with all its VMs."""
        name = f"h-{number}"
        state = self.folder / name
        command = (
            *(sys.executable, "-m", "openimds", "host", "run", "--name", name),
            *("--control", f"{_LOOPBACK}:{self.port}", "--state", str(state)),
            *("--listen", f"{_LOOPBACK}:0", "--no-rate-limit"),
        )
        home = Path(mkdtemp(dir=self.folder))
        start = time.perf_counter()
        with running(command, None, str(home)) as process:
            ready = read_ready(process, home)
            ready_s = time.perf_counter() - start
            address, _, port = ready["imds"].rpartition("//")[2].rpartition(":")
            yield Server(process, Address(address, int(port)), ready_s, ready)

    @contextmanager
    def streams(self, first: int, count: int) -> Iterator["StreamsProcess"]:
        """Run a process with a stream for each of some hosts."""
        arguments = (str(self.port), str(self.folder), str(first), str(count))
        command = (sys.executable, "-m", "bench.fleet_streams", *arguments)
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                yield StreamsProcess(process)
            finally:
                process.kill()


class StreamsProcess:
    """The process of `bench.fleet_streams`."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        """Wait until it is ready."""
        assert process.stdin
        assert process.stdout
        self._in: IO[str] = process.stdin
        self._out: IO[str] = process.stdout
        assert self._out.readline() == "ready\n"

    def connect(self) -> tuple[float, int]:
        """Connect all; return the seconds until the last has all, and the VMs sent."""
        start_s = time.time()
        self._in.write("\n")
        self._in.flush()
        at_s, vms = self.synced()
        return at_s - start_s, vms

    def synced(self) -> tuple[float, int]:
        """Wait until all have all; return when, and the VMs sent."""
        at_s, vms = self._next("synced")
        return float(at_s), int(vms)

    def event_s(self) -> float:
        """Wait until the last has the next incarnation; return when."""
        _, at_s = self._next("event")
        return float(at_s)

    def _next(self, kind: str) -> tuple[str, str]:
        while line := self._out.readline().split():
            if line[0] == kind:
                return line[1], line[2]
        raise RuntimeError("the process of streams has ended")


@contextmanager
def site(hosts: int, each: int) -> Iterator[Site]:
    """Make a site, and remove it after the block."""
    folder, cluster = Path(mkdtemp(prefix="openimds-fleet-")), PostgresCluster(is_fast=False)
    try:
        yield Site(folder, cluster, hosts, each)
    finally:
        cluster.stop(signal.SIGQUIT)
        shutil.rmtree(cluster.folder)
        shutil.rmtree(folder)


def admin_of(control: Server) -> AdminClient:
    """Return a client of a control, once it leads.

    Raises:
        RuntimeError: it does not for long.
    """
    end_s = time.perf_counter() + _PATIENCE_S
    while time.perf_counter() < end_s:
        with suppress(OSError, HTTPException):
            http = HTTPConnection(*control.address, timeout=5)
            http.request("GET", "/readyz")
            status = http.getresponse().status
            http.close()
            if status == 200:  # noqa: PLR2004 - ready
                return AdminClient.of(control)
        time.sleep(0.02)
    raise RuntimeError("the control does not lead")


def kill(server: Server) -> None:
    """End a process of a server at once."""
    os.kill(server.pids()[0], signal.SIGKILL)
