"""The admin token, in a file of mode 0600 that the first start makes.

The file is the truth: replacing its contents rotates the token.
"""

import os
import secrets
from pathlib import Path

from openimds import private_files
from openimds.errors import Error

_BYTES = 32


class TokenError(Error):
    """The token file cannot be used."""


class AdminToken:
    """The token in a file of mode 0600."""

    def __init__(self, path: Path) -> None:
        """Read the token, or make it.

        Raises:
            TokenError: the file cannot be read or written, is empty, or others may read it.
            UntrustedFileError: another user owns or can change the folder or a file in it.
        """
        self.path = path
        self._version = (0, 0)
        self._text = ""
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            private_files.check_folder(path.parent)
            if not os.path.lexists(path):
                self._make()
        except FileExistsError:
            raise self._unusable("there is a plain file instead of its directory") from None
        except OSError as error:
            raise self._unusable(error) from None
        self._read()

    def fits(self, offered: str) -> bool:
        """Tell whether an offered token is the right one, in constant time."""
        self._read()
        return secrets.compare_digest(offered.encode(), self._text.encode())

    def exposure(self) -> str:
        """Return a message if others may read the file at present, or nothing."""
        try:
            status = self.path.lstat()
        except OSError:
            return ""  # The next request with a token reports it.
        if not private_files.open_bits(status):
            return ""
        return (
            f"admin token {self.path}: mode {status.st_mode & 0o777:o} lets others read it. Type "
            f"chmod 600 {self.path}, then openimds token rotate"
        )

    def rotate(self) -> None:
        """Replace the token by a new one.

        Raises:
            TokenError: the file cannot be written; the old token stays.
        """
        try:
            self._fresh().replace(self.path)
        except OSError as error:
            raise self._unusable(error) from None

    def _make(self) -> None:
        """Write a complete token file, unless another server of the owner was quicker."""
        fresh = self._fresh()
        try:
            os.link(fresh, self.path)
        except FileExistsError:
            pass  # The token of the other server is as good.
        finally:
            fresh.unlink()

    def _fresh(self) -> Path:
        """Return a file with a new token, beside the real one."""
        path = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(_BYTES) + "\n")
        return path

    def _read(self) -> None:
        """Read the file if it changed.

        Raises:
            TokenError: as the constructor.
        """
        try:
            status = self.path.lstat()
            version = (status.st_mtime_ns, status.st_ino)
            if version == self._version:
                return
            content, status = private_files.read(self.path)
            text = content.decode("ascii").strip()
            version = (status.st_mtime_ns, status.st_ino)
        except private_files.UntrustedFileError as error:
            raise TokenError(f"admin token {error}") from None
        except (OSError, ValueError) as error:
            raise self._unusable(error) from None
        if private_files.open_bits(status):
            raise self._unusable(f"mode {status.st_mode & 0o777:o} lets others read it")
        if not text:
            raise self._unusable("it is empty")
        self._version, self._text = version, text

    def _unusable(self, fault: str | Exception) -> TokenError:
        if isinstance(fault, OSError):
            fault = (fault.strerror or str(fault)).lower()
        return TokenError(
            f"admin token {self.path}: {fault}; remove the file and restart to get a new token"
        )
