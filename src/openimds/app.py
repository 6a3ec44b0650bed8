"""The composition root: the only module that knows every room."""

import asyncio
import gc
import os
import resource
import signal
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec import Struct

from openimds.config import DEFAULT_VM, Config, Watched, fingerprint, read_fleet, without_collector
from openimds.control.desk import DEFAULT, Desk
from openimds.control.door import Door
from openimds.control.token import Token
from openimds.errors import ConfigError, Error
from openimds.model.vm import Vm
from openimds.store.memory import MemoryStore
from openimds.store.port import Change, Store
from openimds.store.state import TOKEN_NAME, State, default_folder
from openimds.view.picture import Picture
from openimds.wire.listen import Listener, Tcp, address, listen
from openimds.wire.plane import Plane, WirePicture

_SWEEP_S = 1.0
_DRAIN_S = 5.0

Tell = Callable[[str], None]
"""Says a sentence to the operator."""


class Ready(Struct, frozen=True):
    """What a server says when it answers."""

    imds: str
    admin: str | None
    token_file: str | None


class Server:
    """All rooms put together, inside a running loop."""

    def __init__(self, config: Config, tell: Tell) -> None:
        """Take the state directory and open the store.

        Raises:
            StoreError: the directory is held by another process, or the store cannot be used.
        """
        self.config, self.tell = config, tell
        self.state = State(Path(config.state).absolute()) if config.state else None
        picture: WirePicture = Picture(config.catalog, config.cache_bytes)
        self.plane = Plane(
            picture,
            now=asyncio.get_running_loop().time,
            utc=time.time,
            allowances=config.allowances,
            bounds=config.bounds,
        )
        self.plane.on_stranger = self._on_stranger
        self.plane.on_mistake = lambda error: tell(f"a mistake of ours: {error!r}")
        self.desk = Desk(self._store(), picture, time.time, self._open)
        self.listeners: dict[str, Listener] = {}
        self.loop_lag_s = 0.0
        self._door: Door | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def _store(self) -> Store:
        if self.state is None:
            return MemoryStore()
        # Imported on use: a server that need not remember does not load a database.
        from openimds.store.sqlite import SqliteStore  # noqa: PLC0415 - see above

        return SqliteStore(self.state.store_path)

    async def start(self) -> Ready:
        """Load the fleet, open every listener, and say where they are.

        Raises:
            ConfigError: a listener cannot be opened, or two VMs claim one way in.
            StoreError: the store cannot be read or written.
        """
        _raise_file_limit()
        with without_collector():
            await self._load()
        for remark in (*self.config.remarks, *self.plane.picture.remarks()):
            self.tell(remark)
        first = await listen(self.plane, self.config.listen, "listen")
        self.listeners[""] = first
        ready = Ready(first.url, None, None)
        if self.config.admin != "none":
            ready = self._open_door(first.url)
        self._tasks.append(asyncio.create_task(self._sweep()))
        if self.config.fleet:
            self._tasks.append(asyncio.create_task(self._watch()))
        # What was loaded stays: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        return ready

    async def _load(self) -> None:
        await self.desk.load(is_last=self.config.vms is None)
        if self.config.vms is not None:
            await self._sync(self.config.vms, "start")
            self.config.vms.clear()
        elif not self.plane.picture.by_name:
            await self.desk.sync([Vm(DEFAULT_VM)], DEFAULT, "start")

    def _open_door(self, imds: str) -> Ready:
        wanted = address(self.config.admin, "admin")
        if not isinstance(wanted, Tcp):
            raise ConfigError("admin", f'"{self.config.admin}"', "HOST:PORT or none")
        token = Token((self.state.folder if self.state else default_folder()) / TOKEN_NAME)
        self._door = Door(wanted.host, wanted.port, lambda: self._application(token), self.tell)
        self._door.open()
        return Ready(imds, self._door.url, str(token.path))

    def _application(self, token: Token) -> Any:  # noqa: ANN401 - any ASGI application
        from openimds.control.api import application  # noqa: PLC0415 - on the first knock

        host = address(self.config.admin, "admin")
        names = {host.host.lower()} if isinstance(host, Tcp) else set()
        return application(self.desk, token, self.config.admin_hosts | names, Numbers(self))

    async def _open(self, wanted: dict[str, str], keep: AbstractSet[str]) -> None:
        """Have these listeners of single VMs beside the first one; of the others keep only some."""
        for text in wanted.keys() - self.listeners.keys():
            where = f"vms.{wanted[text]}.reach.listen"
            self.listeners[text] = await listen(self.plane, text, where, is_own=True)
        for text in self.listeners.keys() - wanted.keys() - keep - {""}:
            self.listeners.pop(text).close()

    async def stop(self) -> None:
        """Take no new connection, let the open ones end, at most for five seconds."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.desk.end_feeds()
        if self._door:
            await self._door.close()
        for listener in self.listeners.values():
            listener.close()
        self.plane.connections.drain()
        deadline = self.plane.now() + _DRAIN_S
        while len(self.plane.connections) and self.plane.now() < deadline:
            self.plane.connections.sweep(self.plane.now())
            await asyncio.sleep(0.01)
        self.desk.close()
        if self.state:
            self.state.close()

    async def _sweep(self) -> None:
        while True:
            due = self.plane.now() + _SWEEP_S
            await asyncio.sleep(_SWEEP_S)
            self.loop_lag_s = max(0.0, self.plane.now() - due)
            self.plane.connections.sweep(self.plane.now())

    async def _watch(self) -> None:
        """Watch the fleet file for as long as the system lets us, and say when it does not."""
        try:
            await self._apply_edits()
        except (OSError, RuntimeError) as error:
            self.tell(f"{self.config.fleet}: {error}; edits are not seen any more")

    async def _apply_edits(self) -> None:
        """Apply every edit of the fleet file; a bad one changes nothing and is told."""
        from watchfiles import awatch  # noqa: PLC0415 - only where there is a file

        watched = await asyncio.to_thread(Watched, self.config.fleet)
        seen = self.config.fingerprint
        is_first = True
        async for edits in awatch(
            watched.folder,
            watch_filter=watched.has,
            recursive=False,
            debounce=100,
            step=20,
            rust_timeout=1000,
            yield_on_timeout=True,
        ):
            # The first look is for an edit that was made before the watching began.
            if not edits and not is_first:
                continue
            is_first = False
            try:
                now = await asyncio.to_thread(fingerprint, self.config.fleet)
                if now == seen:
                    continue  # Only touched: it says nothing new, and changes by the API stay.
                vms = await asyncio.to_thread(read_fleet, self.config.fleet)
                changes = await self._sync(vms, watched.who)
                seen = now
            except Error as error:
                self.tell(f"{error}; nothing has changed")
                continue
            if changes:
                self.tell(f"{watched.path}: {len(changes)} changes applied")

    async def _sync(self, vms: list[Vm], who: str) -> list[Change]:
        try:
            return await self.desk.sync(vms, self.config.origin, who)
        except ConfigError as error:
            raise error.inside(self.config.source) from None

    def _on_stranger(self, caller: str) -> None:
        self.tell(
            f"unknown caller {caller}: no VM of the fleet has that address, so it gets 404. "
            "Write it under reach.address of the VM that it is"
        )


class Numbers:
    """What the metrics read."""

    def __init__(self, server: Server) -> None:
        """Read from a server."""
        self._server = server

    def requests(self) -> dict[tuple[str, int, str], int]:
        """Return requests by endpoint, status and reason."""
        counts = self._server.plane.counts
        return {
            (key.endpoint, key.status, key.reason): count.requests for key, count in counts.items()
        }

    def throttled(self) -> dict[str, int]:
        """Return how often each limiter class said no."""
        return self._server.plane.throttled

    def gauges(self) -> dict[str, float]:
        """Return what stands where now."""
        plane, desk = self._server.plane, self._server.desk
        return {
            "openimds_vms": len(plane.picture.by_name),
            "openimds_connections": len(plane.connections),
            "openimds_loop_lag_seconds": self._server.loop_lag_s,
            "openimds_store_revision": desk.revision,
            "openimds_store_age_seconds": desk.age_s(),
            "openimds_cache_bytes": plane.picture.shelf.held_bytes,
            "openimds_cache_vms": len(plane.picture.shelf),
        }

    def counters(self) -> dict[str, float]:
        """Return what has happened so far."""
        plane = self._server.plane
        return {
            "openimds_unknown_callers": sum(plane.strangers.values()),
            "openimds_connections_refused": plane.connections.turned_away,
        }


def _raise_file_limit() -> None:
    """Allow as many open files as the system lets this process have: each connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def serve(config: Config, on_ready: Callable[[Ready], None], tell: Tell) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        ConfigError, StoreError: as `Server.start`.
    """
    server = Server(config, tell)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    try:
        on_ready(await server.start())
        await stopped.wait()
    finally:
        await server.stop()


def run(config: Config, on_ready: Callable[[Ready], None], tell: Tell) -> None:
    """Run `serve` on the event loop that was asked for.

    Raises:
        ConfigError: uvloop was asked for and is not installed, or as `serve`.
    """
    # Files that this process makes are its owner's alone.
    os.umask(0o077)
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
