"""What this server publishes for those who verify: the documents of each tenant, and the keys."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from openimds.credentials.service import CredentialsService
from openimds.credentials.tokens.oidc import discovery_v1, discovery_v2, jwks
from openimds.facts.clouds import PUBLIC
from openimds.protocol.access_token import V2, issuers

if TYPE_CHECKING:
    from openimds.credentials.keys.keyring import PublicKey


class _Pki(Struct, frozen=True):
    """The encoded certificates of one edition of an authority."""

    generation: int
    by_name: Mapping[str, bytes]
    bundle: bytes


class _Keys(Struct, frozen=True):
    """The encoded keys of a ring that has just these."""

    keys: "tuple[PublicKey, ...]"
    rows: list[dict[str, str]]


class Publications:
    """The publications of all tenants. Its methods may make the first key: call them in threads.

    What it says is kept until it changes, so that many who ask cost little.
    """

    def __init__(
        self,
        url: str,
        office: CredentialsService,
        clouds: Mapping[str, str],
        utc: Callable[[], float],
    ) -> None:
        """Publish under `url`; `clouds` has the tenants that are not of the public cloud."""
        self.url = url
        self._office, self._clouds, self._utc = office, clouds, utc
        self._kept_pki: _Pki | None = None
        self._kept_keys: _Keys | None = None

    def discovery(self, tenant: str, version: str) -> dict[str, Any]:
        """Return the discovery document of a tenant's tokens of a version."""
        describe = discovery_v2 if version == V2 else discovery_v1
        return describe(tenant, self.url, self._issuer(tenant, version))

    def keys(self, tenant: str, version: str) -> dict[str, Any]:
        """Return the public keys of a tenant as a JWK set.

        Raises:
            KeyFileError: the first key could not be written.
        """
        issuer = self._issuer(tenant, version) if version == V2 else ""
        rows = self._rows()
        return {"keys": [{**row, "issuer": issuer} for row in rows] if issuer else rows}

    def certificate(self, name: str) -> bytes | None:
        """Return the DER of a CA certificate by its name, or None.

        Raises:
            KeyFileError: the authority cannot be read or written.
        """
        return self._pki().by_name.get(name)

    def bundle(self) -> bytes:
        """Return the trust bundle as PEM.

        Raises:
            KeyFileError: as `certificate`.
        """
        return self._pki().bundle

    def _pki(self) -> _Pki:
        registry, kept = self._office.ca, self._kept_pki
        authority = registry.authority(self._utc())
        # Read before what it stands for: a change in between is seen with the next question. The
        # certificates on offer may change without what signs.
        generation, by_name = registry.generation, authority.published()
        if kept is None or (kept.generation, kept.by_name) != (generation, by_name):
            kept = self._kept_pki = _Pki(generation, by_name, authority.bundle())
        return kept

    def _rows(self) -> list[dict[str, str]]:
        keys, kept = self._office.keyring().public(self._utc()), self._kept_keys
        if kept is None or kept.keys != keys:
            kept = self._kept_keys = _Keys(keys, jwks(keys)["keys"])
        return kept.rows

    def _issuer(self, tenant: str, version: str) -> str:
        cloud = self._clouds.get(tenant, PUBLIC)
        return issuers(tenant, cloud, self._office.terms.issuer)[version == V2]
