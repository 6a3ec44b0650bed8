"""The files of root and intermediate: read, made where they are missing, replaced.

The folder holds `root.key`, `root.pem`, `intermediate.key`, `intermediate.pem`, in a chain of four
`tier.key` and `tier.pem` between them, and in `old/` the replaced certificates (never their keys).
The name of an intermediate tells its generation: a folder keeps its chain, also one of an earlier
release, until a replacement. An operator with a CA can put an intermediate there:
`intermediate.key`, and `intermediate.pem` followed by the rest of its chain. Then no root is made.
`root.key` may be stored elsewhere: only a replacement needs it, and that of an intermediate below a
tier does not.

A replacement writes the old certificate to `old/` first, then the new key, then the new
certificate. So a key that does not fit its certificate, if that certificate is in `old/`, is a sign
of an interrupted replacement, which is completed. Any other misfit is an error. Each replacement
drops from `old/` the expired certificates, and all but the last `_MAX_OLD`.
"""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from msgspec import Struct, structs

from openimds.credentials.keys.files import (
    KeyFileError,
    remove_file,
    write_file,
    write_key,
)
from openimds.credentials.pki.certificate_info import (
    file_name,
    generation_of,
    has_critical_constraints,
    is_issued_by,
    number_after,
    pem,
)
from openimds.credentials.pki.certificates import (
    KeyIssuer,
    cross_certificate,
    intermediate_certificate,
    root_certificate,
    tier_certificate,
)
from openimds.credentials.pki.chain import Chain, ChainLocation
from openimds.credentials.pki.extensions import Addresses, addresses_in
from openimds.credentials.pki.issuer_files import (
    OLD,
    misfit,
    read_certificates,
    read_issuer,
    read_issuer_key,
)
from openimds.facts.generations import GENERATIONS, NEWEST

_MAX_OLD = 32


def open_chain(location: ChainLocation, now_s: float) -> Chain:
    """Read the chain of a folder; make and write the missing files.

    Raises:
        KeyFileError: a file cannot be read or written, or does not fit the others.
    """
    above = _open_above(location, now_s)
    if location.folder is None or not (location.folder / "intermediate.pem").exists():
        return _issue(above, location, _open_key(location, "intermediate"), now_s, 1)
    path, key_path = location.folder / "intermediate.pem", location.folder / "intermediate.key"
    intermediate, *rest = read_certificates(path)
    tier = above.tier if above.tier and is_issued_by(intermediate, above.tier.certificate) else None
    is_below_root = above.root is None or is_issued_by(intermediate, above.root)
    fits = bool(rest) or bool(tier) or is_below_root
    if intermediate in above.old:
        key = read_issuer_key(key_path)
        if not fits or key.public_key() != intermediate.public_key():
            return _issue(above, location, key, now_s, number_after(intermediate))
    stored = read_issuer(path, key_path)
    if not fits:
        raise misfit(
            path,
            "root.pem beside it did not issue it. If it is of your own CA, append the rest of its "
            "chain to the same file",
        )
    if rest:
        return Chain(stored.issuer, above=stored.above, old=above.old)
    chain = Chain(stored.issuer, above.root, above.holder, (), above.old, tier)
    return _with_addresses(chain, location, now_s)


def _with_addresses(chain: Chain, location: ChainLocation, now_s: float) -> Chain:
    """Issue tier and intermediate anew under their keys if this server has other addresses now.

    A verifier waits half a minute for an address that is not served. A chain of release 0.1.0,
    whose name constraints are critical, stays as it is.
    """
    issuer, root, holder, tier = chain.issuer, chain.root, chain.root_key_holder, chain.tier
    generation = generation_of(issuer.certificate)
    is_early = has_critical_constraints(issuer.certificate)
    if root is None or generation is None or is_early or not isinstance(issuer, KeyIssuer):
        return chain
    replaced = []
    above = _published_root(root, chain.old)
    if tier and holder:
        newest = GENERATIONS[NEWEST]
        if addresses_in(tier.certificate) != location.addresses(above, newest):
            replaced.append(tier.certificate)
            tier = _certify_tier(_Above(root, holder, chain.old), location, tier.key)
    signer = tier or holder
    addresses = location.addresses(tier.certificate if tier else above, generation)
    if signer and addresses_in(issuer.certificate) != addresses:
        replaced.append(issuer.certificate)
        number = number_after(issuer.certificate) - 1
        certificate = intermediate_certificate(
            issuer.key.public_key(), number, signer, now_s, addresses, generation
        )
        if location.folder:
            write_file(location.folder / "intermediate.pem", pem([certificate]))
        issuer = KeyIssuer(certificate, issuer.key)
    if not replaced:
        return chain
    old = _retire(location, chain.old, now_s, *replaced)
    return structs.replace(chain, issuer=issuer, tier=tier, old=old)


def next_intermediate(chain: Chain, location: ChainLocation, now_s: float) -> Chain:
    """Replace the intermediate; its old certificate stays published.

    Raises:
        KeyFileError: the root's key is absent, or a file cannot be written.
    """
    replaced = chain.issuer.certificate
    needs_tier = location.generation.tiers > 1
    tier = chain.tier or _open_tier(location, chain.root, chain.root_key_holder, chain.old)
    if tier is None or not needs_tier:
        _root_key(chain, location)
    dropped = [chain.tier.certificate] if chain.tier and not needs_tier else []
    old = _retire(location, chain.old, now_s, *dropped, replaced)
    above = _Above(chain.root, chain.root_key_holder, old, tier)
    return _issue(
        above, location, _new_key(location, "intermediate"), now_s, number_after(replaced)
    )


def next_root(chain: Chain, location: ChainLocation, now_s: float) -> Chain:
    """Replace root and intermediate; the old root certifies the new one.

    Raises:
        KeyFileError: the root's key is absent, or a file cannot be written.
    """
    older, replaced = _root_key(chain, location), chain.issuer.certificate
    key = location.new_ca_key()
    root = root_certificate(key, now_s)
    # The older root's key will be gone: nothing could sign a list for this certificate.
    addresses = location.addresses(
        _published_root(older.certificate, chain.old), location.generation
    )
    crossed = []
    if older.certificate.not_valid_after_utc.timestamp() >= now_s:
        crossed = [cross_certificate(root, older, Addresses(issuers=addresses.issuers))]
    tier = chain.tier or _open_tier(location, chain.root, older, chain.old)
    retired = [tier.certificate] if tier else []
    old = _retire(location, chain.old, now_s, older.certificate, *retired, replaced, *crossed)
    if location.folder:
        write_key(location.folder / "root.key", key)
        write_file(location.folder / "root.pem", pem([root]))
    above = _Above(root, KeyIssuer(root, key), old)
    if tier:
        above = structs.replace(above, tier=_new_tier(above, location))
    return _issue(
        above, location, _new_key(location, "intermediate"), now_s, number_after(replaced)
    )


def read_old(folder: Path | None) -> tuple[x509.Certificate, ...]:
    """Read the replaced certificates, the oldest first.

    Raises:
        KeyFileError: a file cannot be read, or has no CA certificate.
    """
    paths = (folder / OLD).glob("*.pem") if folder else []
    by_age = sorted(paths, key=lambda path: (path.lstat().st_mtime_ns, path.name))
    return tuple(certificate for path in by_age for certificate in read_certificates(path))


class _Above(Struct, frozen=True):
    """The root, its key and the tier if present, and the replaced certificates."""

    root: x509.Certificate | None
    holder: KeyIssuer | None
    old: tuple[x509.Certificate, ...]
    tier: KeyIssuer | None = None


def _open_above(location: ChainLocation, now_s: float) -> _Above:
    above = _open_root(location, now_s)
    tier = _open_tier(location, above.root, above.holder, above.old)
    return structs.replace(above, tier=tier)


def _open_tier(
    location: ChainLocation,
    root: x509.Certificate | None,
    holder: KeyIssuer | None,
    old: tuple[x509.Certificate, ...],
) -> KeyIssuer | None:
    """Return the tier of a folder; complete its interrupted replacement."""
    folder = location.folder
    if folder is None or root is None:
        return None
    path, key_path = folder / "tier.pem", folder / "tier.key"
    if not path.exists() and not key_path.exists():
        return None
    key = read_issuer_key(key_path)
    above = _Above(root, holder, old)
    if not path.exists():
        return _certify_tier(above, location, key)
    tier = read_certificates(path)[0]
    fits = key.public_key() == tier.public_key()
    if fits and is_issued_by(tier, root):
        return KeyIssuer(tier, key)
    if tier in old:
        return _certify_tier(above, location, key)
    another = f"it is for another key than {key_path} holds"
    raise misfit(path, "root.pem beside it did not issue it" if fits else another)


def _new_tier(above: _Above, location: ChainLocation) -> KeyIssuer:
    key = location.new_ca_key()
    if location.folder:
        write_key(location.folder / "tier.key", key)
    return _certify_tier(above, location, key)


def _certify_tier(above: _Above, location: ChainLocation, key: RSAPrivateKey) -> KeyIssuer:
    """Certify a key of a tier by the root, and write the certificate."""
    if above.root is None or above.holder is None:
        raise _no_root_key(location)
    addresses = location.addresses(_published_root(above.root, above.old), GENERATIONS[NEWEST])
    certificate = tier_certificate(key.public_key(), above.holder, addresses)
    if location.folder:
        write_file(location.folder / "tier.pem", pem([certificate]))
    return KeyIssuer(certificate, key)


def _open_root(location: ChainLocation, now_s: float) -> _Above:
    folder = location.folder
    old = read_old(folder)
    if folder is None:
        return _with_root(None, location.new_ca_key(), now_s, old)
    path, key_path = folder / "root.pem", folder / "root.key"
    if not path.exists():
        if not key_path.exists() and (folder / "intermediate.pem").exists():
            return _Above(None, None, old)  # An operator's CA issued the intermediate.
        return _with_root(folder, _open_key(location, "root"), now_s, old)
    root = read_certificates(path)[0]
    if not key_path.exists():
        return _Above(root, None, old)
    key = read_issuer_key(key_path)
    if key.public_key() == root.public_key():
        return _Above(root, KeyIssuer(root, key), old)
    if root in old:
        return _with_root(folder, key, now_s, old)
    raise misfit(path, f"it is for another key than {key_path} holds")


def _with_root(
    folder: Path | None, key: RSAPrivateKey, now_s: float, old: tuple[x509.Certificate, ...]
) -> _Above:
    root = root_certificate(key, now_s)
    if folder:
        write_file(folder / "root.pem", pem([root]))
    return _Above(root, KeyIssuer(root, key), old)


def _issue(
    above: _Above, location: ChainLocation, key: RSAPrivateKey, now_s: float, number: int
) -> Chain:
    """Issue an intermediate for a key, and write its certificate; make its tier if needed."""
    generation = location.generation
    tier = None
    if generation.tiers > 1:
        tier = above.tier or _new_tier(above, location)
    issuer = tier or above.holder
    if above.root is None or issuer is None:
        raise _no_root_key(location)
    upper = tier.certificate if tier else _published_root(above.root, above.old)
    addresses = location.addresses(upper, generation)
    certificate = intermediate_certificate(
        key.public_key(), number, issuer, now_s, addresses, generation
    )
    if location.folder:
        write_file(location.folder / "intermediate.pem", pem([certificate]))
    return Chain(KeyIssuer(certificate, key), above.root, above.holder, (), above.old, tier)


def _published_root(root: x509.Certificate, old: tuple[x509.Certificate, ...]) -> x509.Certificate:
    """Return a root's cross certificate if there is one, else the root."""
    crossed = [
        certificate
        for certificate in old
        if certificate != root
        and certificate.subject == root.subject
        and certificate.public_key() == root.public_key()
    ]
    return crossed[0] if crossed else root


def _retire(
    location: ChainLocation,
    old: tuple[x509.Certificate, ...],
    now_s: float,
    *replaced: x509.Certificate,
) -> tuple[x509.Certificate, ...]:
    """Move certificates to `old/`, and return those that stay published."""
    now = datetime.fromtimestamp(now_s, UTC)
    valid = [item for item in old if item.not_valid_after_utc >= now and item not in replaced]
    published = valid[-(_MAX_OLD - len(replaced)) :]
    if location.folder:
        for certificate in replaced:
            write_file(_old_file(location.folder, certificate), pem([certificate]))
        for certificate in set(old) - {*published, *replaced}:
            with suppress(KeyFileError):  # The next replacement tries again.
                remove_file(_old_file(location.folder, certificate))
    return (*published, *replaced)


def _old_file(folder: Path, certificate: x509.Certificate) -> Path:
    return folder / OLD / f"{file_name(certificate)}.pem"


def _open_key(location: ChainLocation, name: str) -> RSAPrivateKey:
    path = location.folder and location.folder / f"{name}.key"
    return read_issuer_key(path) if path and path.exists() else _new_key(location, name)


def _new_key(location: ChainLocation, name: str) -> RSAPrivateKey:
    key = location.new_ca_key()
    if location.folder:
        write_key(location.folder / f"{name}.key", key)
    return key


def _root_key(chain: Chain, location: ChainLocation) -> KeyIssuer:
    if chain.root_key_holder is None:
        raise _no_root_key(location)
    return chain.root_key_holder


def _no_root_key(location: ChainLocation) -> KeyFileError:
    path = location.folder / "root.key" if location.folder else "root.key"
    return KeyFileError(
        f"{path}: missing, so no certificate can be issued with it. Put it there while this runs, "
        "or replace intermediate.key and intermediate.pem by hand"
    )
