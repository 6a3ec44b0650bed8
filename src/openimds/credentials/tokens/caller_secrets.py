"""The secret of each VM, which callers send in App Service's X-IDENTITY-HEADER."""

import hmac
import secrets
from collections.abc import Callable
from pathlib import Path

from openimds import private_files
from openimds.errors import Error
from openimds.log.events import CREDENTIALS_TROUBLE

FILE_NAME = "caller-secret"
_SIZE_BYTES = 32


class SecretFileError(Error):
    """The secret file of the state directory cannot be read or used."""


class CallerSecrets:
    """The secrets of all VMs, derived from one seed and as lasting as it."""

    def __init__(self, seed: bytes) -> None:
        """Derive secrets from a seed."""
        self._seed = seed

    @classmethod
    def open(
        cls, folder: Path | None, notify: Callable[[str], None] | None = None
    ) -> "CallerSecrets":
        """Open the secrets of a state directory; without one, they end with the process.

        So do secrets that cannot be written; `notify` takes a sentence on it, None makes it an
        error.

        Raises:
            SecretFileError: the file cannot be read or written, others may read it, or it is
                truncated.
        """
        if folder is None:
            return cls(secrets.token_bytes(_SIZE_BYTES))
        path = folder / FILE_NAME
        if not path.exists():
            seed = secrets.token_bytes(_SIZE_BYTES)
            try:
                private_files.write(path, seed.hex().encode())
            except private_files.MirrorError as error:
                raise SecretFileError(f"{path}: {error}") from None
            except OSError as error:
                reason = f"{path}: {(error.strerror or str(error)).lower()}"
                if notify is None or not private_files.is_of_disk(error):
                    raise SecretFileError(reason) from None
                loss = "the secrets of VMs are in memory, and others"
                notify(CREDENTIALS_TROUBLE.message(private_files.in_memory(reason, loss)))
            return cls(seed)
        return cls(_read(path))

    def of(self, vm: str) -> str:
        """Return the secret of a VM: 64 hexadecimal digits."""
        return hmac.new(self._seed, vm.encode(), "sha256").hexdigest()


def _read(path: Path) -> bytes:
    try:
        text, status = private_files.read(path)
        seed = bytes.fromhex(text.decode("ascii"))
    except private_files.UntrustedFileError as error:
        raise SecretFileError(str(error)) from None
    except OSError as error:
        raise SecretFileError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except ValueError:
        seed = b""
    if len(seed) != _SIZE_BYTES:
        raise SecretFileError(
            f"{path}: saw other content, expected {2 * _SIZE_BYTES} hexadecimal digits. Remove it: "
            "a new one is made, and callers need the new secrets of their VMs"
        )
    if private_files.open_bits(status):
        raise SecretFileError(
            f"{path}: saw the mode {private_files.mode_of(status)}, expected 0600: others can read "
            f"this secret. Type chmod 600 {path} if nobody has read it, else remove it"
        )
    return seed
