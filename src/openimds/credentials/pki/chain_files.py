"""Root and intermediate: kept in a folder, made where they are not, replaced one by another.

The folder holds `root.key`, `root.pem`, `intermediate.key`, `intermediate.pem`, and in `old/` the
certificates (never the keys) of those that were replaced. An operator who has an authority puts its
intermediate there: `intermediate.key`, and `intermediate.pem` with the rest of its chain behind it.
Then no root is made; and `root.key` may be kept elsewhere, only replacing needs it.

A replacement writes the old certificate to `old/` first, then the new key, then the new
certificate. So a key that does not fit its certificate, where that certificate is in `old/`, is a
replacement that was cut short: it is carried on. Any other misfit is an error. Of what is in `old/`
the next replacement drops what has ended, and all but the last `_MOST_OLD`.
"""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from msgspec import Struct

from openimds.credentials.keys.files import (
    KeyFileError,
    MakeKey,
    new_key,
    plain_reason,
    read_key,
    write_file,
    write_key,
)
from openimds.credentials.pki.certificates import (
    Issuer,
    KeyIssuer,
    cross_certificate,
    file_name,
    intermediate_certificate,
    is_issued_by,
    number_after,
    pem,
    root_certificate,
)

OLD = "old"
_MOST_OLD = 32


class Chain(Struct, frozen=True):
    """What stands above the leaves, and where.

    `root` is None where the issuer is an operator's. `root_key_holder` can sign as the root; it is
    None where the root's key is elsewhere. `above` is what an operator's issuer came with.
    """

    issuer: Issuer
    root: x509.Certificate | None = None
    root_key_holder: KeyIssuer | None = None
    above: tuple[x509.Certificate, ...] = ()
    old: tuple[x509.Certificate, ...] = ()

    def certificates(self) -> list[x509.Certificate]:
        """Return every certificate of an authority, those of now first."""
        return list(dict.fromkeys([*self.lineage(), *self.old]))

    def lineage(self) -> list[x509.Certificate]:
        """Return the issuer and those above it, the root (where it is known) last."""
        return [self.issuer.certificate, *self.above, *([self.root] if self.root else [])]


class ChainLocation(Struct, frozen=True):
    """Where a chain is kept (None: in memory only), and where its certificates are offered.

    `make_key` is where its new keys come from, if they are not to be made.
    """

    folder: Path | None
    public_url: str
    make_key: MakeKey | None = None

    def new_key(self) -> RSAPrivateKey:
        """Return a key that no certificate has yet."""
        return (self.make_key or new_key)()

    def url(self, certificate: x509.Certificate) -> str:
        """Return where a CA's certificate can be fetched, or nothing if nowhere."""
        return f"{self.public_url}/pki/{file_name(certificate)}.crt" if self.public_url else ""


class ExternalCa(Struct, frozen=True):
    """An operator's issuer, and the certificates above it, the root last if it is among them."""

    issuer: Issuer
    above: tuple[x509.Certificate, ...] = ()


def read_issuer(certificates: Path, key: Path) -> ExternalCa:
    """Return an issuer from its files; its PEM file may hold the rest of its chain.

    Raises:
        KeyFileError: a file cannot be read, the key is another's, or it is no CA's certificate.
    """
    own, *above = read_certificates(certificates)
    if not key.exists():
        raise _misfit(key, f"saw no file, expected the key of {certificates}")
    issuer = KeyIssuer(own, _read_key(key))
    if own.public_key() != issuer.key.public_key():
        raise _misfit(certificates, f"its first certificate is for another key than {key} holds")
    return ExternalCa(issuer, tuple(above))


def read_certificates(path: Path) -> list[x509.Certificate]:
    """Return the certificates of a PEM file; the first is a CA's.

    Raises:
        KeyFileError: it cannot be read, holds none, or the first is no CA's.
    """
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
        limits = found[0].extensions.get_extension_for_class(x509.BasicConstraints).value
    except OSError as error:
        raise KeyFileError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except x509.ExtensionNotFound:
        raise _misfit(path, "its first certificate is not that of an authority") from None
    except (ValueError, x509.InvalidVersion, x509.DuplicateExtension) as error:
        raise _misfit(path, f"saw {plain_reason(error)}, expected certificates in PEM") from None
    if not limits.ca:
        raise _misfit(path, "its first certificate is not that of an authority")
    return found


def open_chain(place: ChainLocation, now_s: float) -> Chain:
    """Return the chain of a folder; what is not there is made, and kept.

    Raises:
        KeyFileError: a file cannot be read or written, or does not fit the others.
    """
    above = _open_root(place, now_s)
    if place.folder is None or not (place.folder / "intermediate.pem").exists():
        return _issue(above, place, _open_key(place, "intermediate"), now_s, 1)
    path, key_path = place.folder / "intermediate.pem", place.folder / "intermediate.key"
    own, *rest = read_certificates(path)
    fits = bool(rest) or above.root is None or is_issued_by(own, above.root)
    if own in above.old:
        key = _read_key(key_path)
        if not fits or key.public_key() != own.public_key():
            return _issue(above, place, key, now_s, number_after(own))
    brought = read_issuer(path, key_path)
    if not fits:
        raise _misfit(
            path,
            "root.pem beside it did not issue it. If it is your own authority's, write the rest of "
            "its chain behind it in the same file",
        )
    if rest:
        return Chain(brought.issuer, above=brought.above, old=above.old)
    return Chain(brought.issuer, above.root, above.holder, (), above.old)


def next_intermediate(chain: Chain, place: ChainLocation, now_s: float) -> Chain:
    """Return the chain with a new intermediate; the certificate of the old one stays on offer.

    Raises:
        KeyFileError: the root's key is not here, or a file cannot be written.
    """
    replaced = chain.issuer.certificate
    holder = _root_key(chain, place)
    above = _Above(chain.root, holder, _retire(place, chain.old, now_s, replaced))
    return _issue(above, place, _new_key(place, "intermediate"), now_s, number_after(replaced))


def next_root(chain: Chain, place: ChainLocation, now_s: float) -> Chain:
    """Return the chain with a new root and intermediate; the old root certifies the new one.

    Raises:
        KeyFileError: the root's key is not here, or a file cannot be written.
    """
    older, replaced = _root_key(chain, place), chain.issuer.certificate
    key = place.new_key()
    root = root_certificate(key, now_s)
    crossed = cross_certificate(root, older, _root_url(older.certificate, place, chain.old))
    old = _retire(place, chain.old, now_s, older.certificate, replaced, crossed)
    if place.folder:
        write_key(place.folder / "root.key", key)
        write_file(place.folder / "root.pem", pem([root]))
    above = _Above(root, KeyIssuer(root, key), old)
    return _issue(above, place, _new_key(place, "intermediate"), now_s, number_after(replaced))


def read_old(folder: Path | None) -> tuple[x509.Certificate, ...]:
    """Return the certificates that were replaced, those of long ago first.

    Raises:
        KeyFileError: a file cannot be read, or holds no CA's certificate.
    """
    paths = (folder / OLD).glob("*.pem") if folder else []
    in_turn = sorted(paths, key=lambda path: (path.lstat().st_mtime_ns, path.name))
    return tuple(one for path in in_turn for one in read_certificates(path))


class _Above(Struct, frozen=True):
    """What an intermediate is made from: the root, its key if it is here, and the replaced."""

    root: x509.Certificate | None
    holder: KeyIssuer | None
    old: tuple[x509.Certificate, ...]


def _open_root(place: ChainLocation, now_s: float) -> _Above:
    folder = place.folder
    old = read_old(folder)
    if folder is None:
        return _with_root(None, place.new_key(), now_s, old)
    path, key_path = folder / "root.pem", folder / "root.key"
    if not path.exists():
        if not key_path.exists() and (folder / "intermediate.pem").exists():
            return _Above(None, None, old)  # The intermediate is an operator's.
        return _with_root(folder, _open_key(place, "root"), now_s, old)
    root = read_certificates(path)[0]
    if not key_path.exists():
        return _Above(root, None, old)
    key = _read_key(key_path)
    if key.public_key() == root.public_key():
        return _Above(root, KeyIssuer(root, key), old)
    if root in old:
        return _with_root(folder, key, now_s, old)
    raise _misfit(path, f"it is for another key than {key_path} holds")


def _with_root(
    folder: Path | None, key: RSAPrivateKey, now_s: float, old: tuple[x509.Certificate, ...]
) -> _Above:
    root = root_certificate(key, now_s)
    if folder:
        write_file(folder / "root.pem", pem([root]))
    return _Above(root, KeyIssuer(root, key), old)


def _issue(
    above: _Above, place: ChainLocation, key: RSAPrivateKey, now_s: float, number: int
) -> Chain:
    """Return the chain with a new intermediate for a key, and keep its certificate."""
    if above.root is None or above.holder is None:
        raise _no_root_key(place)
    url = _root_url(above.root, place, above.old)
    made = intermediate_certificate(key.public_key(), number, above.holder, now_s, url)
    if place.folder:
        write_file(place.folder / "intermediate.pem", pem([made]))
    return Chain(KeyIssuer(made, key), above.root, above.holder, (), above.old)


def _root_url(
    root: x509.Certificate, place: ChainLocation, old: tuple[x509.Certificate, ...]
) -> str:
    """Return where a root can be fetched as an older root certifies it, else as it is."""
    crossed = [
        one
        for one in old
        if one.subject == root.subject and one.public_key() == root.public_key() and one != root
    ]
    return place.url(crossed[0] if crossed else root)


def _retire(
    place: ChainLocation,
    old: tuple[x509.Certificate, ...],
    now_s: float,
    *replaced: x509.Certificate,
) -> tuple[x509.Certificate, ...]:
    """Return what stays on offer, with what is replaced; what nobody needs any more is dropped."""
    now = datetime.fromtimestamp(now_s, UTC)
    lasting = [one for one in old if one.not_valid_after_utc >= now and one not in replaced]
    kept = lasting[-(_MOST_OLD - len(replaced)) :]
    if place.folder:
        for one in replaced:
            write_file(_old_file(place.folder, one), pem([one]))
        for one in set(old) - {*kept, *replaced}:
            with suppress(OSError):  # It is dropped another time.
                _old_file(place.folder, one).unlink(missing_ok=True)
    return (*kept, *replaced)


def _old_file(folder: Path, certificate: x509.Certificate) -> Path:
    return folder / OLD / f"{file_name(certificate)}.pem"


def _open_key(place: ChainLocation, name: str) -> RSAPrivateKey:
    path = place.folder and place.folder / f"{name}.key"
    return _read_key(path) if path and path.exists() else _new_key(place, name)


def _new_key(place: ChainLocation, name: str) -> RSAPrivateKey:
    key = place.new_key()
    if place.folder:
        write_key(place.folder / f"{name}.key", key)
    return key


def _root_key(chain: Chain, place: ChainLocation) -> KeyIssuer:
    if chain.root_key_holder is None:
        raise _no_root_key(place)
    return chain.root_key_holder


def _no_root_key(place: ChainLocation) -> KeyFileError:
    where = place.folder / "root.key" if place.folder else "root.key"
    return KeyFileError(
        f"{where}: not there, so no certificate can be issued with it. Put it there for as long as "
        "this takes, or put a new intermediate.key and intermediate.pem in their places by hand"
    )


def _read_key(path: Path) -> RSAPrivateKey:
    return read_key(path, _anew(path.parent))


def _misfit(path: Path, seen: str) -> KeyFileError:
    if path.parent.name == OLD:
        more = f"or remove it: {path.stem} is not published any more then"
    else:
        more = f"or {_anew(path.parent)}"
    return KeyFileError(f"{path}: {seen}. Put the file back from a copy, {more}")


def _anew(folder: Path) -> str:
    """Return how to begin anew; root and intermediate belong together, so no file goes alone."""
    return (
        f"type mv {folder} {folder}.away: new keys and certificates are made, and whoever verifies "
        "needs the new trust bundle"
    )
