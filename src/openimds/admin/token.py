"""The admin token, in a file of mode 0600 that the first start makes.

The file is the truth: replacing its contents rotates the token. Where a full or read-only disk
takes no first file, there is no token: guests are served, and requests that need one are refused
until the disk takes the file. A token in memory would have to be printed, and logs would have it.
"""

import hashlib
import os
import secrets
from contextlib import suppress
from pathlib import Path

from openimds import private_files
from openimds.admin.token_connections import EndConnection, TokenConnections
from openimds.errors import Error

_BYTES = 32


class TokenError(Error):
    """The token file cannot be used."""


class AdminToken:
    """The token in a file of mode 0600."""

    def __init__(self, path: Path) -> None:
        """Read the token, or make it; a full disk leaves none at first.

        Raises:
            TokenError: the file cannot be read or written, is empty, or others may read it.
            UntrustedFileError: another user owns or can change the folder or a file in it.
        """
        self.path = path
        self._version = (0, 0)
        self._digest = ""
        self._lack = ""
        """The reason why there is no token."""
        self._connections = TokenConnections(lambda _: None, lambda _, __: None)
        self._open()

    def _open(self) -> None:
        """Read the token, or make it.

        Raises:
            TokenError, UntrustedFileError: as the constructor.
        """
        path = self.path
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            private_files.check_folder(path.parent)
            if not os.path.lexists(path):
                self._make()
        except FileExistsError:
            raise self._unusable("there is a plain file instead of its directory") from None
        except OSError as error:
            if not private_files.is_of_disk(error):
                raise self._unusable(error) from None
            self._lack = (
                f"admin token {path}: {_reason(error)}; guests are served, but requests that need "
                "a token are refused until the disk takes the file: free space on it, or mount it "
                "for writing"
            )
            return
        self._read()
        self._lack = ""

    def fits(self, offered: str) -> bool:
        """Tell whether an offered token is the right one, in constant time."""
        return self.fits_digest(token_digest(offered))

    def fits_digest(self, digest: str) -> bool:
        """Tell whether a digest is that of the token, in constant time."""
        if self._lack:
            return False
        self._read()
        return secrets.compare_digest(digest, self._digest)

    def note_use(self, end: EndConnection | None) -> None:
        """Note that the token came on a connection, which ends when the token is replaced."""
        if end:
            self._connections.note(self._digest, end)

    def spare(self, end: EndConnection | None) -> None:
        """Let the connection of the request that rotates the token get its answer."""
        if end:
            self._connections.forget(end)

    def end_replaced(self) -> None:
        """End the connections that showed a token which is not in the file any more.

        Raises:
            TokenError: as the constructor.
        """
        if not self._lack:
            self._read()

    @property
    def is_lacking(self) -> bool:
        """Whether there is no token, because the disk takes no file."""
        return bool(self._lack)

    def look(self) -> str:
        """Make a lacking file; return a message on its fault, or nothing."""
        if self._lack:
            try:
                self._open()
            except Error as error:
                return str(error)
        with suppress(TokenError):  # The next request with a token reports it.
            self.end_replaced()
        return self._lack or self._exposure()

    def _exposure(self) -> str:
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
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(_BYTES) + "\n")
        except OSError:  # A full disk keeps no half of it.
            path.unlink(missing_ok=True)
            raise
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
        self._version, self._digest = version, token_digest(text)
        self._connections.end_others(self._digest)

    def _unusable(self, fault: str | Exception) -> TokenError:
        if isinstance(fault, OSError):
            fault = _reason(fault)
        return TokenError(
            f"admin token {self.path}: {fault}; remove the file and restart to get a new token"
        )


def token_digest(text: str) -> str:
    """Return the SHA-256 of a token in hexadecimal digits, its key in the store.

    A token is a long random text, so that one hash without a salt protects it, and the time of a
    look-up by it tells nothing about others.
    """
    return hashlib.sha256(text.encode()).hexdigest()


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
