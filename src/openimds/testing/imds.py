"""A metadata service inside this process, by its nouns."""

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from openimds.credentials.publication import Publications
from openimds.protocol.access_token import V1
from openimds.protocol.request_log import Record
from openimds.server.server import Server
from openimds.testing.clock import GuestClock
from openimds.testing.environment import Environment
from openimds.testing.events import Events
from openimds.testing.faults import Faults
from openimds.testing.requests import Requests
from openimds.testing.server_thread import RunningServer
from openimds.testing.vms import ServedVm, Vms


class Imds:
    """A metadata service that answers at `url` until the test or the block ends.

    Every call takes effect before it returns, and may come from any thread. Calls work in tests
    that run on an event loop, too: each takes about a millisecond. After the end, requests and
    messages can still be read; changes raise `ServerClosedError`.
    """

    url: str
    """The URL of the service, such as `http://127.0.0.1:40123`; it outlives a reset."""
    vm: ServedVm
    """The VM under test: requests to `url` come from it."""
    vms: Vms
    """All VMs. Where there are several, the source address identifies the calling VM."""
    events: Events
    """Scheduled events."""
    clock: GuestClock
    """The time that guests see."""
    env: Environment
    """The variables that point clients at the service."""
    requests: Requests
    """The requests so far."""
    faults: Faults
    """Fault injection."""
    messages: list[str]
    """The server's messages to its operator, such as one about an unknown caller."""

    def __init__(
        self,
        running: RunningServer,
        vm: str,
        messages: list[str],
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        """Take a server that answers.

        Args:
            running: the server.
            vm: the name of the VM under test.
            messages: the list that the server's messages are added to.
            on_close: releases the server's thread and port.
        """
        self._running, self._on_close = running, on_close
        self._under_test = vm
        self.url, self.messages = running.thread.port.url, messages
        self.vms = Vms(running)
        self.vm = self.vms[vm]
        self.events = Events(running, vm)
        self.clock = GuestClock(running)
        self.env = Environment(running, vm)
        self.requests = Requests(self._records)
        self.faults = Faults(running)

    def __repr__(self) -> str:
        """Return the URL and the name of the VM under test."""
        return f"<imds {self.url} {self._under_test}>"

    def __enter__(self) -> Self:
        """Return the service, which already answers."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the service."""
        self.close()

    def close(self) -> None:
        """Stop answering, and release the port; a second call does nothing."""
        self._running.close()
        self._on_close()

    def reset(self) -> None:
        """Begin anew at the same URL: VMs, tokens, events, clock, faults and requests.

        Open connections are closed. A server with the setting `state` keeps its state.

        Raises:
            ServerClosedError: the service is closed.
        """
        __tracebackhide__ = True
        self._running.restart()
        self.messages.clear()

    @property
    def admin_url(self) -> str | None:
        """The admin API, if the settings ask for it by `admin="127.0.0.1:0"`."""
        return self._running.ready.admin

    @property
    def token_file(self) -> str | None:
        """The file with the token of the admin API."""
        return self._running.ready.token_file

    @property
    def public_url(self) -> str | None:
        """The URL of keys and certificates, if the settings have `public="127.0.0.1:0"`."""
        return self._running.ready.public

    @property
    def told(self) -> list[str]:  # words: a public name of 0.1.0
        """The name of `messages` in 0.1.0, until 1.0."""
        return self.messages

    @property
    def jwks(self) -> dict[str, Any]:
        """The public keys of its tokens, as a JWK set (RFC 7517)."""
        return self._published().keys("", V1)

    @property
    def trust(self) -> str:
        """The certificates that verify its attested documents, as PEM."""
        return self._published().bundle().decode()

    @property
    def trust_file(self) -> str | None:
        """The file of roots to trust for Azure's hosts, if the settings have `pki_names="azure"`.

        `env` names it as SSL_CERT_FILE. Its roots are that of attested documents and that of https.
        """
        return self._running.azure_pki.trust_path if self._running.azure_pki else None

    def story(self, since: int = 0) -> str:
        """Return the messages and requests so far, for the report of a failed test.

        Args:
            since: the number of the last request to leave out.
        """
        later = Requests(
            lambda: tuple(record for record in self._records() if record.number > since)
        )
        return "\n".join([*self.messages, repr(later)])

    @property
    def _server(self) -> Server:
        return self._running.server

    def _records(self) -> tuple[Record, ...]:
        return self._server.recorder.records()

    def _published(self) -> Publications:
        return Publications(
            "",
            self._server.credentials,
            self._server.dispatcher.fleet_index.clouds,
            self._server.clock,
        )
