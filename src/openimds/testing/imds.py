"""What a test gets: the server of this test, by its nouns."""

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
from openimds.testing.vms import Subject, Vms


class Imds:
    """A metadata service that answers at `url` for as long as a test lasts.

    Everything here takes effect before it returns. It may be called from tests that run on an
    event loop: a call takes about a millisecond.
    """

    url: str
    """Where it answers, such as `http://127.0.0.1:40123`; the same for all tests of a session."""
    vm: Subject
    """The VM under test: whoever asks at `url` is this one."""
    vms: Vms
    """All VMs. Where there are several, callers are told apart by their source addresses."""
    events: Events
    """Scheduled events."""
    clock: GuestClock
    """What guests take the time to be."""
    env: Environment
    """The variables that point clients here."""
    requests: Requests
    """What was asked so far."""
    faults: Faults
    """What goes wrong."""
    told: list[str]
    """What the server said to its operator, such as that it does not know a caller."""
    admin_url: str | None
    """The admin API, if the mark asks for it by `admin="127.0.0.1:0"`."""
    token_file: str | None
    """The file with the token of the admin API."""
    public_url: str | None
    """Where keys and certificates are published, if it asks for it by `public="127.0.0.1:0"`."""

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of one test's server
        self,
        stage: ServerThread,
        server: Server,
        ready: Ready,
        vm: str,
        homes: tuple[str, ...],
        told: list[str],
    ) -> None:
        """Stand before a server that answers."""
        self._stage, self._server = stage, server
        self.url, self.told = stage.port.url, told
        self.admin_url, self.token_file = ready.admin, ready.token_file
        self.public_url = ready.public
        self.vms = Vms(stage, server, vm, homes)
        self.vm = self.vms[vm]
        self.events = Events(stage, server, self.vms, vm)
        self.clock = GuestClock(stage, server)
        self.env = Environment(server, self.vms, vm)
        self.requests = Requests(server.recorder.records)
        self.faults = Faults(stage, server)

    def __repr__(self) -> str:
        """Return where it answers, and as whom."""
        return f"<imds {self.url} {self.vm.name}>"

    @property
    def jwks(self) -> dict[str, Any]:
        """The public keys of its tokens, as a JWK set (RFC 7517)."""
        return self._published().keys("", V1)

    @property
    def trust(self) -> str:
        """The certificates that vouch for its attested documents, as PEM."""
        return self._published().bundle().decode()

    def story(self) -> str:
        """Return what was told and asked so far, for the report of a test that failed."""
        return "\n".join([*self.told, repr(self.requests)])

    def _published(self) -> Publications:
        server = self._server
        return Publications(
            "", server.credentials, server.dispatcher.fleet_index.clouds, server.clock
        )
