"""The port through which control asks the host, in its process or elsewhere."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from openimds.protocol.response import Refusal, Response
from openimds.vm.types import Vm

if TYPE_CHECKING:  # They load the web server's libraries, which only a connection needs.
    from openimds.admin.metrics import Samples
    from openimds.admin.public_app import PublicationSource
    from openimds.admin.public_faults import SpoiltAnswers
    from openimds.admin.services import CredentialsAdmin, RequestRecording


class HostAccess(Protocol):
    """The parts of the host that the admin and public ports use."""

    @property
    def recording(self) -> "RequestRecording":
        """The recorded requests."""
        ...

    @property
    def credentials(self) -> "CredentialsAdmin":
        """The keys and certificates."""
        ...

    def publications(self) -> "PublicationSource":
        """Return the documents of the public port."""
        ...

    def rehearsed_answers(self) -> "SpoiltAnswers":
        """Return the signed answers of the public port that are wrong on purpose."""
        ...

    async def check(self) -> None:
        """Check that the host answers.

        Raises:
            Error: it does not.
        """
        ...

    async def samples(self) -> "Mapping[str, Samples]":
        """Return the values of the host's metrics."""
        ...

    async def endpoint_variables(self, vm: Vm, url: str) -> dict[str, dict[str, str]]:
        """Return the environment variables of a VM's clients by token route."""
        ...

    async def get_as(self, vm: Vm, target: str) -> Response | Refusal:
        """Answer a GET of a target as the VM is answered."""
        ...
