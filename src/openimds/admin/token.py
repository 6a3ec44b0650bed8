"""The admin token: made at first start, for its owner's eyes, in a file.

The file is the truth: whoever replaces its contents has rotated the token.
"""

import os
import secrets
from pathlib import Path

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
        """
        self.path = path
        self._seen = (0, 0)
        self._text = ""
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not path.exists():
                self._make()
        except FileExistsError:
            raise self._unusable("there is a plain file instead of its directory") from None
        except OSError as error:
            raise self._unusable(error) from None
        self._read()

    def fits(self, offered: str) -> bool:
        """Tell whether an offered token is the one, in a time that tells nothing about it."""
        self._read()
        return secrets.compare_digest(offered.encode(), self._text.encode())

    def rotate(self) -> None:
        """Put a new token in place of the old one.

        Raises:
            TokenError: the file cannot be written; the old token stays.
        """
        try:
            self._fresh().replace(self.path)
        except OSError as error:
            raise self._unusable(error) from None

    def _make(self) -> None:
        """Put a whole token in its place, unless another server of the owner was quicker."""
        fresh = self._fresh()
        try:
            os.link(fresh, self.path)
        except FileExistsError:
            pass  # Its token is as good.
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
        try:
            status = self.path.stat()
            seen = (status.st_mtime_ns, status.st_ino)
            if seen == self._seen:
                return
            text = self.path.read_text("ascii").strip()
        except (OSError, ValueError) as error:
            raise self._unusable(error) from None
        if status.st_mode & 0o077:
            raise self._unusable(f"mode {status.st_mode & 0o777:o} lets others read it")
        if not text:
            raise self._unusable("it is empty")
        self._seen, self._text = seen, text

    def _unusable(self, seen: str | Exception) -> TokenError:
        if isinstance(seen, OSError):
            seen = (seen.strerror or str(seen)).lower()
        return TokenError(
            f"{self.path}: {seen}; remove it and start again, and a new token is made"
        )
