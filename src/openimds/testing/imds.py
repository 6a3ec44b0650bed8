"""The value of the fixture `imds`: the server of one test, by its nouns."""

from typing import Any

from openimds.credentials.publication import Publications
from openimds.protocol.access_token import V1
from openimds.server.server import Ready, Server
from openimds.testing.clock import GuestClock
from openimds.testing.environment import Environment
from openimds.testing.events import Events
from openimds.testing.faults import Faults
from openimds.testing.requests import Requests
from openimds.testing.server_thread import ServerThread
from openimds.testing.vms import ServedVm, Vms


class Imds:
    """A metadata service that answers at `url` until the test ends.

    Every call takes effect before it returns. Calls work in tests that run on an event loop, too:
    each takes about a millisecond.
    """

    url: str
    """The URL of the service, such as `http://127.0.0.1:40123`; the same for all tests."""
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
    admin_url: str | None
    """The admin API, if the mark asks for it by `admin="127.0.0.1:0"`."""
    token_file: str | None
    """The file with the token of the admin API."""
    public_url: str | None
    """The URL of keys and certificates, if the mark asks for it by `public="127.0.0.1:0"`."""

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of one test's server
        self,
        thread: ServerThread,
        server: Server,
        ready: Ready,
        vm: str,
        homes: tuple[str, ...],
        messages: list[str],
    ) -> None:
        """Take a server that answers.

        Args:
            thread: the thread that it runs on.
            server: the server.
            ready: its addresses.
            vm: the name of the VM under test.
            homes: the source addresses of this process, which reach the VM under test.
            messages: the list that the server's messages are added to.
        """
        self._server = server
        self.url, self.messages = thread.port.url, messages
        self.admin_url, self.token_file = ready.admin, ready.token_file
        self.public_url = ready.public
        self.vms = Vms(thread, server, vm, homes)
        self.vm = self.vms[vm]
        self.events = Events(thread, server, self.vms, vm)
        self.clock = GuestClock(thread, server)
        self.env = Environment(server, self.vms, vm)
        self.requests = Requests(server.recorder.records)
        self.faults = Faults(thread, server)

    def __repr__(self) -> str:
        """Return the URL and the name of the VM under test."""
        return f"<imds {self.url} {self.vm.name}>"

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

    def story(self) -> str:
        """Return the messages and requests so far, for the report of a failed test."""
        return "\n".join([*self.messages, repr(self.requests)])

    def _published(self) -> Publications:
        return Publications(
            "",
            self._server.credentials,
            self._server.dispatcher.fleet_index.clouds,
            self._server.clock,
        )
