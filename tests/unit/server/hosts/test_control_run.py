"""Two controls on one engine in memory: one leads, the other takes over."""

import asyncio
import gc
import time
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from threading import RLock
from typing import Any

import pytest
from cryptography import x509

from openimds.admin import metrics_listener
from openimds.credentials.keys.files import KeyFileError
from openimds.credentials.pki.revocation_register import serial_of
from openimds.credentials.remote.host_documents import leaf_subjects
from openimds.credentials.remote.host_leaves import HostLeaves
from openimds.fleet.store.port import FencedError, StoreError
from openimds.fleet.store.sqlite import MemoryStore
from openimds.server.control import Control
from openimds.server.hosts import control_run, leading
from openimds.server.hosts.control_run import ControlSettings, FleetControl
from openimds.server.hosts.port import HostsPort
from openimds.server.hosts.store_values import StoreValues
from openimds.settings import Settings
from openimds.vm.fleet_file import parse_vm
from tests.support.scraping import scraped
from tests.unit.server.hosts.fleet import until
from tests.unit.server.hosts.test_leading import LeaseRow


class SharedStore(MemoryStore):
    """A store that several controls open; its calls come one at a time."""

    def __init__(self) -> None:
        self._calls = RLock()
        super().__init__()

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith("_") or not callable(found):
            return found

        def call(*arguments: Any) -> Any:
            with self._calls:
                return found(*arguments)

        return call

    def identity(self) -> str:
        return "store-1"

    def close(self) -> None:
        """Stay, for the next control."""


class MemoryEngine(LeaseRow):
    """A lease and a store."""

    def __init__(self) -> None:
        super().__init__()
        self.store, self.failures = SharedStore(), 0
        self.ended: list[FleetControl] = []

    async def end(self, control: FleetControl) -> None:
        """End a control, once."""
        if control not in self.ended:
            self.ended.append(control)
            await control.stop()

    def open_lease(self) -> Any:
        return self.open()

    def open_store(self, epoch: int, writer: str = "fleet") -> SharedStore:
        if self.failures:
            self.failures -= 1
            raise StoreError("the engine ends connections")
        assert epoch == self.epoch
        return self.store


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leading, "RENEW_S", 0.0)
    monkeypatch.setattr(control_run, "_PAUSE_S", 0.0)


Make = Callable[..., FleetControl]


def with_controls(folder: Path, work: Callable[[MemoryEngine, Make], Awaitable[None]]) -> list[str]:
    """Do work with an engine and controls; return their messages."""
    messages: list[str] = []

    async def whole() -> None:
        engine, made = MemoryEngine(), list[FleetControl]()

        def make(name: str, key: bytes = b"k" * 32, **more: Any) -> FleetControl:
            settings = Settings(
                state=str(folder / name), admin="127.0.0.1:0", public="none", **more
            )
            own = ControlSettings("127.0.0.1:0", key)
            made.append(FleetControl(settings, own, engine, messages.append))
            return made[-1]

        try:
            async with asyncio.timeout(30):
                await work(engine, make)
        finally:
            for control in made:
                await engine.end(control)

    asyncio.run(whole())
    return messages


def leads(control: FleetControl) -> bool:
    return control._switch.application is not None


def test_standby_takes_over_when_the_leader_ends(tmp_path: Path) -> None:
    async def work(engine: MemoryEngine, make: Make) -> None:
        first, second = make("c1"), make("c2")
        ready = await first.start()
        assert ready.admin
        await until(lambda: leads(first))
        await second.start()
        await until(lambda: second._leadership.leader_url == ready.admin)
        assert not leads(second)
        assert first._leader
        vm = parse_vm("web", {"host": "a"})
        await first._leader.control.fleet_service.put(vm, "test")
        await first.reload()
        await second.reload()
        await engine.end(first)
        await until(lambda: leads(second))
        assert second._leader
        assert {*second._leader.control.fleet_service.fleet_index.by_name} == {"web"}
        assert second._leader.link.hosts() == {"a": 1}
        roots = [one / "hosts/ca.pem" for one in (tmp_path / "c1", tmp_path / "c2")]
        assert roots[0].read_bytes() == roots[1].read_bytes()

    messages = with_controls(tmp_path, work)
    assert sum("this control leads" in message for message in messages) == 2


def test_next_leader_knows_the_leaves_of_hosts(tmp_path: Path) -> None:
    async def work(engine: MemoryEngine, make: Make) -> None:
        first, second = (make(name, public_url="http://pki.example") for name in ("c1", "c2"))
        await first.start()
        await until(lambda: leads(first))
        assert first._leader
        vm = parse_vm("web", {"host": "a"})
        await first._leader.control.fleet_service.put(vm, "test")
        leaves = HostLeaves(None)
        leaves.want(leaf_subjects([vm]))
        now_s = time.time()
        reply = await first._leader._mint.certify("a", leaves.request(now_s), now_s)
        leaf = x509.load_der_x509_certificate(reply.certificates[0])
        mirrored = engine.store.value("key-files")
        await first._leader._mint.certify("a", leaves.request(now_s), now_s)
        assert engine.store.value("key-files") == mirrored, "for the next leaf"
        await engine.end(first)
        await second.start()
        await until(lambda: leads(second))
        assert second._leader
        ca = second._leader._host.credentials.ca.authority(now_s)
        assert ca.leaves.count_of("a", now_s) == 2
        ca.leaves.note_of_host("a", [], now_s)
        ca.revoke("host:a", "keyCompromise", now_s)
        assert ca.leaves.is_revoked(serial_of(leaf))

    with_controls(tmp_path, work)


def test_values_of_hosts_are_apart_from_others() -> None:
    values = StoreValues(MemoryStore())
    values.put("host-leaves", b"x")
    leaves = values.leaves()
    leaves.put({"a": b"1", "b": b"2"})
    leaves.put({"b": None, "c": b"3"})
    assert leaves.load() == {"a": b"1", "c": b"3"}
    assert values.get("host-leaves/a") == b"1"


def test_control_that_was_replaced_ends(tmp_path: Path) -> None:
    async def work(engine: MemoryEngine, make: Make) -> None:
        control = make("c1")
        await control.start()
        await until(lambda: leads(control))
        engine.give_to("c2")
        with pytest.raises(FencedError):
            await control.failed()
        assert not leads(control)

    with_controls(tmp_path, work)


def test_store_that_fails_at_first_is_tried_again(tmp_path: Path) -> None:
    async def work(engine: MemoryEngine, make: Make) -> None:
        engine.failures = 2
        control = make("c1")
        await control.start()
        # A control that could not lead takes its own lease again.
        while not leads(control):
            engine.held = None
            await asyncio.sleep(0)

    messages = with_controls(tmp_path, work)
    refused = [one for one in messages if "cannot lead yet: the engine ends connections" in one]
    assert len(refused) == 2


def test_hosts_wait_until_the_fleet_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports, load = list[HostsPort](), Control.load

    class SeenPort(HostsPort):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            ports.append(self)

    async def load_late(control: Control) -> None:
        port = ports[-1]
        assert not port._accepting.done()
        assert port.make_session is None
        if len(ports) == 1:
            raise StoreError("the engine ends connections")
        await load(control)

    monkeypatch.setattr(control_run, "HostsPort", SeenPort)
    monkeypatch.setattr(Control, "load", load_late)

    async def work(engine: MemoryEngine, make: Make) -> None:
        control = make("c1")
        await control.start()
        while not leads(control):
            engine.held = None
            await asyncio.sleep(0)
        failed, port = ports
        assert failed._accepting.done()
        assert port.make_session

    messages = with_controls(tmp_path, work)
    assert any("cannot lead yet: the engine ends connections" in one for one in messages)


def test_another_key_file_ends_the_control(tmp_path: Path) -> None:
    async def work(engine: MemoryEngine, make: Make) -> None:
        first = make("c1")
        await first.start()
        await until(lambda: leads(first))
        await engine.end(first)
        second = make("c2", b"x" * 32)
        await second.start()
        with pytest.raises(KeyFileError, match="--key-file"):
            await second.failed()

    with_controls(tmp_path, work)


def test_ended_term_keeps_no_index_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[Any] = []
    follow = Control.follow_fleet_file

    async def work(engine: MemoryEngine, make: Make) -> None:
        begun = asyncio.Event()

        def fail_once(control: Control) -> None:
            if not ended:
                ended.append(weakref.ref(control.fleet_service))
                engine.held = None
                raise StoreError("the engine ends connections")
            follow(control)
            begun.set()

        monkeypatch.setattr(Control, "follow_fleet_file", fail_once)
        await make("c1").start()
        await asyncio.wait_for(begun.wait(), 10)
        gc.collect()
        assert ended[0]() is None

    with_controls(tmp_path, work)


def test_metrics_listener_outlives_the_terms_of_a_control(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_listener, "FRESH_S", -1.0)
    lost = {"openimds_log_lines_lost": {("control",): 2.0}}
    monkeypatch.setattr(control_run, "log_samples", lambda *_: lost)

    async def work(engine: MemoryEngine, make: Make) -> None:
        first, second = (make(name, metrics="127.0.0.1:0") for name in ("c1", "c2"))
        urls = [(await control.start()).metrics or "" for control in (first, second)]
        await until(lambda: leads(first))
        of_leader, of_standby = [await scraped(url) for url in urls]
        assert of_leader["openimds_control_leads",] == 1
        assert of_leader["openimds_port_connections", "metrics"] == 1
        assert of_leader["openimds_port_connections", "admin"] == 0
        assert ("openimds_process_threads", "control") in of_leader
        assert of_standby["openimds_control_leads",] == 0
        assert of_standby["openimds_port_connections", "metrics"] == 1
        assert of_standby["openimds_port_connections", "admin"] == 0
        assert of_standby["openimds_log_lines_lost_total", "control"] == 2
        assert ("openimds_vms",) not in of_standby
        await engine.end(first)
        await until(lambda: leads(second))
        assert (await scraped(urls[1]))["openimds_control_leads",] == 1

    with_controls(tmp_path, work)
