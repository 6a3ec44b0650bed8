"""A request of a verifier at the public listener, as faults see it."""

from collections.abc import Collection
from urllib.parse import urlsplit

from msgspec import Struct

from openimds.facts.attested import ALTERNATE_PATH, AZURE_BASES, ISSUERS_PATH
from openimds.facts.effects import PublicResource
from openimds.facts.fault_parameters import FIRST, SECOND
from openimds.facts.revocation import CRL_PATH, OCSP_PATH

_RESOURCES = {
    ISSUERS_PATH: PublicResource.ISSUERS,
    CRL_PATH: PublicResource.LISTS,
    OCSP_PATH: PublicResource.OCSP,
}
_SECOND_HOSTS = frozenset(
    urlsplit(base).netloc
    for bases in (AZURE_BASES.issuers, AZURE_BASES.lists)
    for base in bases[1:]
)


class PublicRequest(Struct, frozen=True):
    """A request for a document that faults can spoil.

    `path` is the one below the public URL, the same at both addresses; `name` is the rest of it
    behind the path of the resource. OCSP has one address, the first.
    """

    resource: PublicResource
    method: str
    path: str
    name: str
    address: str = FIRST


def public_request(
    method: str, path: str, host: str, prefixes: Collection[str] = ()
) -> PublicRequest | None:
    """Return a request for a spoilable document, or None for any other.

    `prefixes` are the paths of the public URLs; `host` is the header of that name.
    """
    for prefix in prefixes:
        if path.startswith(f"{prefix}/"):
            path = path.removeprefix(prefix)
            break
    is_second = path.startswith(f"{ALTERNATE_PATH}/") or host.lower() in _SECOND_HOSTS
    path = path.removeprefix(ALTERNATE_PATH)
    for base, resource in _RESOURCES.items():
        if path == base or path.startswith(f"{base}/"):
            name = path.removeprefix(base).removeprefix("/")
            return PublicRequest(resource, method, path, name, SECOND if is_second else FIRST)
    return None
