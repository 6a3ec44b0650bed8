"""Read and write an RSA key in a file that its owner alone can read."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias, TypeVar

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from openimds import private_files
from openimds.errors import Error
from openimds.log.events import CREDENTIALS_TROUBLE
from openimds.private_files import mode_of, open_bits

KEY_BITS = 2048
_EXPONENT = 65537
OTHERS = 0o077 if os.name == "posix" else 0
"""Windows has no such bits: the access list of the user's profile counts."""
_REPLACE = "remove it: a new key is made, and signatures by the old one no longer verify"

T = TypeVar("T")

MakeKey: TypeAlias = Callable[[], RSAPrivateKey]
"""A source of new keys."""


class KeyFileError(Error):
    """A key or certificate file of the state directory cannot be read, used or written."""


class UnwritableFileError(KeyFileError):
    """A file that cannot be written: the disk is full, read-only, or fails."""


def new_key(bits: int = KEY_BITS) -> RSAPrivateKey:
    """Generate a key; this takes about a tenth of a second."""
    return generate_private_key(_EXPONENT, bits)


def read_key(path: Path, otherwise: str = _REPLACE) -> RSAPrivateKey:
    """Return the key in a PEM file; `otherwise` is the operator's remedy without a backup.

    Raises:
        KeyFileError: the file cannot be read, others may read it, or it holds no RSA key.
    """
    try:
        text, status = read_file(path)
    except FileNotFoundError as error:
        raise KeyFileError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    if open_bits(status):
        raise KeyFileError(
            f"{path}: saw the mode {mode_of(status)}, expected 0600: others can read this "
            f"private key. Type chmod 600 {path} if nobody has read it, else {otherwise}"
        )
    try:
        key = load_pem_private_key(text, None)
    except (ValueError, TypeError) as error:
        raise _unfit(path, plain_reason(error) or "not readable", otherwise) from None
    if not isinstance(key, RSAPrivateKey):
        raise _unfit(path, "a key of another kind", otherwise)
    return key


def read_file(path: Path) -> tuple[bytes, os.stat_result]:
    """Return the content of a file of the state folder, and its status.

    Raises:
        FileNotFoundError: there is no such file.
        KeyFileError: it cannot be read, or another user may have made it.
    """
    try:
        return private_files.read(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise KeyFileError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except private_files.UntrustedFileError as error:
        raise KeyFileError(str(error)) from None


def plain_reason(error: Exception) -> str:
    """Return the message of a cryptography error without its brackets and its reading list."""
    message = str(error).partition("(")[0].partition(" See ")[0]
    return message.strip(" .").lower()


def write_key(path: Path, key: RSAPrivateKey) -> None:
    """Write a key as PEM (PKCS 8), mode 0600; the file is whole or absent.

    Raises:
        UnwritableFileError: the file cannot be written.
    """
    write_file(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def write_file(path: Path, text: bytes) -> None:
    """Write a file, mode 0600, that is whole or absent even after a power cut.

    Raises:
        UnwritableFileError: the disk is full, read-only, or fails.
        KeyFileError: the file cannot be written for another reason, such as its owner or mirror.
    """
    try:
        private_files.write(path, text)
    except OSError as error:
        kind = UnwritableFileError if private_files.is_of_disk(error) else KeyFileError
        raise kind(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except private_files.MirrorError as error:
        raise KeyFileError(f"{path}: {error}") from None


def remove_file(path: Path) -> None:
    """Remove a file if it is there.

    Raises:
        KeyFileError: it cannot be removed.
    """
    try:
        private_files.remove(path)
    except OSError as error:
        raise KeyFileError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except private_files.MirrorError as error:
        raise KeyFileError(f"{path}: {error}") from None


def _unfit(path: Path, seen: str, otherwise: str) -> KeyFileError:
    return KeyFileError(
        f"{path}: saw {seen}, expected an RSA private key in PEM. Restore the file from a backup, "
        f"or {otherwise}"
    )


def lasting(
    make: Callable[[Path | None], T],
    path: Path | None,
    report: Callable[[str], object] | None,
    loss: str,
) -> T:
    """Make keys in a folder or file, on a full disk in memory.

    `report` gets a message with the loss after a restart.

    Raises:
        UnwritableFileError: the disk is full, and there is no `report`.
        KeyFileError: as `make`.
    """
    try:
        return make(path)
    except UnwritableFileError as error:
        if report is None:
            raise
        made = make(None)
        report(CREDENTIALS_TROUBLE.message(private_files.in_memory(error, loss)))
        return made
