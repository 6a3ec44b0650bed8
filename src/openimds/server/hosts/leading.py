"""The lease of control: who leads, and the moment when a leader has to end.

A control that does not lead has no port for hosts. One that leads renews its lease each second; if
another control has taken it, this one ends at once, and is started anew by its supervisor. While
the engine is away nobody can take a lease: the leader goes on, and its hosts with it.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from openimds.fleet.store.port import FencedError, StoreError
from openimds.log.events import LEAD_STANDBY, LEAD_TROUBLE
from openimds.server.notify import Notify

T = TypeVar("T")
TTL_S = 3.0
"""A control that has not renewed its lease for so long may be replaced."""
RENEW_S = 1.0
"""The time between two renewals, and between two attempts of those that stand by."""


class LeaseHolderInfo(Protocol):
    """The control that leads."""

    @property
    def holder(self) -> str:
        """Its name."""
        ...

    @property
    def url(self) -> str:
        """The URL of its admin API."""
        ...


class ControlLease(Protocol):
    """A lease of an engine, called from one thread; see `fleet.store.postgres.lease`."""

    def take(self, holder: str, url: str, ttl_s: float) -> int | None:
        """Return the epoch if nobody else holds it."""
        ...

    def renew(self, ttl_s: float) -> None:
        """Hold it for so many seconds from now."""
        ...

    def release(self) -> None:
        """End it."""
        ...

    def holder(self) -> LeaseHolderInfo | None:
        """Return the control that leads."""
        ...

    def close(self) -> None:
        """Close its connection."""
        ...


class Leadership:
    """Takes the lease, and keeps it."""

    def __init__(
        self, open_lease: Callable[[], ControlLease], holder: str, url: str, notify: Notify
    ) -> None:
        """Lead under a unique name; `url` is that of the admin API."""
        self._open, self._holder, self._url, self._notify = open_lease, holder, url, notify
        self._lease: ControlLease | None = None
        self._thread = ThreadPoolExecutor(1, "lease")
        self._reported = ""
        self._renewed_s = time.monotonic()
        self.epoch = 0
        self.leader_url = ""
        """The URL of the control that leads, where it is another one."""
        self.reason = "it has not reached its store yet"
        """The reason why this control does not lead."""

    async def take(self) -> int:
        """Wait until this control leads; return the epoch of the lease."""
        while True:
            try:
                epoch = await self._call(self._try)
            except StoreError as error:
                self.reason, self.leader_url = "its store cannot be reached", ""
                self._report(
                    LEAD_TROUBLE.message(
                        f"this control stands by: {self.reason}: {error}", reason=str(error)
                    )
                )
            else:
                if epoch is not None:
                    self.epoch, self.reason, self.leader_url = epoch, "", ""
                    return epoch
                self._report(
                    LEAD_STANDBY.message(
                        f"this control stands by: {self.reason}", reason=self.reason
                    )
                )
            await asyncio.sleep(RENEW_S)

    def age_s(self) -> float:
        """Return the time since the lease was taken or renewed."""
        return time.monotonic() - self._renewed_s

    async def keep(self) -> None:
        """Renew the lease for ever.

        Raises:
            FencedError: another control leads.
        """
        while True:
            await asyncio.sleep(RENEW_S)
            try:
                await self._call(self._renew)
            except FencedError:
                raise
            except StoreError as error:
                self._report(
                    LEAD_TROUBLE.message(f"the lease is not renewed: {error}", reason=str(error))
                )
            else:
                self._reported = ""

    async def close(self) -> None:
        """Release the lease, so that another control need not wait for its end."""
        try:
            await self._call(self._release)
        except StoreError as error:
            self._notify(
                LEAD_TROUBLE.message(f"the lease is not released: {error}", reason=str(error))
            )
        self._thread.shutdown()

    def _try(self) -> int | None:
        if self._lease is None:
            self._lease = self._open()
        begun_s = time.monotonic()  # The engine counts from some moment of the call.
        epoch = self._lease.take(self._holder, self._url, TTL_S)
        if epoch is not None:
            self._renewed_s = begun_s
        else:
            leader = self._lease.holder()
            self.leader_url = leader.url if leader else ""
            self.reason = f"{leader.holder} leads" if leader else "another control has just led"
        return epoch

    def _renew(self) -> None:
        assert self._lease is not None
        begun_s = time.monotonic()  # As above.
        self._lease.renew(TTL_S)
        self._renewed_s = begun_s

    def _release(self) -> None:
        if self._lease is None:
            return
        try:
            if self.epoch:
                self._lease.release()
        finally:
            self._lease.close()
            self._lease = None

    def _report(self, sentence: str) -> None:
        if sentence != self._reported:
            self._reported = sentence
            self._notify(sentence)

    async def _call(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)
