"""A metadata service whose calls are awaited, for code on an event loop."""

import asyncio
from typing import Any

from openimds.testing.clock import AsyncClock
from openimds.testing.environment import Environment
from openimds.testing.events import AsyncEvents
from openimds.testing.faults import AsyncFaults
from openimds.testing.imds import Imds
from openimds.testing.requests import Requests
from openimds.testing.vms import AsyncServedVm, AsyncVms


class AsyncImds:
    """A metadata service as coroutines: `AsyncImds(imds)` is the same server as `imds`.

    The server runs in a thread of its own, so that neither loop waits for the other. Values that
    are in memory are read without waiting, as in `Imds`; all else is awaited.
    """

    url: str
    """The URL of the service, such as `http://127.0.0.1:40123`; it outlives a reset."""
    vm: AsyncServedVm
    """The VM under test: requests to `url` come from it."""
    vms: AsyncVms
    """All VMs. Where there are several, the source address identifies the calling VM."""
    events: AsyncEvents
    """Scheduled events."""
    clock: AsyncClock
    """The time that guests see."""
    env: Environment
    """The variables that point clients at the service."""
    requests: Requests
    """The requests so far."""
    faults: AsyncFaults
    """Fault injection."""
    messages: list[str]
    """The server's messages to its operator, such as one about an unknown caller."""

    def __init__(self, imds: Imds) -> None:
        """Take a service that answers."""
        running, under_test = imds._running, imds._under_test  # noqa: SLF001 - its other face
        self._imds = imds
        self.url, self.messages = imds.url, imds.messages
        self.vms = AsyncVms(running)
        self.vm = self.vms[under_test]
        self.events = AsyncEvents(running, under_test)
        self.clock = AsyncClock(running)
        self.env, self.requests = imds.env, imds.requests
        self.faults = AsyncFaults(running)

    def __repr__(self) -> str:
        """Return the URL and the name of the VM under test."""
        return repr(self._imds)

    async def close(self) -> None:
        """Stop answering, and release the port; a second call does nothing."""
        await asyncio.to_thread(self._imds.close)

    async def reset(self) -> None:
        """Begin anew at the same URL; as `Imds.reset`."""
        await asyncio.to_thread(self._imds.reset)

    async def jwks(self) -> dict[str, Any]:
        """Return the public keys of its tokens, as a JWK set (RFC 7517)."""
        return await asyncio.to_thread(lambda: self._imds.jwks)

    async def trust(self) -> str:
        """Return the certificates that verify its attested documents, as PEM."""
        return await asyncio.to_thread(lambda: self._imds.trust)

    @property
    def admin_url(self) -> str | None:
        """The admin API, if the settings ask for it by `admin="127.0.0.1:0"`."""
        return self._imds.admin_url

    @property
    def token_file(self) -> str | None:
        """The file with the token of the admin API."""
        return self._imds.token_file

    @property
    def public_url(self) -> str | None:
        """The URL of keys and certificates, if the settings have `public="127.0.0.1:0"`."""
        return self._imds.public_url

    @property
    def trust_file(self) -> str | None:
        """The file of roots to trust for Azure's hosts; as `Imds.trust_file`."""
        return self._imds.trust_file
