"""The host in the same process, as control reads and changes it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from openimds.events.writer import PublishedScope
from openimds.faults.injector import FaultCounts
from openimds.fleet.index import IndexUpdate
from openimds.protocol.response import Refusal, Response
from openimds.server.host import Host
from openimds.server.local_recording import LocalRecording
from openimds.vm.types import Vm

if TYPE_CHECKING:
    from openimds.admin.metrics import Samples
    from openimds.admin.public_app import PublicationSource
    from openimds.admin.public_faults import SpoiltAnswers
    from openimds.admin.services import RequestRecording
    from openimds.credentials.service import CredentialsService


class LocalHost:
    """Calls a host directly."""

    def __init__(self, host: Host, public_url: str) -> None:
        """Call this host; its documents are published under `public_url`."""
        self._host, self._public_url = host, public_url
        self.fleet_index, self.clock, self.injector = host.fleet_index, host.clock, host.injector
        self.want_listeners, self.forget_tokens = host.want_listeners, host.forget_tokens
        self.take_faults, self.take_clock = host.take_faults, host.take_clock
        assert host.listener_faults.filters is not None
        self.check_faults = host.listener_faults.filters.check
        self.recording: RequestRecording = LocalRecording(host.recorder)

    @property
    def credentials(self) -> "CredentialsService":
        """The keys and certificates."""
        return self._host.credentials

    @property
    def hides_events(self) -> bool:
        """Whether the host itself hides events: no, the events service answers its guests."""
        return False

    @property
    def had_keys(self) -> bool:
        """Whether the state folder had keys before this start."""
        return self._host.credentials.had_keys

    async def take_update(self, update: IndexUpdate) -> None:
        """Do nothing: both have one index."""

    async def take_scopes(self, scopes: Mapping[str, PublishedScope]) -> None:
        """Do nothing: the events service provides the documents itself."""

    async def fault_counts(self) -> dict[str, FaultCounts]:
        """Return nothing: both have one injector."""
        return {}

    def publications(self) -> "PublicationSource":
        """Return the documents of the public port."""
        from openimds.credentials.publication import Publications  # noqa: PLC0415 - it loads cryptography

        host = self._host
        clouds, utc = host.fleet_index.clouds, host.dispatcher.utc
        return Publications(self._public_url, host.credentials, clouds, utc)

    def rehearsed_answers(self) -> "SpoiltAnswers":
        """Return the signed answers of the public port that are wrong on purpose."""
        from openimds.credentials.pki.rehearsed_answers import (  # noqa: PLC0415 - as above
            RehearsedAnswers,
        )

        utc, ca = self._host.dispatcher.utc, self._host.credentials.ca
        return RehearsedAnswers(lambda: ca.authority(utc()), utc)

    async def check(self) -> None:
        """Do nothing: this process answers."""

    async def samples(self) -> "Mapping[str, Samples]":
        """Return the values of the host's metrics."""
        return await self._host.samples()

    async def endpoint_variables(self, vm: Vm, url: str) -> dict[str, dict[str, str]]:
        """Return the environment variables of a VM's clients by token route."""
        return self._host.identity_variables(vm, url)

    async def get_as(self, vm: Vm, target: str) -> Response | Refusal:
        """Answer a GET of a target as the VM is answered."""
        return await self._host.get_as(vm, target)
