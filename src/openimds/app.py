"""The composition root: the only module that knows every room."""

import asyncio
import gc
import resource
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from msgspec import Struct

from openimds.errors import ConfigError
from openimds.model.capture import capture
from openimds.model.fleet import fleet
from openimds.model.text import decode
from openimds.model.vm import Vm
from openimds.spec.versions import GENERAL, Catalog, catalog
from openimds.view.picture import Allowance, Allowances
from openimds.wire.listen import Listener, listen
from openimds.wire.plane import Bounds, Plane, WirePicture

DEFAULT_VM = "vm-1"
"""The name of the VM that is served when nobody names one."""

_SWEEP_S = 1.0
_DRAIN_S = 5.0
_MIB = 1 << 20

Tell = Callable[[str], None]
"""Says a sentence to the operator."""


class Config(Struct, frozen=True):
    """Everything that `serve` needs, checked."""

    vms: list[Vm]
    catalog: Catalog
    listen: str
    allowances: Allowances
    bounds: Bounds
    loop: str
    remarks: list[str]


@contextmanager
def _without_collector() -> Iterator[None]:
    """Load many VMs in half the time: nothing that is read becomes garbage in a circle."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def configure(values: Mapping[str, Any]) -> Config:
    """Return the configuration that the values of all settings make.

    Raises:
        ConfigError: files that cannot be read or do not fit, settings that exclude each other.
    """
    with _without_collector():
        vms, remarks = read_vms(values["fleet"], values["document"])
    bounds = Bounds(
        connections=values["max_connections"],
        connections_per_caller=values["max_connections_per_vm"],
        shelf_bytes=values["cache_mib"] * _MIB,
    )
    allowances = {
        key: Allowance(values[f"{key}_per_s"], values[f"{key}_burst"])
        for key in ("general", "identity")
    }
    return Config(
        vms=vms,
        catalog=read_catalog(values["newest_version"]),
        listen=values["listen"],
        allowances=allowances if values["rate_limit"] else {},
        bounds=bounds,
        loop=values["loop"],
        remarks=remarks,
    )


def read_catalog(newest: str) -> Catalog:
    """Return the catalog up to an api-version.

    Raises:
        ConfigError: there is no such general api-version.
    """
    try:
        return catalog(newest)
    except KeyError:
        known = ", ".join(row.name for row in GENERAL[-5:])
        raise ConfigError(
            "newest_version", f'"{newest}"', f"a general api-version, such as {known}"
        ) from None


def read_vms(fleet_file: str, document_file: str) -> tuple[list[Vm], list[str]]:
    """Return the VMs of a fleet file or of a captured document, and remarks for the operator.

    Raises:
        ConfigError: the file cannot be read or does not fit.
    """
    if fleet_file and document_file:
        raise ConfigError(
            "--document",
            f"both {fleet_file} and {document_file}",
            "a fleet or a document, not both",
        )
    if document_file:
        return _read_document(document_file)
    if fleet_file:
        value = _read_file(fleet_file)
        try:
            vms = list(fleet(value).vms.values())
        except ConfigError as error:
            raise error.inside(fleet_file) from None
        return vms, _unserved(vms)
    return [Vm(DEFAULT_VM)], []


def _read_document(file: str) -> tuple[list[Vm], list[str]]:
    try:
        found = capture(_read_file(file), DEFAULT_VM)
    except ConfigError as error:
        raise error.inside(file) from None
    remarks = [
        f"{file}: {path} is in no api-version known here and is not served"
        for path in found.set_aside
    ]
    return [found.vm], remarks


def _read_file(file: str) -> object:
    try:
        text = Path(file).read_bytes()
    except OSError as error:
        said = error.strerror or str(error)
        raise ConfigError(file, said.lower(), "a file that can be read") from None
    return decode(text, file)


def _unserved(vms: list[Vm]) -> list[str]:
    """Name the keys that are kept but that no endpoint of this release serves yet."""
    said = {
        "identities": any(vm.identities.system or vm.identities.user for vm in vms),
        "loadBalancer": any(vm.load_balancer is not None for vm in vms),
        "attested": any(vm.attested is not None for vm in vms),
    }
    return [
        f"{key}: kept, but this release does not serve it yet"
        for key, is_said in said.items()
        if is_said
    ]


class Server:
    """The data plane with its sockets, inside a running loop."""

    def __init__(self, config: Config, tell: Tell) -> None:
        """Compile the picture.

        Raises:
            ConfigError: two VMs claim one address or listener.
        """
        self.config, self.tell = config, tell
        with _without_collector():
            picture: WirePicture = WirePicture(config.vms, config.catalog)
        loop = asyncio.get_running_loop()
        self.plane = Plane(
            picture,
            now=loop.time,
            utc=time.time,
            allowances=config.allowances,
            bounds=config.bounds,
        )
        self.plane.on_stranger = self._on_stranger
        self.listeners: list[Listener] = []
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Open every listener and return the URL of the first.

        Raises:
            ConfigError: a listener cannot be opened.
        """
        for remark in (*self.config.remarks, *self.plane.picture.remarks):
            self.tell(remark)
        _raise_file_limit()
        try:
            self.listeners.append(await listen(self.plane, self.config.listen, "listen"))
            for text, entry in self.plane.picture.by_listener.items():
                where = f"vms.{entry.name}.reach.listen"
                self.listeners.append(await listen(self.plane, text, where, entry.name))
        except ConfigError:
            await self.stop()
            raise
        self._sweeper = asyncio.create_task(self._sweep())
        # What was loaded stays: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        return self.listeners[0].url

    async def stop(self) -> None:
        """Take no new connection, let the open ones end, at most for five seconds."""
        for listener in self.listeners:
            listener.close()
        self.plane.connections.drain()
        deadline = self.plane.now() + _DRAIN_S
        while len(self.plane.connections) and self.plane.now() < deadline:
            self.plane.connections.sweep(self.plane.now())
            await asyncio.sleep(0.01)
        if self._sweeper:
            self._sweeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._sweeper

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            self.plane.connections.sweep(self.plane.now())

    def _on_stranger(self, address: str) -> None:
        self.tell(
            f"unknown caller {address}: no VM of the fleet has that address, so it gets 404. "
            "Write it under reach.address of the VM that it is"
        )


def _raise_file_limit() -> None:
    """Allow as many open files as the system lets this process have: each connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def serve(config: Config, on_ready: Callable[[str], None], tell: Tell) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        ConfigError: something cannot be opened.
    """
    server = Server(config, tell)
    url = await server.start()
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    on_ready(url)
    await stopped.wait()
    await server.stop()


def run(config: Config, on_ready: Callable[[str], None], tell: Tell) -> None:
    """Run `serve` on the event loop that was asked for.

    Raises:
        ConfigError: uvloop was asked for and is not installed, or as `serve`.
    """
    with asyncio.Runner(loop_factory=_loop_factory(config.loop)) as runner:
        runner.run(serve(config, on_ready, tell))


def _loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if name == "asyncio":
        return None
    try:
        import uvloop  # noqa: PLC0415 - an optional extra, imported where it is used
    except ImportError:
        if name == "auto":
            return None
        raise ConfigError(
            "loop", '"uvloop", which is not installed', "asyncio", "pip install openimds[fast]"
        ) from None
    return uvloop.new_event_loop
