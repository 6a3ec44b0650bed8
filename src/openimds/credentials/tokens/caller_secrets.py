"""The secret of each VM, which its callers send where a header of App Service guards."""

import hmac
import secrets
from pathlib import Path

from openimds.errors import Error

FILE_NAME = "caller-secret"
_SIZE_BYTES = 32
_OTHERS = 0o077


class SecretFileError(Error):
    """A file of the state directory that should hold a secret, and does not."""


class CallerSecrets:
    """CallerSecrets worked out of one: a VM has the same one as long as that lives."""

    def __init__(self, seed: bytes) -> None:
        """Work them out of this."""
        self._seed = seed

    @classmethod
    def open(cls, folder: Path | None) -> "CallerSecrets":
        """Return those of a state directory; without one they live as long as the process.

        Raises:
            SecretFileError: the file cannot be read, others may read it, or it is cut.
            KeyFileError: it cannot be written.
        """
        if folder is None:
            return cls(secrets.token_bytes(_SIZE_BYTES))
        path = folder / FILE_NAME
        if not path.exists():
            # Imported here: it loads what signs, and the file is there the next time.
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
            f"{path}: saw something else, expected {2 * _SIZE_BYTES} hexadecimal digits. Remove "
            "it: a new one is made, and callers need the new secrets of their VMs"
        )
    if mode & _OTHERS:
        raise SecretFileError(
            f"{path}: saw the mode {mode & 0o777:04o}, expected 0600: others can read this secret. "
            f"Type chmod 600 {path} if none of them has, else remove the file"
        )
    return seed
