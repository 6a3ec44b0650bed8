"""The work of a leading control beside requests: clocks, certificates and what nobody needs."""

import asyncio
import time

from openimds.credentials.remote.mint_service import MintService
from openimds.errors import Error
from openimds.log.events import HOSTS_TROUBLE
from openimds.server.host import Host
from openimds.server.hosts.link import HostsLink
from openimds.server.hosts.port import HostsPort
from openimds.server.hosts.stored_hosts import StoredHosts
from openimds.server.notify import Notify

LOOK_S = 10.0
"""The time between two looks at the clock, and at the certificates of connected hosts."""
KEEP_UP_S = 3600.0
"""The time between two renewals of what is due."""


class Upkeep:
    """Renews what ends, and follows a clock that is set."""

    def __init__(  # noqa: PLR0913, PLR0917 - the parts that it looks after
        self,
        host: Host,
        link: HostsLink,
        mint: MintService,
        hosts: StoredHosts,
        port: HostsPort,
        notify: Notify,
    ) -> None:
        """Look after the parts of a leading control; `host` has its keys."""
        self._host, self._link, self._mint = host, link, mint
        self._hosts, self._port, self._notify = hosts, port, notify
        self._last_s = link.clock()
        self._due_s = 0.0

    async def run(self) -> None:
        """Look again and again, for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Cut off hosts whose certificates have ended, and do what is due."""
        self._port.check_certificates()
        await self._follow_clock()
        if time.monotonic() < self._due_s:
            return
        self._due_s = time.monotonic() + KEEP_UP_S
        try:
            await self._hosts.prune()
        except Error as error:
            self._notify(HOSTS_TROUBLE.message(str(error)))
        self._link.prune(self._hosts.register.hosts.keys())
        await self._host.keep_up()
        try:
            if report := await asyncio.to_thread(self._hosts.ca.keep_up, time.time()):
                self._notify(HOSTS_TROUBLE.message(report))
        except Error as error:
            self._notify(HOSTS_TROUBLE.message(str(error)))

    async def _follow_clock(self) -> None:
        """Drop what a clock that was set back has made wrong."""
        if step_s := self._host.clock_watch.look():
            await self._host.take_clock_step(step_s)
        now_s = self._link.clock()
        if now_s < self._last_s:
            self._mint.forget_future(now_s)
        self._last_s = now_s
