"""The key files of a state folder in the store, encrypted.

All controls of a fleet sign by the same keys: the leading one stores its key files as one value,
and the next one restores them when it takes over. A file counts as written once the store has it,
and only then, so no signature is made by a key that the next leader lacks: on a full disk the store
alone has the file until the next restore. The value is encrypted by
AES-256-GCM under a key that HKDF derives from the 32 octets of `--key-file`; the store and its
backups hold no readable key.

Lists of revoked certificates that were signed ahead are left out: they are large, and the next
leader signs them anew, except those of an issuer that was replaced.
"""

import os
import re
import secrets
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import msgspec.msgpack
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Struct

from openimds.credentials.keys.files import KeyFileError, read_file, remove_file, write_file
from openimds.errors import Error
from openimds.log.events import CREDENTIALS_TROUBLE
from openimds.private_files import (
    MirrorError,
    attach_mirror,
    detach_mirror,
    exposed_bits,
    mode_of,
)

KEY = "key-files"
"""The key under which a store has the encrypted files."""
MAX_MIRRORED_BYTES = 4 << 20
"""The most octets of all key files; a thousand noted certificates need a twentieth."""
MARKER = "key-mirror"
"""The file of a state folder that names the store of its key files."""
KEY_BYTES = 32
_FOLDERS = ("ca", "hardware", "hosts", "keys")
_FILES = frozenset({"caller-secret", "msi-v2.key"})
_LEFT_OUT = "ca/lists/"
# The name of a signing key is base64url, and so may begin with a hyphen.
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*){0,3}")
_FORM = b"OIMK1"
_ID_BYTES, _NONCE_BYTES = 8, 12
_HEAD_BYTES = len(_FORM) + _ID_BYTES
_DIGITS = re.compile(rb"[0-9a-fA-F]{64}")


class KeyValues(Protocol):
    """The values of a store by their keys, as its owner makes them durable."""

    def get(self, key: str) -> bytes | None:
        """Return a value, or None.

        Raises:
            Error: the store cannot be read.
        """
        ...

    def put(self, key: str, value: bytes) -> None:
        """Store a value, durably when this returns.

        Raises:
            Error: the store cannot be written, or by another control alone.
        """
        ...


class MirroredFiles(Struct, frozen=True):
    """The key files by their path below the state folder.

    They are in the order of their last change. `origin` is a random name of the store's files.
    """

    origin: str
    files: dict[str, bytes]

    def with_file(self, name: str, content: bytes | None) -> "MirroredFiles":
        """Return the files with one changed, or without it."""
        files = {other: octets for other, octets in self.files.items() if other != name}
        return MirroredFiles(self.origin, files if content is None else {**files, name: content})


class KeyMirror:
    """The key files of a state folder in a store; for use from any thread."""

    def __init__(
        self,
        values: KeyValues,
        key: bytes,
        where: str = "--key-file",
        notify: Callable[[str], object] = lambda _: None,
    ) -> None:
        """Take the store, the octets of the key file, and the name of its setting.

        `notify` takes a sentence on files that only the store has, because the disk is full.
        """
        self._values, self._where, self._notify = values, where, notify
        self._is_unwritten = False
        self._cipher = AESGCM(_derive(key, b"openimds key mirror", KEY_BYTES))
        self._head = _FORM + _derive(key, b"openimds key mirror id", _ID_BYTES)
        self._contents: MirroredFiles | None = None
        self._folder: Path | None = None
        self._lock = threading.Lock()

    def restore(self, folder: Path) -> str:
        """Make the key files of a folder those of the store, and mirror it.

        A store without key files takes those of the folder. Open keys only after this, and call it
        again after another control has written. Returns a sentence for the operator.

        Raises:
            KeyFileError: the key file is another one, the value is damaged, the folder has keys of
                its own, or a file cannot be written.
            MirrorError: the store cannot be read or written.
        """
        detach_mirror(folder)
        with self._lock:
            self._contents = contents = self._read()
            local = _local_files(folder)
            if contents is None:
                contents = MirroredFiles(secrets.token_hex(16), local)
                self._put(contents)
                report = f"the store has taken the {len(local)} key files of {folder}"
            else:
                _check_origin(folder, local, contents)
                report = f"{folder} has the {len(contents.files)} key files of the store"
            write_file(folder / MARKER, contents.origin.encode())
            _write_all(folder, local, contents.files)
        attach_mirror(folder, self)
        self._folder = folder
        return report

    def close(self) -> None:
        """Mirror no folder any longer."""
        if self._folder:
            detach_mirror(self._folder)
            self._folder = None

    def save(self, name: str, content: bytes) -> None:
        """Store a key file; other files of the folder are left out.

        Raises:
            MirrorError: the store cannot be written, or the files are too large.
            KeyFileError: as `restore`.
        """
        if is_mirrored(name):
            self._save(name, content)
            self._is_unwritten = False  # The disk has taken the content before.

    def keep(self, name: str, content: bytes, reason: OSError) -> bool:
        """Store a key file that the disk does not take; return False for another file.

        Raises:
            MirrorError: as `save`.
            KeyFileError: as `restore`.
        """
        if not is_mirrored(name):
            return False
        self._save(name, content)
        if not self._is_unwritten:
            self._is_unwritten = True
            self._notify(
                CREDENTIALS_TROUBLE.message(
                    f"{name}: {(reason.strerror or str(reason)).lower()}: the store alone has "
                    "this key "
                    "file and later ones, and this control cannot lead again before there is room. "
                    "Free space on the disk"
                )
            )
        return True

    def _save(self, name: str, content: bytes) -> None:
        with self._lock:
            contents = self._loaded()
            if contents.files.get(name) != content:
                self._put(contents.with_file(name, content))

    def remove(self, name: str) -> None:
        """Remove a key file from the store.

        Raises:
            MirrorError: the store cannot be written.
            KeyFileError: as `restore`.
        """
        if not is_mirrored(name):
            return
        with self._lock:
            contents = self._loaded()
            if name in contents.files:
                self._put(contents.with_file(name, None))

    def _loaded(self) -> MirroredFiles:
        """Return the files of the store; without any, begin with none."""
        if self._contents is None:
            self._contents = self._read() or MirroredFiles(secrets.token_hex(16), {})
        return self._contents

    def _read(self) -> MirroredFiles | None:
        try:
            value = self._values.get(KEY)
        except Error as error:
            raise MirrorError(f"the key files cannot be read from the store: {error}") from None
        return self._open(value) if value is not None else None

    def _open(self, value: bytes) -> MirroredFiles:
        """Decrypt a value."""
        head, nonce = value[:_HEAD_BYTES], value[_HEAD_BYTES : _HEAD_BYTES + _NONCE_BYTES]
        if not head.startswith(_FORM) or len(nonce) < _NONCE_BYTES:
            raise _damaged("another form, perhaps of a later release")
        if head != self._head:
            raise KeyFileError(
                f"{self._where} is not the one that encrypted the keys of this store. Give all "
                "controls of the store the same file"
            )
        try:
            plain = self._cipher.decrypt(nonce, value[_HEAD_BYTES + _NONCE_BYTES :], _bound(head))
            return msgspec.msgpack.decode(plain, type=MirroredFiles)
        except (InvalidTag, msgspec.MsgspecError):
            raise _damaged("changed octets") from None

    def _put(self, contents: MirroredFiles) -> None:
        size = sum(len(name) + len(content) for name, content in contents.files.items())
        if size > MAX_MIRRORED_BYTES:
            raise MirrorError(
                f"the key files have {size} octets with it, expected {MAX_MIRRORED_BYTES} at most. "
                "Remove what is no key from the folders of the state folder"
            )
        nonce = secrets.token_bytes(_NONCE_BYTES)
        plain = msgspec.msgpack.encode(contents)
        sealed = self._cipher.encrypt(nonce, plain, _bound(self._head))
        try:
            self._values.put(KEY, self._head + nonce + sealed)
        except Error as error:
            raise MirrorError(f"the key files cannot be written to the store: {error}") from None
        self._contents = contents


def is_mirrored(name: str) -> bool:
    """Tell whether a file, by its path below the state folder, is a key file."""
    if not _NAME.fullmatch(name) or name.startswith(_LEFT_OUT):
        return False
    first, _, rest = name.partition("/")
    return first in _FOLDERS if rest else name in _FILES


def make_key_file(path: Path) -> None:
    """Write a new key file of 64 hexadecimal digits, mode 0600.

    Raises:
        KeyFileError: there is a file of this name, or it cannot be written.
    """
    if os.path.lexists(path):
        raise KeyFileError(
            f"{path}: there is such a file, and the keys of a store may be encrypted with it. Name "
            "another one"
        )
    write_file(path, secrets.token_hex(KEY_BYTES).encode() + b"\n")


def read_key_file(path: Path) -> bytes:
    """Return the 32 octets in a key file; a link is followed.

    Kubernetes mounts a secret as a link.

    Raises:
        KeyFileError: the file cannot be read, others may read it, or it has another form.
    """
    try:
        text, status = read_file(path.resolve())
    except FileNotFoundError:
        raise KeyFileError(
            f"{path}: no such file. Copy the file of the other controls of this store; for the "
            f'first one, type (umask 077; openssl rand -hex 32 > "{path}")'
        ) from None
    if exposed_bits(status):
        raise KeyFileError(
            f"{path}: saw the mode {mode_of(status)}, expected 0600: others can read this key. "
            f"Type chmod 600 {path} if nobody has read it"
        )
    digits = text.strip()
    if not _DIGITS.fullmatch(digits):
        raise KeyFileError(
            f"{path}: saw other content, expected {2 * KEY_BYTES} hexadecimal digits. Copy the "
            "file of the other controls of this store"
        )
    return bytes.fromhex(digits.decode())


def _derive(key: bytes, purpose: bytes, size: int) -> bytes:
    return HKDF(SHA256(), size, salt=None, info=purpose).derive(key)


def _bound(head: bytes) -> bytes:
    """Return the octets that are authenticated beside the files."""
    return head + KEY.encode()


def _damaged(seen: str) -> KeyFileError:
    return KeyFileError(
        f'the value "{KEY}" of the store: saw {seen}, expected the encrypted key files. Restore '
        "the store from a backup"
    )


def _local_files(folder: Path) -> dict[str, bytes]:
    """Return the key files of a state folder, the oldest first."""
    paths = [folder / name for name in _FILES]
    for name in _FOLDERS:
        paths += (folder / name).rglob("*")
    named = {path.relative_to(folder).as_posix(): path for path in paths if path.is_file()}
    by_age = sorted(
        (path.lstat().st_mtime_ns, name) for name, path in named.items() if is_mirrored(name)
    )
    return {name: read_file(named[name])[0] for _, name in by_age}


def _check_origin(folder: Path, local: Mapping[str, bytes], contents: MirroredFiles) -> None:
    """Check that a folder has no keys of its own, which would be lost."""
    if not local or local == contents.files:
        return
    try:
        origin, _ = read_file(folder / MARKER)
    except FileNotFoundError:
        origin = b""
    if origin != contents.origin.encode():
        raise KeyFileError(
            f"{folder}: saw key files of its own (such as {min(local)}), expected those of the "
            "store or none: what they signed would no longer verify. Start with an empty --state "
            "folder, or with the one that belongs to this store"
        )


def _write_all(folder: Path, local: Mapping[str, bytes], files: Mapping[str, bytes]) -> None:
    """Write the files of the store into a folder, and remove its others."""
    for name in local.keys() - files.keys():
        remove_file(folder / name)
    for name, content in files.items():
        if local.get(name) != content:
            write_file(folder / name, content)
    # Replaced certificates are read by the times of their files.
    last_ns = (folder / MARKER).stat().st_mtime_ns
    for number, name in enumerate(reversed([*files])):
        at_ns = last_ns - number * 1_000_000
        os.utime(folder / name, ns=(at_ns, at_ns))
