"""The keys that sign tokens: the current key, and published retired keys.

`keyring.json` is authoritative: it lists the keys, and a key signs only once it is listed. A key
file that is not listed was left by an interrupted write and is removed. So a new key is written in
the order key file, list, use; a dropped key disappears in the reverse order.
"""

import re
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha1
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec import Struct
from msgspec.structs import replace

from openimds.credentials.keys.files import (
    KEY_BITS,
    KeyFileError,
    MakeKey,
    lasting,
    new_key,
    read_file,
    read_key,
    remove_file,
    write_file,
    write_key,
)

OVERLAP_S = 25 * 3600
"""How long a retired key stays published: its last token lives 24 h 5 min, and clocks differ."""
LIFE_S = 365 * 86_400
"""The age at which a key is replaced by itself."""
LIST = "keyring.json"
_KID = r"[A-Za-z0-9_-]{27}"
_KEY_FILE = re.compile(rf"\.?(?P<kid>{_KID})\.pem(\.new)?")


class PublicKey(Struct, frozen=True):
    """The public half of a key, and its name."""

    kid: str
    key: RSAPublicKey


class KeyInfo(Struct, frozen=True):
    """A key as the operator sees it: its name, and times in seconds since 1970.

    The current key has no `retired_s`; retired keys stay published until `until_s`.
    """

    kid: str
    began_s: float
    retired_s: float | None = None
    until_s: float | None = None


class TokenSigner(Struct, frozen=True):
    """A private key, and the kid by which a token's header names it."""

    kid: str
    key: RSAPrivateKey


class _KeyRow(Struct, frozen=True, forbid_unknown_fields=True):
    """One key in the list; the current key has no `retired_s`."""

    kid: str
    began_s: float
    retired_s: float | None = None


class _KeyRows(Struct, frozen=True, forbid_unknown_fields=True):
    keys: tuple[_KeyRow, ...]


class _KeyEntry(Struct, frozen=True):
    row: _KeyRow
    signer: TokenSigner
    public: PublicKey


class Keyring:
    """The keys, newest first. Reads use an immutable tuple; changes take a lock.

    It may be used from any thread. The first read that needs a current key makes one.
    """

    def __init__(
        self,
        folder: Path | None = None,
        overlap_s: float = OVERLAP_S,
        make_key: MakeKey | None = None,
    ) -> None:
        """Begin empty; `open` reads the keys of an earlier process."""
        self._make_key = make_key
        self._folder = folder
        self._overlap_s = overlap_s
        self._keys: tuple[_KeyEntry, ...] = ()
        self._lock = threading.Lock()
        self.report: Callable[[str], None] | None = None
        """Takes a sentence on a first key that cannot be written; None makes that an error."""

    @classmethod
    def open(
        cls, folder: Path | None, overlap_s: float = OVERLAP_S, make_key: MakeKey | None = None
    ) -> "Keyring":
        """Return the ring stored in a folder; without a folder, a ring in memory only.

        Raises:
            KeyFileError: a file cannot be read, is missing or does not hold the listed key.
        """
        ring = cls(folder, overlap_s, make_key)
        if folder is not None:
            ring._keys = _read(folder)
        return ring

    def signer(self, now_s: float) -> TokenSigner:
        """Return the current key.

        Raises:
            KeyFileError: the first key cannot be written.
        """
        return self._with_current(now_s)[0].signer

    def public(self, now_s: float) -> tuple[PublicKey, ...]:
        """Return the published keys: the current one, then retired ones, newest first.

        Raises:
            KeyFileError: the first key cannot be written.
        """
        return tuple(entry.public for entry in self._published(self._with_current(now_s), now_s))

    def key_infos(self, now_s: float) -> tuple[KeyInfo, ...]:
        """Return names and times of the published keys, newest first; make no key."""
        return tuple(self._info(entry.row) for entry in self._published(self._keys, now_s))

    def ends(self) -> dict[tuple[str, ...], float]:
        """Return the ends of the keys by kid and use, in seconds since 1970.

        The current one signs until its age; retired ones are published for those who verify.
        """
        infos = [self._info(entry.row) for entry in self._keys]
        return {
            (info.kid, "sign" if info.until_s is None else "verify"): (
                info.began_s + LIFE_S if info.until_s is None else info.until_s
            )
            for info in infos
        }

    def _info(self, row: "_KeyRow") -> KeyInfo:
        until_s = None if row.retired_s is None else row.retired_s + self._overlap_s
        return KeyInfo(row.kid, row.began_s, row.retired_s, until_s)

    def rotate(self, now_s: float) -> None:
        """Sign with a new key; the old key stays published for the overlap.

        Raises:
            KeyFileError: the new key cannot be written; the old one stays current.
        """
        with self._lock:
            self._add_key(now_s)

    def renew(self, now_s: float) -> KeyInfo | None:
        """Rotate if the current key is old; return the new key, or None.

        Raises:
            KeyFileError: as `rotate`.
        """
        with self._lock:
            if not _has_current(self._keys) or now_s - self._keys[0].row.began_s < LIFE_S:
                return None
            self._add_key(now_s)
            return self._info(self._keys[0].row)

    def prune(self, now_s: float) -> None:
        """Drop the keys whose overlap is over, and remove their files.

        Raises:
            KeyFileError: the list cannot be written; nothing is removed.
        """
        with self._lock:
            published = self._published(self._keys, now_s)
            if len(published) < len(self._keys):
                self._save(published)

    def _published(self, keys: tuple[_KeyEntry, ...], now_s: float) -> tuple[_KeyEntry, ...]:
        return tuple(
            entry
            for entry in keys
            if entry.row.retired_s is None or now_s < entry.row.retired_s + self._overlap_s
        )

    def _with_current(self, now_s: float) -> tuple[_KeyEntry, ...]:
        if not _has_current(self._keys):
            with self._lock:
                # Another thread may have made it meanwhile.
                if not _has_current(self._keys):
                    self._add_first_key(now_s)
        return self._keys

    def _add_first_key(self, now_s: float) -> None:
        """Make the first key; keep it in memory on a full disk."""

        def add(folder: Path | None) -> None:
            self._folder = folder
            self._add_key(now_s)

        loss = "tokens are signed by a key in memory, and no longer verify"
        lasting(add, self._folder, self.report, loss)

    def _add_key(self, now_s: float) -> None:
        key = (self._make_key or new_key)()
        fresh = _entry(_KeyRow(kid_of(key.public_key()), now_s), key)
        if self._folder is not None:
            write_key(_path(self._folder, fresh.row.kid), key)
        retired = (
            _KeyEntry(replace(entry.row, retired_s=now_s), entry.signer, entry.public)
            if entry.row.retired_s is None
            else entry
            for entry in self._published(self._keys, now_s)
        )
        self._save((fresh, *retired))

    def _save(self, keys: tuple[_KeyEntry, ...]) -> None:
        if self._folder is None:
            self._keys = keys
            return
        rows = msgspec.json.encode(_KeyRows(tuple(entry.row for entry in keys)))
        write_file(self._folder / LIST, msgspec.json.format(rows) + b"\n")
        self._keys = keys
        kids = {entry.row.kid for entry in keys}
        for path in self._folder.glob("*.pem*"):
            named = _KEY_FILE.fullmatch(path.name)
            if named and named["kid"] not in kids:
                # A file that stays behind signs nothing; the next change tries again.
                with suppress(KeyFileError):
                    remove_file(path)


def kid_of(key: RSAPublicKey) -> str:
    """Return the name of a key: 27 characters, computed from its public half.

    Azure's `kid` equals its `x5t`, the SHA-1 of a certificate. These keys have no certificate, so
    the name is the SHA-1 of the key as a certificate holds it (SubjectPublicKeyInfo, DER), in the
    same form: base64url without padding.
    """
    form = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return urlsafe_b64encode(sha1(form, usedforsecurity=False).digest()).rstrip(b"=").decode()


def _entry(row: _KeyRow, key: RSAPrivateKey) -> _KeyEntry:
    return _KeyEntry(row, TokenSigner(row.kid, key), PublicKey(row.kid, key.public_key()))


def _has_current(keys: tuple[_KeyEntry, ...]) -> bool:
    return bool(keys) and keys[0].row.retired_s is None


def _path(folder: Path, kid: str) -> Path:
    return folder / f"{kid}.pem"


def _read(folder: Path) -> tuple[_KeyEntry, ...]:
    try:
        text, _ = read_file(folder / LIST)
    except FileNotFoundError:
        rows = _unlisted(folder)
    else:
        rows = _listed(folder / LIST, text)
    return tuple(_entry(row, _key(folder, row.kid)) for row in rows)


def _listed(path: Path, text: bytes) -> tuple[_KeyRow, ...]:
    """Return the rows of the list, the current key first."""
    try:
        rows = msgspec.json.decode(text, type=_KeyRows).keys
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _unfit(path, f"invalid JSON ({error})") from None
    for row in rows:
        # The kid becomes a file name.
        if not re.fullmatch(_KID, row.kid):
            raise _unfit(path, f"the kid {row.kid!r}")
    if len({row.kid for row in rows}) < len(rows):
        raise _unfit(path, "the same kid twice")
    if sum(row.retired_s is None for row in rows) > 1:
        raise _unfit(path, "two keys that are not retired")
    return tuple(sorted(rows, key=lambda row: row.retired_s is not None))


def _unlisted(folder: Path) -> tuple[_KeyRow, ...]:
    """Return the first key of a ring that was interrupted before it wrote its list."""
    kids = [path.stem for path in folder.glob("*.pem") if _KEY_FILE.fullmatch(path.name)]
    if len(kids) > 1:
        raise KeyFileError(
            f"{folder}: saw {len(kids)} keys and no {LIST}, expected the list that names the "
            f"current key. Restore {LIST} from a backup, or remove all keys but one"
        )
    return tuple(_KeyRow(kid, 0) for kid in kids)


def _key(folder: Path, kid: str) -> RSAPrivateKey:
    path = _path(folder, kid)
    if not path.exists():
        raise KeyFileError(
            f"{path}: saw no file, expected the key that {LIST} names. Restore it from a backup, "
            f"or delete its row from {folder / LIST}: signatures by it no longer verify"
        )
    remedy = f"remove it and delete its row from {folder / LIST}: signatures by it no longer verify"
    key = read_key(path, remedy)
    actual = kid_of(key.public_key())
    if actual != kid:
        raise KeyFileError(
            f"{path}: saw the key {actual}, expected the key that the file is named after. "
            f"Restore the file from a backup, or rename it to {actual}.pem"
        )
    if key.key_size < KEY_BITS:
        raise KeyFileError(
            f"{path}: saw {key.key_size} bits, expected {KEY_BITS} or more. To go on, {remedy}"
        )
    return key


def _unfit(path: Path, seen: str) -> KeyFileError:
    return KeyFileError(
        f"{path}: saw {seen}, expected a list of keys as OpenIMDS writes it. Restore the file "
        "from a backup, or remove it and the keys beside it: a new key is made, and signatures by "
        "the old ones no longer verify"
    )
