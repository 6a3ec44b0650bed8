"""A fleet of hosts: real processes, one engine, and each part of it killed.

`OPENIMDS_FLEET_KILLS=100` runs the long form of the last test.
"""

import asyncio
import os
import random
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from openimds import __version__
from openimds.credentials.hosts.identity import HostIdentity
from openimds.credentials.pki.certificates import LeafSubject
from openimds.credentials.remote.host_leaves import HostLeaves
from openimds.errors import Error
from openimds.facts.clouds import CLOUDS, PUBLIC
from openimds.facts.confidential import REPORT_BYTES
from openimds.fleet.vm_entry import unpack
from openimds.protocol.attested_document import facts_of
from openimds.protocol.pending import (
    AccessToken,
    Failed,
    PendingApproval,
    PendingDocument,
    PendingEndorsement,
    PendingQuote,
    PendingToken,
)
from openimds.server.hosts.connecting import connect
from openimds.server.hosts.digests import digest_of_all
from openimds.server.hosts.messages import Certify, Hello, Make, PutVms, Shown
from openimds.server.seam.channel import Channel
from openimds.server.seam.messages import Approve, SeamMessage
from openimds.vm.defaults import text_at
from openimds.vm.identities import principals
from openimds.vm.types import Vm
from tests.support.log_lines import sentences
from tests.support.waiting import until
from tests.system.fleet_of_hosts import (
    COMPUTE,
    EVENTS,
    NAME,
    ControlProcess,
    FleetOfHosts,
    FleetProcess,
    HostProcess,
    seconds_until,
)

pytestmark = pytest.mark.system

KILLS = int(os.environ.get("OPENIMDS_FLEET_KILLS", "10"))
MOST_WRITES = 20
TAKE_OVER_S = 15.0
"""Three times the bound of the product: this machine does other work."""
HOSTS = ("host-1", "host-2", "host-3")
DOMAIN = CLOUDS[PUBLIC].domain
TOKEN = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net"
VICTIMS = ("leader", "controls", "host", "engine")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetOfHosts]:
    made = FleetOfHosts(tmp_path_factory.mktemp("fleet"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


class Probe:
    """Guests that ask all the time; each failure to connect or answer is a failure."""

    def __init__(self, guests: list[tuple[HostProcess, str, str]]) -> None:
        self._guests, self.asked = guests, Counter[str]()
        self._is_over = threading.Event()

    def ask_until_the_end(self) -> None:
        clients = [(name, host.guest(address)) for host, address, name in self._guests]
        try:
            while not self._is_over.is_set():
                for name, client in clients:
                    answer = client.get(NAME)
                    assert (answer.status_code, answer.text) == (200, name)
                    client.get(EVENTS).raise_for_status()
                    self.asked[name] += 1
        finally:
            for _, client in clients:
                client.close()

    @contextmanager
    def running(self) -> Iterator[None]:
        with ThreadPoolExecutor(1) as thread:
            asking = thread.submit(self.ask_until_the_end)
            try:
                yield
            finally:
                self._is_over.set()
                asking.result(60)


def test_vm_is_visible_on_its_host_alone(fleet: FleetOfHosts) -> None:
    address = fleet.address()
    for host in HOSTS:
        fleet.put(f"own-{host}", host, address)
    fleet.settle()
    assert [fleet.hosts[host].name_at(address) for host in HOSTS] == [
        f"own-{host}" for host in HOSTS
    ]


def test_killed_leader_is_replaced_within_seconds(fleet: FleetOfHosts) -> None:
    address, host = fleet.address(), fleet.hosts["host-1"]
    fleet.put("led", "host-1", address)
    fleet.settle()
    leader = fleet.leader()
    (standby,) = (control for control in fleet.controls if control is not leader)
    refused = standby.ask("GET", "/v1/vms")
    assert refused is not None
    assert refused.status_code == 503
    assert f"at http://{leader.admin}" in refused.json()["detail"]
    leader.kill()
    try:
        took_s = seconds_until(lambda: bool(fleet.leader()))
        assert fleet.leader() is standby
        fleet.change("PATCH", "/v1/vms/led", {"compute": {"vmSize": "n1"}})
        until(lambda: fleet.shows("led"))
        assert size_at(host, address) == "n1"
    finally:
        leader.keep()
        leader.wait()
    sys.stdout.write(f"take-over: {took_s:.1f} s\n")
    assert took_s < TAKE_OVER_S


def size_at(host: HostProcess, address: str) -> str:
    with host.guest(address) as guest:
        size: str = guest.get(COMPUTE).raise_for_status().json()["vmSize"]
    return size


def test_guests_are_served_without_engine_and_controls(fleet: FleetOfHosts) -> None:
    guests = [(fleet.hosts[host], fleet.address(), f"kept-{host}") for host in HOSTS]
    for host, (_, address, name) in zip(HOSTS, guests, strict=True):
        fleet.put(name, host, address)
    fleet.settle()
    probe = Probe(guests)
    with probe.running():
        fleet.engine.stop(signal.SIGQUIT)
        for control in fleet.controls:
            control.kill()
        for control in fleet.controls:
            control.start()
        until(lambda: all(map(stands_by, fleet.controls)))
        asked = probe.asked.copy()
        until(lambda: all(probe.asked[name] > asked[name] + 3 for _, _, name in guests))
        fleet.engine.start()
        fleet.settle()
        found = fleet.standings()
        assert {name: found[name]["sentVms"] for name in HOSTS} == dict.fromkeys(HOSTS, 0)
        last, address, name = guests[-1]
        fleet.change("POST", "/v1/events", {"type": "Reboot", "vms": [name], "inS": 3600})
        until(lambda: event_count(last, address) == 1)


def stands_by(control: ControlProcess) -> bool:
    """Tell whether a control answers that it does not lead."""
    answer = control.ask("GET", "/readyz")
    return answer is not None and answer.status_code == 503


def event_count(host: HostProcess, address: str) -> int:
    with host.guest(address) as guest:
        return len(guest.get(EVENTS).raise_for_status().json()["Events"])


def test_revoked_host_gets_nothing_and_serves_on(fleet: FleetOfHosts) -> None:
    address, host = fleet.address(), fleet.add_host("host-4")
    try:
        fleet.put("revoked", "host-4", address)
        until(lambda: fleet.is_settled("host-4"))
        fleet.change("DELETE", "/v1/hosts/host-4")
        fleet.change("PATCH", "/v1/vms/revoked", {"compute": {"vmSize": "n1"}})
        leader = fleet.leader()
        refused = 'a host is refused: host "host-4" was revoked'
        until(lambda: refused in sentences(leader.err.read_text()))
        standing = fleet.standings()["host-4"]
        assert (standing["state"], standing["isConnected"]) == ("revoked", False)
        assert size_at(host, address) == "n0"
        until(lambda: "was revoked" in host.err.read_text())
    finally:
        host.kill()
        del fleet.hosts["host-4"]


def test_stolen_certificate_opens_its_own_vms_alone(fleet: FleetOfHosts) -> None:
    own, other = fleet.address(), fleet.address()
    identities = {"system": True}
    fleet.put("of-the-thief", "host-1", own, identities=identities)
    fleet.put("of-another", "host-2", other, identities=identities)
    fleet.settle()
    fleet.change("POST", "/v1/events", {"type": "Reboot", "vms": ["of-another"], "inS": 3600})
    (event,) = events_of(fleet, "of-another")
    host, leader = fleet.hosts["host-1"], fleet.leader()
    host.kill()
    try:
        stolen = host.state.with_name("stolen")
        shutil.copytree(host.state, stolen)
        shown = asyncio.run(steal(leader.hosts, HostIdentity.open(stolen), event["id"]))
    finally:
        host.keep()
        host.wait()
    assert "of-the-thief" in shown
    assert not {"of-another", "own-host-2"} & shown.keys()
    assert [one["status"] for one in events_of(fleet, "of-another")] == ["Scheduled"]


def events_of(fleet: FleetOfHosts, vm: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = fleet.change("GET", f"/v1/events?vm={vm}")["items"]
    return items


async def steal(control: str, identity: HostIdentity, event: str) -> dict[str, Vm]:
    """Follow control by a stolen certificate; return the VMs that are shown."""
    shown, has_all = dict[str, Vm](), asyncio.Event()

    async def answer(message: SeamMessage) -> Any:
        if isinstance(message, PutVms):
            shown.update((vm.name, unpack(vm.packed)) for vm in message.puts)
        elif isinstance(message, Shown):
            has_all.set()
        return None if message.result is None else {}

    channel = await connect(control, identity.context(), answer)
    reading = asyncio.create_task(channel.run())
    reading.add_done_callback(lambda _: has_all.set())
    async with asyncio.timeout(30):
        await channel.call(Hello((1,), __version__, "", 0, digest_of_all({})))
        await has_all.wait()
        need = PendingApproval("of-another", "vm:of-another", (event,))
        with pytest.raises(Error, match="of-another is not placed on the host host-1"):
            await channel.call(Approve(need))
        await misuse(channel, shown["of-the-thief"])
    channel.close()
    await asyncio.wait({reading})
    return shown


async def misuse(channel: Channel, vm: Vm) -> None:
    """Ask as a thief: control makes what is of that VM, and no defect."""
    (own,) = principals(vm)
    token = PendingToken(vm.name, vm.cloud, own, "https://vault.azure.net")
    assert isinstance(await channel.call(Make(token)), AccessToken)
    forged = msgspec.structs.replace(own, source="forge:wrong-audience")
    region = text_at(vm, "compute.location")
    document = PendingDocument(
        vm.name, "2021-02-01", "1", DOMAIN, region, ("nonce", "vmId"), facts_of(vm), "new-root"
    )
    for need, key in (
        (msgspec.structs.replace(token, vm="of-another"), "server_error"),
        (msgspec.structs.replace(token, identity=forged), "identity_not_found"),
        (document, "server_error"),
        (PendingQuote(vm.name, bytes(REPORT_BYTES)), "server_error"),
        (PendingEndorsement(vm.name, "Genoa", bytes(64), 1), "server_error"),
    ):
        assert await channel.call(Make(need)) == Failed(key)
    leaves = HostLeaves(None)
    subjects = [LeafSubject(DOMAIN, one) for one in (region, "nowhere")]
    leaves.want(subjects)
    now_s = time.time()
    request = leaves.request(now_s)
    leaves.accept(request, await channel.call(Certify(request)), now_s)
    assert [leaves.has(one, now_s) for one in subjects] == [True, False]


def test_tokens_survive_a_restart_of_their_host(fleet: FleetOfHosts) -> None:
    address, host = fleet.address(), fleet.add_host("host-5")
    try:
        fleet.put("kept-token", "host-5", address, identities={"system": True})
        until(lambda: fleet.is_settled("host-5"))
        before = token_at(host, address)
        until(lambda: any((host.state / "tokens").glob("*")))
        host.kill()
        host.start()
        host.wait()
        assert token_at(host, address) == before
    finally:
        host.kill()
        del fleet.hosts["host-5"]


def token_at(host: HostProcess, address: str) -> str:
    with host.guest(address) as guest:
        token: str = guest.get(TOKEN).raise_for_status().json()["access_token"]
    return token


def test_moving_vm_is_served_at_every_moment(fleet: FleetOfHosts) -> None:
    address, path = fleet.address(), "/v1/vms/moving"
    source, target = fleet.hosts["host-1"], fleet.hosts["host-2"]
    fleet.put("moving", "host-1", address)
    fleet.settle()
    assert (source.name_at(address), target.name_at(address)) == ("moving", "404")
    is_over, seen = threading.Event(), Counter[tuple[str, str]]()

    def poll() -> None:
        while not is_over.is_set():
            # The source first: once it knows the VM no longer, the target has known it for long.
            seen[source.name_at(address), target.name_at(address)] += 1

    with ThreadPoolExecutor(1) as thread:
        polling = thread.submit(poll)
        try:
            until(lambda: seen["moving", "404"] > 2)
            fleet.change("PATCH", path, {"nextHost": "host-2"})
            until(lambda: fleet.shows("moving"))
            until(lambda: seen["moving", "moving"] > 2)
            fleet.change("PATCH", path, {"host": "host-2", "nextHost": None})
            until(lambda: seen["404", "moving"] > 2)
        finally:
            is_over.set()
        polling.result(60)
    assert ("404", "404") not in seen
    assert {part for pair in seen for part in pair} == {"moving", "404"}


class FleetWriter:
    """Puts VMs on hosts; what was acknowledged, and what may have been made."""

    def __init__(self, fleet: FleetOfHosts, chance: random.Random) -> None:
        self.fleet, self.chance, self.number = fleet, chance, 0
        self.addresses = {f"killed-{n}": fleet.address() for n in range(6)}
        self.known: dict[str, tuple[int, str]] = {}
        self.possible: dict[str, set[tuple[int, str]]] = {}
        self.acknowledged, self.is_over = 0, threading.Event()
        self.written = threading.Semaphore(0)

    def write_until_the_end(self) -> None:
        try:
            while not self.is_over.is_set():
                self._write()
        finally:
            self.written.release(10_000)

    def _write(self) -> None:
        self.number += 1
        name, host = self.chance.choice(sorted(self.addresses)), self.chance.choice(HOSTS)
        body = {
            "host": host,
            "reach": {"address": [self.addresses[name]]},
            "compute": {"vmSize": f"n{self.number}"},
        }
        state = (self.number, host)
        for control in self.fleet.controls:
            answer = control.ask("PUT", f"/v1/vms/{name}", body)
            if answer is not None and answer.status_code < 300:
                self.known[name], self.possible[name] = state, {state}
                self.acknowledged += 1
                self.written.release()
                return
            self.possible.setdefault(name, set()).add(state)
        self.is_over.wait(0.05)  # No control leads: leave the processor to those that start.

    def check(self) -> None:
        """Compare store and guests with the acknowledged changes."""
        for name, possible in self.possible.items():
            vm = self.fleet.change("GET", f"/v1/vms/{name}")
            state = (int(vm["compute"]["vmSize"][1:]), vm["host"])
            assert state in possible, (name, state, self.known.get(name), possible)
            for host in HOSTS:
                shown = self.fleet.hosts[host].name_at(self.addresses[name])
                assert shown == (name if host == state[1] else "404")
            size = size_at(self.fleet.hosts[state[1]], self.addresses[name])
            assert size == f"n{state[0]}"


def restart(process: FleetProcess) -> None:
    process.kill()
    process.start()


def test_acknowledged_changes_survive_kills_of_every_part(fleet: FleetOfHosts) -> None:
    chance = random.Random(20261130)
    writer, deaths = FleetWriter(fleet, random.Random(chance.getrandbits(32))), Counter[str]()
    with ThreadPoolExecutor(1) as thread:
        writing = thread.submit(writer.write_until_the_end)
        try:
            victims = chance.sample(VICTIMS, KILLS, counts=[KILLS] * len(VICTIMS))
            for victim in (*VICTIMS, *victims)[:KILLS]:
                for _ in range(chance.randrange(1, MOST_WRITES)):
                    assert writer.written.acquire(timeout=60)
                deaths[victim] += 1
                kill(fleet, victim, chance)
        finally:
            writer.is_over.set()
        writing.result(60)
    for process in (*fleet.controls, *fleet.hosts.values()):
        process.wait()
    fleet.settle()
    writer.check()
    assert writer.acknowledged > KILLS
    sys.stdout.write(f"deaths: {dict(deaths)}; acknowledged: {writer.acknowledged}\n")


def kill(fleet: FleetOfHosts, victim: str, chance: random.Random) -> None:
    match victim:
        case "leader":
            restart(fleet.leader())
        case "controls":
            for control in fleet.controls:
                control.kill()
            for control in fleet.controls:
                control.start()
        case "host":
            restart(fleet.hosts[chance.choice(HOSTS)])
        case _:
            fleet.engine.stop(signal.SIGQUIT)
            fleet.engine.start()
