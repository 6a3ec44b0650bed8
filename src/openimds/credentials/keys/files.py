"""Read and write an RSA key in a file that its owner alone can read."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from openimds.errors import Error

KEY_BITS = 2048
_EXPONENT = 65537
OTHERS = 0o077 if os.name == "posix" else 0
"""Windows has no such bits: the access list of the user's profile counts."""
_REPLACE = "remove it: a new key is made, and signatures by the old one no longer verify"

MakeKey: TypeAlias = Callable[[], RSAPrivateKey]
"""A source of new keys."""


class KeyFileError(Error):
    """A key or certificate file of the state directory cannot be read, used or written."""


def new_key(bits: int = KEY_BITS) -> RSAPrivateKey:
    """Generate a key; this takes about a tenth of a second."""
    return generate_private_key(_EXPONENT, bits)


def read_key(path: Path, otherwise: str = _REPLACE) -> RSAPrivateKey:
    """Return the key in a PEM file; `otherwise` is the operator's remedy without a backup.

    Raises:
        KeyFileError: the file cannot be read, others may read it, or it holds no RSA key.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_bytes()
    except OSError as error:
        raise KeyFileError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    if mode & OTHERS:
        raise KeyFileError(
            f"{path}: saw the mode {mode & 0o777:04o}, expected 0600: others can read this private "
            f"key. Type chmod 600 {path} if nobody has read it, else {otherwise}"
        )
    try:
        key = load_pem_private_key(text, None)
    except (ValueError, TypeError) as error:
        raise _unfit(path, plain_reason(error) or "not readable", otherwise) from None
    if not isinstance(key, RSAPrivateKey):
        raise _unfit(path, "a key of another kind", otherwise)
    return key


def plain_reason(error: Exception) -> str:
    """Return the message of a cryptography error without its brackets and its reading list."""
    message = str(error).partition("(")[0].partition(" See ")[0]
    return message.strip(" .").lower()


def write_key(path: Path, key: RSAPrivateKey) -> None:
    """Write a key as PEM (PKCS 8), mode 0600; the file is whole or absent.

    Raises:
        KeyFileError: the file cannot be written.
    """
    write_file(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def write_file(path: Path, text: bytes) -> None:
    """Write a file, mode 0600, that is whole or absent even after a power cut.

    Raises:
        KeyFileError: the file cannot be written.
    """
    new = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        if os.name == "posix":  # Windows does not open folders.
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        raise KeyFileError(f"{path}: {(error.strerror or str(error)).lower()}") from None


def _unfit(path: Path, seen: str, otherwise: str) -> KeyFileError:
    return KeyFileError(
        f"{path}: saw {seen}, expected an RSA private key in PEM. Restore the file from a backup, "
        f"or {otherwise}"
    )
