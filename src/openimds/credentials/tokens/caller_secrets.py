"""The secret of each VM, which callers send in App Service's X-IDENTITY-HEADER."""

import hmac
import os
import secrets
from pathlib import Path

from openimds.errors import Error

FILE_NAME = "caller-secret"
_SIZE_BYTES = 32
_OTHERS = 0o077 if os.name == "posix" else 0
"""Windows has no such bits: the access list of the user's profile counts."""


class SecretFileError(Error):
    """The secret file of the state directory cannot be read or used."""


class CallerSecrets:
    """The secrets of all VMs, derived from one seed and as lasting as it."""

    def __init__(self, seed: bytes) -> None:
        """Derive secrets from a seed."""
        self._seed = seed

    @classmethod
    def open(cls, folder: Path | None) -> "CallerSecrets":
        """Open the secrets of a state directory; without one, they end with the process.

        Raises:
            SecretFileError: the file cannot be read, others may read it, or it is truncated.
            KeyFileError: the file cannot be written.
        """
        if folder is None:
            return cls(secrets.token_bytes(_SIZE_BYTES))
        path = folder / FILE_NAME
        if not path.exists():
            # Imported here: it loads cryptography, and only the first start writes the file.
            from openimds.credentials.keys.files import write_file  # noqa: PLC0415 - see above

            write_file(path, secrets.token_hex(_SIZE_BYTES).encode())
        return cls(_read(path))

    def of(self, vm: str) -> str:
        """Return the secret of a VM: 64 hexadecimal digits."""
        return hmac.new(self._seed, vm.encode(), "sha256").hexdigest()


def _read(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        seed = bytes.fromhex(path.read_text("ascii"))
    except OSError as error:
        raise SecretFileError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except ValueError:
        seed = b""
    if len(seed) != _SIZE_BYTES:
        raise SecretFileError(
            f"{path}: saw other content, expected {2 * _SIZE_BYTES} hexadecimal digits. Remove it: "
            "a new one is made, and callers need the new secrets of their VMs"
        )
    if mode & _OTHERS:
        raise SecretFileError(
            f"{path}: saw the mode {mode & 0o777:04o}, expected 0600: others can read this secret. "
            f"Type chmod 600 {path} if nobody has read it, else remove it"
        )
    return seed
