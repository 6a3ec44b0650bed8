"""The keys that sign tokens: the one that signs now, and those whose tokens may still live.

`keyring.json` is the truth: it names the keys, and a key signs only once it is named there. A key
file that it does not name was left by a write that was cut short and is swept away; so the order is
always key file, list, key in use, and the other way round when a key goes.
"""

import re
import threading
from base64 import urlsafe_b64encode
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
    new_key,
    read_key,
    write_file,
    write_key,
)

OVERLAP_S = 25 * 3600
"""How long a retired key stays published: its last token lives 24 h 5 min, and clocks differ."""
LIST = "keyring.json"
_KID = r"[A-Za-z0-9_-]{27}"
_KEY_FILE = re.compile(rf"\.?(?P<kid>{_KID})\.pem(\.new)?")


class PublicKey(Struct, frozen=True):
    """What everybody may see of a key."""

    kid: str
    key: RSAPublicKey


class KeyInfo(Struct, frozen=True):
    """What the operator may see of a key: its name, and its times in seconds since 1970.

    The key that signs is not retired; the others stay published until `until_s`.
    """

    kid: str
    began_s: float
    retired_s: float | None = None
    until_s: float | None = None


class TokenSigner(Struct, frozen=True):
    """What signs a token, and the name that its header gives to it."""

    kid: str
    key: RSAPrivateKey


class _KeyRow(Struct, frozen=True, forbid_unknown_fields=True):
    """One key in the list. The key that signs is not retired."""

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
    """The keys, newest first; reading is a glance at a tuple, changing takes its turn.

    All of it may be called from any thread. Where no key signs yet, the first question makes one.
    """

    def __init__(
        self,
        folder: Path | None = None,
        overlap_s: float = OVERLAP_S,
        make_key: MakeKey | None = None,
    ) -> None:
        """Begin empty; `open` is the way to a ring with the keys of before."""
        self._make_key = make_key
        self._folder = folder
        self._overlap_s = overlap_s
        self._keys: tuple[_KeyEntry, ...] = ()
        self._lock = threading.Lock()

    @classmethod
    def open(
        cls, folder: Path | None, overlap_s: float = OVERLAP_S, make_key: MakeKey | None = None
    ) -> "Keyring":
        """Return the ring that is kept in a folder, or one in memory only.

        Raises:
            KeyFileError: a file of it cannot be read, is missing or is not what it was.
        """
        ring = cls(folder, overlap_s, make_key)
        if folder is not None:
            ring._keys = _read(folder)
        return ring

    def signer(self, now_s: float) -> TokenSigner:
        """Return the key that signs.

        Raises:
            KeyFileError: it was the first one, and could not be written.
        """
        return self._with_current(now_s)[0].signer

    def public(self, now_s: float) -> tuple[PublicKey, ...]:
        """Return the keys that verify: the one that signs, then those before it, newest first.

        Raises:
            KeyFileError: it was the first one, and could not be written.
        """
        return tuple(one.public for one in self._published(self._with_current(now_s), now_s))

    def key_infos(self, now_s: float) -> tuple[KeyInfo, ...]:
        """Return the life of every published key, newest first; unlike `public` it makes none."""
        return tuple(self._life(one.row) for one in self._published(self._keys, now_s))

    def _life(self, row: "_KeyRow") -> KeyInfo:
        until_s = None if row.retired_s is None else row.retired_s + self._overlap_s
        return KeyInfo(row.kid, row.began_s, row.retired_s, until_s)

    def rotate(self, now_s: float) -> None:
        """Sign with a new key from now on; the old one stays published for the overlap.

        Raises:
            KeyFileError: the new one cannot be written; the old one goes on signing.
        """
        with self._lock:
            self._begin_key(now_s)

    def prune(self, now_s: float) -> None:
        """Forget the keys whose overlap is over, and remove their files.

        Raises:
            KeyFileError: the list cannot be written; nothing is removed.
        """
        with self._lock:
            kept = self._published(self._keys, now_s)
            if len(kept) < len(self._keys):
                self._keep(kept)

    def _published(self, keys: tuple[_KeyEntry, ...], now_s: float) -> tuple[_KeyEntry, ...]:
        return tuple(
            one
            for one in keys
            if one.row.retired_s is None or now_s < one.row.retired_s + self._overlap_s
        )

    def _with_current(self, now_s: float) -> tuple[_KeyEntry, ...]:
        if not _has_current(self._keys):
            with self._lock:
                # Another thread may have been quicker.
                if not _has_current(self._keys):
                    self._begin_key(now_s)
        return self._keys

    def _begin_key(self, now_s: float) -> None:
        key = (self._make_key or new_key)()
        fresh = _held(_KeyRow(kid_of(key.public_key()), now_s), key)
        if self._folder is not None:
            write_key(_path(self._folder, fresh.row.kid), key)
        before = (
            _KeyEntry(replace(one.row, retired_s=now_s), one.signer, one.public)
            if one.row.retired_s is None
            else one
            for one in self._published(self._keys, now_s)
        )
        self._keep((fresh, *before))

    def _keep(self, keys: tuple[_KeyEntry, ...]) -> None:
        if self._folder is None:
            self._keys = keys
            return
        rows = msgspec.json.encode(_KeyRows(tuple(one.row for one in keys)))
        write_file(self._folder / LIST, msgspec.json.format(rows) + b"\n")
        self._keys = keys
        kids = {one.row.kid for one in keys}
        for path in self._folder.glob("*.pem*"):
            named = _KEY_FILE.fullmatch(path.name)
            if named and named["kid"] not in kids:
                # One that cannot be removed signs nothing any more; the next change tries again.
                with suppress(OSError):
                    path.unlink()


def kid_of(key: RSAPublicKey) -> str:
    """Return the name of a key: 27 characters that everybody can work out from its public half.

    Azure's `kid` equals its `x5t`, the SHA-1 of a certificate. These keys have no certificate, so
    ours is the SHA-1 of the key as a certificate holds it (SubjectPublicKeyInfo, DER), written the
    same way: base64url without padding.
    """
    form = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return urlsafe_b64encode(sha1(form, usedforsecurity=False).digest()).rstrip(b"=").decode()


def _held(row: _KeyRow, key: RSAPrivateKey) -> _KeyEntry:
    return _KeyEntry(row, TokenSigner(row.kid, key), PublicKey(row.kid, key.public_key()))


def _has_current(keys: tuple[_KeyEntry, ...]) -> bool:
    return bool(keys) and keys[0].row.retired_s is None


def _path(folder: Path, kid: str) -> Path:
    return folder / f"{kid}.pem"


def _read(folder: Path) -> tuple[_KeyEntry, ...]:
    try:
        text = (folder / LIST).read_bytes()
    except FileNotFoundError:
        rows = _unlisted(folder)
    except OSError as error:
        raise KeyFileError(f"{folder / LIST}: {(error.strerror or str(error)).lower()}") from None
    else:
        rows = _listed(folder / LIST, text)
    return tuple(_held(row, _key(folder, row.kid)) for row in rows)


def _listed(path: Path, text: bytes) -> tuple[_KeyRow, ...]:
    """Return the rows of the list, the key that signs before the others."""
    try:
        rows = msgspec.json.decode(text, type=_KeyRows).keys
    except ValueError as error:  # What msgspec raises, and what it lets through of UTF-8.
        raise _unfit(path, f"no list of keys ({error})") from None
    for row in rows:
        # It becomes the name of a file.
        if not re.fullmatch(_KID, row.kid):
            raise _unfit(path, f"the kid {row.kid!r}")
    if len({row.kid for row in rows}) < len(rows):
        raise _unfit(path, "a kid twice")
    if sum(row.retired_s is None for row in rows) > 1:
        raise _unfit(path, "two keys that are not retired")
    return tuple(sorted(rows, key=lambda row: row.retired_s is not None))


def _unlisted(folder: Path) -> tuple[_KeyRow, ...]:
    """Return the one key that was written, where the power was cut before the first list was."""
    kids = [path.stem for path in folder.glob("*.pem") if _KEY_FILE.fullmatch(path.name)]
    if len(kids) > 1:
        raise KeyFileError(
            f"{folder}: saw {len(kids)} keys and no {LIST}, expected it to say which of them "
            "signs. Put it back from a copy, or remove all of the keys but one"
        )
    return tuple(_KeyRow(kid, 0) for kid in kids)


def _key(folder: Path, kid: str) -> RSAPrivateKey:
    path = _path(folder, kid)
    if not path.exists():
        raise KeyFileError(
            f"{path}: saw no file, expected the key that {LIST} names. Put it back from a copy, "
            f"or take its row out of {folder / LIST}: what it signed no longer verifies"
        )
    key = read_key(
        path,
        f"remove it and take its row out of {folder / LIST}: what it signed no longer verifies",
    )
    said = kid_of(key.public_key())
    if said != kid:
        raise KeyFileError(
            f"{path}: saw the key {said}, expected the one that the file is named after. "
            "Put the file back from a copy, or give it its name again"
        )
    if key.key_size < KEY_BITS:
        raise KeyFileError(f"{path}: saw {key.key_size} bits, expected {KEY_BITS} or more")
    return key


def _unfit(path: Path, seen: str) -> KeyFileError:
    return KeyFileError(
        f"{path}: saw {seen}, expected the list of keys that was written here. Put the file back "
        "from a copy, or remove it and the keys beside it: a new key is made, and what the old "
        "ones signed no longer verifies"
    )
