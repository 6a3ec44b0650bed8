"""The hosts of a store, and the authority that certifies them."""

import asyncio
from collections.abc import Callable
from functools import lru_cache

from msgspec.structs import replace

from openimds.credentials.hosts.authority import HostsCa
from openimds.credentials.hosts.host_certificates import name_in, serial_in
from openimds.credentials.hosts.joining import (
    AdmissionRequest,
    JoinRequest,
    JoinResult,
    RenewalRequest,
    admit_host,
    join_host,
    renew_host,
)
from openimds.credentials.hosts.register import KEY, HostRegister
from openimds.errors import Error
from openimds.fleet.service import FleetService
from openimds.fleet.store.port import EventBatch
from openimds.log.events import HOST_ADMITTED, HOST_REFUSED
from openimds.server.hosts.messages import JoinedHost
from openimds.server.hosts.vouching import Vouching
from openimds.server.notify import Notify

_MESSAGES = 64
"""So many refusals are remembered, and not repeated."""
_NO_ACCOUNTS = (
    "this control lets no host join by its service account: start it with --join-service-account "
    "NAMESPACE/NAME, or join by a token: openimds control host add NAME"
)


class StoredHosts:
    """The register of hosts; each change is stored before anybody has its result."""

    def __init__(
        self,
        ca: HostsCa,
        fleet_service: FleetService,
        utc: Callable[[], float],
        notify: Notify,
        vouching: Vouching | None = None,
    ) -> None:
        """Begin without hosts; `load` reads them.

        `utc` is real time, not that of guests. With `vouching` the pods of service accounts join.
        """
        self.ca, self.register = ca, HostRegister()
        self._fleet_service, self._utc = fleet_service, utc
        self._vouching, self._notify = vouching, notify
        self._report = lru_cache(_MESSAGES)(notify)
        self._turn = asyncio.Lock()

    async def load(self) -> None:
        """Read the register, and leave out what has ended.

        Raises:
            HostRegisterError: it is damaged.
            StoreError: the store cannot be read.
        """
        service = self._fleet_service
        stored = await service.call_store(service.store.value, KEY)
        register = HostRegister.from_bytes(stored)
        if self._vouching:  # It stays, so that a start without it forgets no revoked host.
            register = replace(register, keeps_revoked=True)
        self.register = register.prune(self._utc())

    # As `HostsAuthority`.

    def roots(self) -> bytes:
        """Return the roots as PEM."""
        return self.ca.roots(self._utc())

    def host_of(self, certificate: bytes) -> str:
        """Return the name of the host with a certificate (DER).

        Raises:
            Error: the host or this certificate is revoked, or it is none of a host.
        """
        name, serial = _parsed(certificate)
        if not name:
            raise Error("the certificate is of no host")
        if refusal := self.register.certificate_refusal(name, serial, self._utc()):
            raise Error(refusal)
        return name

    async def join(self, name: str, secret: bytes, csr: bytes) -> JoinedHost:
        """Certify the key of a new host.

        Raises:
            Error: the secret is wrong, has ended or was used.
            StoreError: the store takes no change.
        """
        request = JoinRequest(name, secret, csr)
        async with self._turn:
            return await self._joined(
                await asyncio.to_thread(join_host, self.register, self.ca, request, self._utc())
            )

    async def admit(self, name: str, token: str, csr: bytes, source: str) -> JoinedHost:
        """Certify the key of a host whose pod has a service-account token.

        Raises:
            Error: the token does not prove the name, or the host is revoked.
            StoreError: the store takes no change.
        """
        if self._vouching is None:
            raise Error(_NO_ACCOUNTS)
        account = await self._vouching.account_of(name, token, source)
        request = AdmissionRequest(name, account, csr)
        async with self._turn:
            result = await asyncio.to_thread(
                admit_host, self.register, self.ca, request, self._utc()
            )
            if refusal := result.refusal:
                sentence = f"the host {name} may not join: {refusal}"
                self._report(HOST_REFUSED.message(sentence, host=name, reason=refusal))
            joined = await self._joined(result)
        sentence = f"the host {name} has joined by the service account {account} of its pod"
        self._notify(HOST_ADMITTED.message(sentence, host=name, account=account))
        return joined

    async def renew(self, certificate: bytes, csr: bytes) -> JoinedHost:
        """Certify the next key of a host that has presented a certificate (DER).

        Raises:
            Error: the host is revoked, or the request does not fit.
            StoreError: the store takes no change.
        """
        request = RenewalRequest(*_parsed(certificate), csr)
        async with self._turn:
            return await self._joined(
                await asyncio.to_thread(renew_host, self.register, self.ca, request, self._utc())
            )

    # For operators.

    async def invite(self, name: str, *, is_admin: bool, has_vms: bool) -> str:
        """Return a join token for a host; see `HostRegister.invite`.

        Raises:
            ConfigError: the name does not fit, or needs another role.
            StoreError: the store takes no change.
        """
        async with self._turn:
            register, token = self.register.invite(
                name,
                self._utc(),
                self.ca.fingerprint,
                is_admin=is_admin,
                has_vms=has_vms,
            )
            await self._store(register)
            return token

    async def revoke(self, name: str) -> None:
        """End the certificates and the join token of a host.

        Raises:
            ConfigError: there is no such host.
            StoreError: the store takes no change.
        """
        async with self._turn:
            await self._store(self.register.revoke(name, self._utc()))

    async def prune(self) -> None:
        """Forget what has ended, such as nodes that are gone.

        Raises:
            StoreError: the store takes no change.
        """
        async with self._turn:
            await self._store(self.register.prune(self._utc()))

    async def _joined(self, result: JoinResult) -> JoinedHost:
        await self._store(result.register)
        if result.certificate is None:
            raise Error(result.refusal)
        return JoinedHost(result.certificate.der, result.roots)

    async def _store(self, register: HostRegister) -> None:
        if register == self.register:
            return
        service = self._fleet_service
        batch = EventBatch(values={KEY: register.to_bytes()})
        await service.call_store(service.store.write_events, batch)
        self.register = register


@lru_cache(maxsize=8192)
def _parsed(certificate: bytes) -> tuple[str, str]:
    """Return the host and the serial number in a certificate (DER)."""
    return name_in(certificate) or "", serial_in(certificate)
