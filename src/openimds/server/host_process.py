"""The host as the parent of control, which it starts anew when it ends."""

import asyncio
import socket
import sys
import time
from asyncio import FIRST_COMPLETED
from asyncio.subprocess import DEVNULL, Process, create_subprocess_exec
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from msgspec import Struct, structs

from openimds.admin.lazy_server import url_of
from openimds.errors import ConfigError, Error
from openimds.events.clock import Clock
from openimds.fleet.store.state import (
    STORE_NAME,
    TOKEN_NAME,
    State,
    default_folder,
    remove_token,
    token_path,
)
from openimds.log.events import CONTROL_ENDED, CONTROL_HUNG, CONTROL_RUNNING, CONTROL_UNSTARTABLE
from openimds.protocol.pending import Approved, Failed, PendingApproval
from openimds.server.admin_ports import (
    bound_admin,
    bound_metrics,
    bound_public,
    metrics_url,
)
from openimds.server.file_budget import file_budget
from openimds.server.inherited_sockets import InheritedSockets
from openimds.server.notify import Notify
from openimds.server.ready import Ready
from openimds.server.seam.channel import Channel, ChannelClosedError, open_channel
from openimds.server.seam.messages import (
    Approve,
    Began,
    Begin,
    End,
    EndPorts,
    FromControl,
    Ping,
    Reload,
    SeamMessage,
)
from openimds.server.shortage_notices import ShortageNotices
from openimds.settings import Settings

if TYPE_CHECKING:  # They load while control does.
    from openimds.server.host import Host
    from openimds.server.seam.host_end import HostEnd

_DRAIN_S = 5.0
_END_S = 10.0
"""The longest wait for control to finish what it has begun."""
_LOOK_S = 10.0
_LOOKS = 6
"""A control process that gives no sign of life for so many looks is killed.

Several short waits: the time for which both processes were stopped together ends only one.
"""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0
"""The pause before control is started anew; it doubles with each failure."""
_CHILD = (
    "import sys; sys.path[:] = {path!r}; "
    "from openimds.server.control_process import main; main({descriptor})"
)


class ControlChild(Struct, eq=False):
    """A running control process, and the channel to it."""

    process: Process
    channel: Channel
    reading: "asyncio.Task[None]"

    async def end(self) -> None:
        """Have it finish, and wait until it has ended; kill it if it does not."""
        await self.ask(End())
        self.channel.close()
        await self.wait()

    async def ask(self, message: SeamMessage) -> None:
        """Have it prepare its end; kill it if it does not answer."""
        try:
            async with asyncio.timeout(_END_S):
                await self.channel.call(message)
        except TimeoutError:
            self.kill()
        except Exception:  # noqa: BLE001 - it has failed or gone, and ends in any case
            self.channel.close()

    async def wait(self) -> int:
        """Wait until its channel has ended, then its process; return the exit status."""
        await asyncio.wait({self.reading})
        try:
            async with asyncio.timeout(_END_S):
                return await self.process.wait()
        except TimeoutError:
            self.kill()
            return await self.process.wait()

    def kill(self) -> None:
        """Kill the process, if it has not ended."""
        with suppress(ProcessLookupError):
            self.process.kill()

    async def watch(self, look_s: float, work: "asyncio.Task[Began] | None" = None) -> bool:
        """Wait for the end of the channel or of work; kill a hung process.

        Returns whether it was killed. There are `look_s` seconds between two looks.
        """
        ends = {self.reading, work} if work else {self.reading}
        while not any(end.done() for end in ends):
            ping = asyncio.create_task(self.channel.call(Ping()))
            try:
                for _ in range(_LOOKS):
                    await asyncio.wait({*ends, ping}, timeout=look_s, return_when=FIRST_COMPLETED)
                    if ping.done() or any(end.done() for end in ends):
                        break
                else:
                    self.kill()
                    await asyncio.wait({self.reading})
                    return True
            finally:
                ping.cancel()
                await asyncio.gather(ping, return_exceptions=True)
            await asyncio.wait(ends, timeout=look_s, return_when=FIRST_COMPLETED)
        return False


class HostProcess:
    """A host, and the control process that decides what it serves."""

    def __init__(self, settings: Settings, notify: Notify, inherited: InheritedSockets) -> None:
        """Bind the ports of control, which outlive its process; `start` makes the host.

        Raises:
            ConfigError: a port cannot be bound.
            StoreError: another process holds the state directory.
        """
        self._settings, self._notify = settings, notify
        self._child: ControlChild | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._inherited = inherited
        self._is_made = False
        self._look_s = _LOOK_S
        self.host: Host
        self._end: HostEnd
        with ExitStack() as resources:
            # Exclusive resources: the state lock and the public port, whose URL is signed.
            self._state = (
                State(Path(settings.state).absolute(), settings.state_group)
                if settings.state
                else None
            )
            if self._state:
                resources.callback(self._state.close)
            self._inherited_admin = bool(inherited.admin)
            self._public = inherited.public or bound_public(settings)
            self._admin_error: ConfigError | None = None
            try:
                self._admin = inherited.admin or bound_admin(settings)
            except ConfigError as error:
                # A mistake in the fleet file comes first.
                self._admin, self._admin_error = (), error
            try:
                self._metrics = inherited.metrics or bound_metrics(settings)
            except ConfigError as error:
                self._metrics, self._admin_error = (), self._admin_error or error
            for listening in (*self._public, *self._admin, *self._metrics):
                resources.callback(listening.close)
            self._public_url = url_of(self._public[0]) if self._public else None
            self._folder = None if self._state else _temporary_folder()
            if self._folder:
                resources.callback(self._folder.cleanup)
                self._store_folder = Path(self._folder.name)
            if self._state:
                self._store_folder = self._state.folder
            self._resources = resources.pop_all()

    async def start(self) -> Ready:
        """Start control, and open every listener once it has sent the fleet.

        Raises:
            Error: as `Server.start`.
        """
        self._child = await self._start_control(self._make_host)
        url = await self.host.open()
        if self._admin_error:
            raise self._admin_error
        settings, host = self._settings, self.host
        is_named = self._state is not None or bool(settings.fleet or settings.document)
        if host.fleet_index.has_identities and is_named:
            host.warm()
        self._supervisor = asyncio.create_task(self._supervise())
        ready = Ready(url, None, None, self._public_url, host.local_callers(url))
        if self._admin:
            path = self._token
            ready = structs.replace(ready, admin=self._admin_url, token_file=str(path))
            if not self._state and settings.admin.endswith(":0"):
                self._resources.callback(remove_token, path)  # No client finds it again.
        if self._metrics:
            ready = structs.replace(ready, metrics=metrics_url(self._metrics))
        return ready

    def _make_host(self) -> None:
        """Make the host while control loads its code.

        Raises:
            ConfigError: a setting names something unusable.
            KeyFileError: a key file cannot be read or used.
        """
        from openimds.server.build_followed_host import (  # noqa: PLC0415 - see above
            build_followed_host,
        )
        from openimds.server.build_host import HostWorld  # noqa: PLC0415 - see above

        settings, notify = self._settings, self._notify
        clock = Clock(time.time, is_virtual=settings.virtual_clock)
        world = HostWorld(
            notify=notify,
            clock=clock,
            folder=self._state.folder if self._state else None,
            inherited=self._inherited,
            budget=file_budget(),
            shortages=ShortageNotices(notify, asyncio.get_running_loop().time),
            public_url=settings.public_url or self._public_url or "",
        )
        followed = build_followed_host(settings, world, self._approve, self._resources)
        self.host, self._end = followed.host, followed.end
        self._is_made = True

    async def failed(self) -> None:
        """Wait for ever: a server that has started goes on."""
        await asyncio.Event().wait()

    async def reload(self) -> None:
        """Apply the fleet file, reopen stale listeners, and try quarantined VMs again."""
        await self.host.listeners.reopen_stale()
        if self._child:
            with suppress(ChannelClosedError):  # The next control process reads the file anew.
                await self._child.channel.call(Reload())

    async def stop(self, patience_s: float = _DRAIN_S) -> None:
        """Accept no new connection, wait for open ones, then end control and the rest."""
        if self._supervisor:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
        if self._is_made:
            self._end.close()
            await self.host.stop_tasks()
        if self._child:
            await self._child.ask(EndPorts())
        if self._is_made:  # Guests' approvals still need control.
            await self.host.drain(patience_s)
        if self._child:
            await self._child.end()
        self._resources.close()

    @property
    def _token(self) -> Path:
        if self._state:
            return self._state.folder / TOKEN_NAME
        return token_path(self._admin_url) if self._admin else default_folder() / TOKEN_NAME

    @property
    def _admin_url(self) -> str:
        return url_of(self._admin[0], is_tls=bool(self._settings.admin_cert))

    async def _approve(self, need: PendingApproval) -> Approved | Failed:
        if self._child is None:
            raise ChannelClosedError("control is being started anew")
        failure: Failed | None = await self._child.channel.call(Approve(need))
        return failure or Approved()

    async def _start_control(self, meanwhile: Callable[[], None] = lambda: None) -> ControlChild:
        """Start a control process; return it once guests can be served.

        `meanwhile` is called while the process loads its code.

        Raises:
            Error: as the control process raised it, or it has ended.
        """
        is_restart = self._supervisor is not None
        ours, theirs = socket.socketpair()
        descriptors = [one.fileno() for one in (*self._admin, *self._public, *self._metrics)]
        code = _CHILD.format(path=sys.path, descriptor=theirs.fileno())
        with ExitStack() as resources, theirs:
            resources.enter_context(ours)
            # The lock is shared: no other server starts while control still writes.
            locks = [self._state.lock_descriptor] if self._state else []
            process = await create_subprocess_exec(
                sys.executable,
                "-c",
                code,
                stdin=DEVNULL,
                pass_fds=[theirs.fileno(), *descriptors, *locks],
                # Ctrl-C in a terminal is for the host, also before control ignores it.
                process_group=0,
            )
            resources.pop_all()
        try:
            meanwhile()
        except BaseException:
            ours.close()
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise
        self._end.begin()
        channel = await open_channel(ours, FromControl, self._end.answer)
        self._end.post, self._end.unsent_bytes = channel.post, lambda: channel.unsent_bytes
        child = ControlChild(process, channel, asyncio.create_task(channel.run()))
        begin = Begin(
            settings=self._settings,
            store=str(self._store_folder / STORE_NAME),
            token=str(self._token),
            public_url=self._settings.public_url or self._public_url or "",
            admin_sockets=tuple(one.fileno() for one in self._admin),
            public_sockets=tuple(one.fileno() for one in self._public),
            metrics_sockets=tuple(one.fileno() for one in self._metrics),
            are_of_settings=not self._inherited_admin,
            had_keys=self.host.credentials.had_keys,
            faults=self._end.faults,
            is_restart=is_restart,
            temporary=self._folder.name if self._folder else "",
        )
        beginning: asyncio.Task[Began] = asyncio.create_task(channel.call(begin))
        try:
            # The first start may bring a large store up to date, and no guest waits for it.
            if is_restart:
                await self._watch(child, beginning)
            began = await beginning
        except asyncio.CancelledError:
            child.kill()  # It may wait for a disk that hangs.
            await child.end()
            await asyncio.gather(beginning, return_exceptions=True)
            raise
        except ChannelClosedError:
            status = await child.wait()
            raise Error(f"control has ended before it was ready (exit status {status})") from None
        except BaseException:
            await child.end()
            raise
        if began.is_entra_reported:
            self.host.note_entra()
        return child

    async def _watch(self, child: ControlChild, work: "asyncio.Task[Began] | None" = None) -> None:
        """Wait for the end of control or of its work; report a hung one."""
        look_s = self._look_s
        if await child.watch(look_s, work):
            self._notify(
                CONTROL_HUNG.message(
                    f"control has given no sign of life for {_LOOKS * look_s:g} s, and is killed",
                    silent=_LOOKS * look_s,
                )
            )

    async def _supervise(self) -> None:
        """Start control anew whenever it ends; guests are served meanwhile."""
        pause_s = FIRST_PAUSE_S
        while True:
            if self._child:
                began_s = time.monotonic()
                await self._watch(self._child)
                status = await self._child.wait()
                self._child = None
                if time.monotonic() - began_s > LONGEST_PAUSE_S:
                    pause_s = FIRST_PAUSE_S
                self._notify(
                    CONTROL_ENDED.message(
                        f"control has ended (exit status {status}); guests are served on, and "
                        "control "
                        f"is started anew in {pause_s:g} s",
                        status=status,
                        pause=pause_s,
                    )
                )
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            try:
                self._child = await self._start_control()
            except Exception as error:  # noqa: BLE001 - any failure may pass
                self._notify(
                    CONTROL_UNSTARTABLE.message(
                        f"control cannot start: {error}; it is tried again in {pause_s:g} s",
                        reason=str(error),
                        pause=pause_s,
                    )
                )
            else:
                self.host.control_restarts += 1
                self._notify(CONTROL_RUNNING.message("control runs again"))


def _temporary_folder() -> "TemporaryDirectory[str]":
    """Make the folder of a store that ends with the server.

    Raises:
        ConfigError: no folder for temporary files is writable.
    """
    try:
        return TemporaryDirectory(prefix="openimds-")
    except OSError as error:
        seen = f"none, and no temporary folder can be made ({error.strerror or error})"
        hint = "Set --state or TMPDIR, or type --processes 1, which keeps the store in memory"
        raise ConfigError("state", seen, "a writable folder", hint) from error
