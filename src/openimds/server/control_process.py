"""Control as a process of its own, the child of a host.

It ends when its host ends or says so; signals to the group of processes are for the host.
"""

import asyncio
import gc
import os
import shutil
import signal
import socket
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from openimds.admin.token import AdminToken
from openimds.credentials.entra.client import ENTRA_UNCONFIGURED
from openimds.dataplane.event_loop import ServingLoop
from openimds.errors import ConfigError, Error
from openimds.faults.service import FILE
from openimds.fleet.fleet_files import gc_paused
from openimds.fleet.store.opening import open_store
from openimds.linux.freed_memory import FreedMemory, keep_large_blocks_apart
from openimds.linux.platform import die_with_parent
from openimds.log.events import FAILED, FLEET_REJECTED
from openimds.log.library_records import claim_libraries
from openimds.private_files import trust_group
from openimds.protocol.pending import Failed
from openimds.server.admin_ports import AdminPorts
from openimds.server.build_control import build_control
from openimds.server.control import Control
from openimds.server.file_budget import file_budget
from openimds.server.inherited_sockets import InheritedSockets
from openimds.server.notify import Notify
from openimds.server.operator_log import make_log
from openimds.server.seam.channel import Channel, open_channel
from openimds.server.seam.fault_states import active_fault
from openimds.server.seam.messages import (
    Approve,
    Began,
    Begin,
    End,
    EndPorts,
    FromHost,
    Ping,
    Reload,
    SeamMessage,
    TakeRecord,
)
from openimds.server.seam.remote_host import RemoteHost
from openimds.server.shortage_notices import ShortageNotices
from openimds.server.startup import Startup, load
from openimds.settings import Settings

_ORPHAN_S, _LOOK_S = 2.0, 0.02
"""The longest wait for the end of the host to show, and the time between two looks."""
_MEMORY_S = 5.0
"""The time between two looks at the memory that operators have left behind."""
_NICE = 10
"""Guests come first: control gives way to its host where both want the processor."""
_FOR_HOST = ("SIGINT", "SIGTERM", "SIGHUP")
_OF_TERMINAL = "SIGTTOU"
"""Would stop a process that writes to the terminal from another group than the host's."""


class ControlProcess:
    """Serves control to the host at the other end of a channel."""

    def __init__(self) -> None:
        """Wait for the first message."""
        self.channel: Channel
        self._control: Control | None = None
        self._host: RemoteHost | None = None
        self._resources = ExitStack()
        self._temporary = ""
        self._parent = os.getppid()
        self.log = make_log(Settings(), os.environ)

    async def answer(self, message: SeamMessage) -> Any:  # noqa: ANN401 - of the type that the message has
        """Do what the host asks, and return the result."""
        assert isinstance(message, FromHost)
        if isinstance(message, Begin):
            return await self._begin(message)
        if isinstance(message, Ping):
            return None
        control, host = self._control, self._host
        if control is None and isinstance(message, End):
            self._temporary = ""
            return None  # It could not begin.
        assert control is not None
        assert host is not None
        match message:
            case Approve():
                outcome = await control.events_service.approve(message.need)
                return outcome if isinstance(outcome, Failed) else None
            case TakeRecord():
                host.recording.take(message.record)
            case Reload():
                await control.reload()
            case EndPorts():
                host.recording.end_feeds()
                await control.stop_tasks()
            case End():
                await control.events_service.close()
                self._resources.close()
                self._temporary = ""
        return None

    def note(self, message: str) -> None:
        """Log a message, by the settings once they are known."""
        self.log(message)

    def clean(self) -> None:
        """Remove the temporary folder, if the host has been killed.

        Its end shows here a moment after that of its sockets. A host that lives needs the folder.
        """
        until_s = time.monotonic() + _ORPHAN_S
        while self._temporary and time.monotonic() < until_s:
            if os.getppid() != self._parent:
                shutil.rmtree(self._temporary, ignore_errors=True)
                return
            time.sleep(_LOOK_S)

    async def _begin(self, begin: Begin) -> Began:
        settings, self._temporary = begin.settings, begin.temporary
        self.log = notify = make_log(settings, os.environ)
        if not self._temporary:  # Else it has a folder to remove first.
            die_with_parent()
        trust_group(settings.state_group)
        shortages = ShortageNotices(notify, asyncio.get_running_loop().time)
        inherited = InheritedSockets(
            admin=tuple(map(_socket, begin.admin_sockets)),
            public=tuple(map(_socket, begin.public_sockets)),
            metrics=tuple(map(_socket, begin.metrics_sockets)),
            are_of_settings=begin.are_of_settings,
        )
        with ExitStack() as resources:
            ports = AdminPorts(
                settings, inherited, notify, shortages.note, file_budget().port_connections
            )
            resources.callback(ports.shut)
            host = RemoteHost(begin, notify)
            host.channel = self.channel
            with gc_paused():
                startup = await asyncio.to_thread(_load, begin, notify)
                store = open_store(Path(begin.store), notify, is_recovery=settings.state_recover)
                control = build_control(startup, notify, store, host, ports, resources)
                await control.load()
            await host.send_snapshot(control.events_service.event_writer.scopes)
            gc.collect()
            gc.freeze()
            if begin.admin_sockets:
                control.open_admin(AdminToken(Path(begin.token)))
            control.open_public()
            await control.open_metrics()
            control.follow_fleet_file()
            self._control, self._host, self._resources = control, host, resources.pop_all()
        return Began(ENTRA_UNCONFIGURED in startup.notices)


def _load(begin: Begin, notify: Notify) -> Startup:
    """Read the files of the settings; a new control can go on without them.

    Raises:
        ConfigError: a file cannot be read or does not fit, at the start of the server.
    """
    settings = begin.settings
    try:
        return load(settings)
    except ConfigError as error:
        if not begin.is_restart:
            raise
        if not settings.fleet:  # Else its watcher reports the mistake.
            sentence = f"{error}; the stored fleet is served"
            notify(FLEET_REJECTED.message(sentence, reason=str(error)))
    return Startup(
        settings,
        origin="file" if settings.fleet else "document",
        source=settings.fleet or settings.document,
        faults=tuple(active_fault(one).spec for one in begin.faults if one.origin == FILE),
    )


async def _run(control: ControlProcess, end: socket.socket) -> None:
    control.channel = await open_channel(end, FromHost, control.answer)
    keeping = asyncio.create_task(_give_memory_back())
    await control.channel.run()
    keeping.cancel()
    control.clean()


async def _give_memory_back() -> None:
    freed = FreedMemory()
    while True:
        await asyncio.sleep(_MEMORY_S)
        freed.look()


def _socket(descriptor: int) -> socket.socket:
    os.set_inheritable(descriptor, False)  # noqa: FBT003 - it takes no name
    return socket.socket(fileno=descriptor)


def main(descriptor: int) -> None:
    """Serve control over the socket of a descriptor, until the host ends."""
    os.umask(0o077)
    keep_large_blocks_apart()
    if sys.platform != "win32":
        os.nice(_NICE)
    for name in (*_FOR_HOST, _OF_TERMINAL):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    end = _socket(descriptor)
    with asyncio.Runner(loop_factory=ServingLoop) as runner:
        control = ControlProcess()
        claim_libraries(control.note)
        try:
            runner.run(_run(control, end))
        except Error as error:
            control.log(FAILED.message(str(error), reason=str(error)))
        finally:
            control.log.close()
