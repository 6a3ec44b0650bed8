"""Public halves for relying parties: OIDC discovery, JWK sets, CA certificates, trust bundle."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cryptography.x509 import load_der_x509_certificate
from msgspec import Struct

from openimds.credentials.pki.certificate_info import common_name
from openimds.credentials.pki.der import DerError
from openimds.credentials.pki.ocsp import MALFORMED, decode_path
from openimds.credentials.service import CredentialsService
from openimds.credentials.tokens.oidc import discovery_v1, discovery_v2, jwks
from openimds.facts.clouds import PUBLIC
from openimds.facts.tokens import MULTI_TENANT, TENANT_BLANK
from openimds.protocol.access_token import V2, issuers

if TYPE_CHECKING:
    from openimds.credentials.keys.keyring import PublicKey


class _Pki(Struct, frozen=True):
    """The encoded certificates of one generation of the certificate authority."""

    generation: int
    by_name: Mapping[str, bytes]
    by_common_name: Mapping[str, bytes]
    bundle: bytes


class _Keys(Struct, frozen=True):
    """The JWK rows of a set of public keys."""

    keys: "tuple[PublicKey, ...]"
    rows: list[dict[str, str]]


class Publications:
    """The publications of all tenants.

    A method may make the first key: call it in a thread. Encoded certificates and keys are cached
    until they change.
    """

    def __init__(
        self,
        url: str,
        credentials: CredentialsService,
        clouds: Mapping[str, str],
        utc: Callable[[], float],
    ) -> None:
        """Publish under `url`; `clouds` maps each tenant outside the public cloud to its cloud."""
        self.url = url
        bases = [base for base in (credentials.token_settings.issuer, url) if base]
        self._by_host = {_host_of(base): base for base in bases}
        self.prefixes = frozenset(path for base in bases if (path := urlsplit(base).path))
        """The paths of the issuer and of the public URL: all documents are below them, too."""
        self._credentials, self._clouds, self._utc = credentials, clouds, utc
        self._cached_pki: _Pki | None = None
        self._cached_keys: _Keys | None = None

    def discovery(self, tenant: str, version: str, host: str = "") -> dict[str, Any]:
        """Return the discovery document of a tenant's tokens of a version.

        `tenant` may be `common` or `organizations`. Its URLs begin with the issuer for a reader who
        came by the issuer's host, else with the public URL.
        """
        describe = discovery_v2 if version == V2 else discovery_v1
        url = self._by_host.get(host.lower(), self.url)
        return describe(tenant, url, self._issuer(tenant, version))

    def keys(self, tenant: str, version: str) -> dict[str, Any]:
        """Return the public keys of a tenant as a JWK set.

        Raises:
            KeyFileError: the first key cannot be written.
        """
        issuer = self._issuer(tenant, version) if version == V2 else ""
        rows = self._rows()
        return {"keys": [{**row, "issuer": issuer} for row in rows] if issuer else rows}

    def certificate(self, name: str) -> bytes | None:
        """Return the DER of a CA certificate by its name, or None.

        By a common name, as Azure's paths have it, it is the one in use.

        Raises:
            KeyFileError: a file of the certificate authority cannot be read or written.
        """
        pki = self._pki()
        return pki.by_name.get(name) or pki.by_common_name.get(name)

    def revocation_list(self, name: str) -> bytes | None:
        """Return a list of revoked certificates in DER by its path, or None.

        Raises:
            KeyFileError: as `certificate`.
        """
        return self._credentials.ca.revocation_list(name, self._utc())

    def ocsp_response(self, request: bytes | str) -> bytes:
        """Return the response to an OCSP request: DER, or the path of a GET.

        Raises:
            KeyFileError: as `certificate`.
        """
        try:
            octets = decode_path(request) if isinstance(request, str) else request
        except DerError:
            return MALFORMED
        return self._credentials.ca.ocsp_response(octets, self._utc())

    def bundle(self) -> bytes:
        """Return the trust bundle as PEM.

        Raises:
            KeyFileError: as `certificate`.
        """
        return self._pki().bundle

    def _pki(self) -> _Pki:
        ca, cached = self._credentials.ca, self._cached_pki
        authority = ca.authority(self._utc())
        # The generation is read first: the next call sees a change in between. A successor adds a
        # published certificate without a new generation, so both are compared.
        generation, by_name = ca.generation, authority.published()
        if cached is None or (cached.generation, cached.by_name) != (generation, by_name):
            by_common_name: dict[str, bytes] = {}
            for der in by_name.values():
                by_common_name.setdefault(common_name(load_der_x509_certificate(der)), der)
            bundle = authority.bundle()
            cached = self._cached_pki = _Pki(generation, by_name, by_common_name, bundle)
        return cached

    def _rows(self) -> list[dict[str, str]]:
        keys, cached = self._credentials.keyring().public(self._utc()), self._cached_keys
        if cached is None or cached.keys != keys:
            cached = self._cached_keys = _Keys(keys, jwks(keys)["keys"])
        return cached.rows

    def _issuer(self, tenant: str, version: str) -> str:
        name = TENANT_BLANK if tenant in MULTI_TENANT else tenant
        cloud = self._clouds.get(tenant, PUBLIC)
        return issuers(name, cloud, self._credentials.token_settings.issuer)[version == V2]


def _host_of(url: str) -> str:
    """Return the host of a URL as Host has it, without a default port."""
    parts = urlsplit(url)
    return parts.netloc.lower().removesuffix(":80" if parts.scheme == "http" else ":443")
