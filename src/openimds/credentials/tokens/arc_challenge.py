"""Challenge files of Azure Arc: proof that a caller can read a file.

A caller gets the path of a new file, reads it, and sends its text back. A file serves once and for
a minute. A VM has at most `MAX_PER_VM` files at a time, all VMs together at most `MAX_CHALLENGES`.
"""

import asyncio
import hmac
import os
import re
import secrets
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Protocol

from msgspec import Struct, structs

from openimds.credentials.worker import BusyError, Worker
from openimds.errors import ConfigError, Error
from openimds.facts.protocols import ARC_LIFE_S, ARC_SUFFIX
from openimds.protocol.pending import AccessToken, Challenge, Failed, PendingChallenge, PendingToken

MAX_PER_VM = 8
MAX_CHALLENGES = 1024
_SIZE_BYTES = 32
_GROUP_MAY_ENTER = 0o010
_FOR_OWNER, _FOR_GROUP = 0o600, 0o640


class ChallengeError(Error):
    """A challenge file cannot be written."""


class _IssuedChallenge(Struct, frozen=True):
    """A challenge: its VM, the text of its file, and its end."""

    vm: str
    text: str
    until_s: float


_CHALLENGE = re.compile("[0-9a-f]{32}")


class ChallengeFiles:
    """The unanswered challenges and their files. It may be used from several threads."""

    def __init__(self, folder: Path) -> None:
        """Write challenge files into a folder, which is made if it is missing.

        Raises:
            ConfigError: the folder cannot be written, or clients cannot parse its name.
        """
        self.folder = folder.absolute()
        self._challenges: dict[Path, _IssuedChallenge] = {}
        self._lock = Lock()
        name = str(self.folder)
        # Clients split the response header that names the file at the equals sign.
        if not (name.isascii() and name.isprintable()) or set(name) & set('="'):
            raise ConfigError("arc_folder", f'"{name}"', "a path of ASCII without = and quotes")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._clear()
            self._write(self.folder / f"{secrets.token_hex(16)}{ARC_SUFFIX}", "").unlink()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ConfigError("arc_folder", f"{name} ({reason})", "a writable folder") from None

    def _clear(self) -> None:
        """Remove our challenge files that a killed process left behind."""
        for path in self.folder.glob(f"*{ARC_SUFFIX}"):
            is_ours = _CHALLENGE.fullmatch(path.stem) and _is_own(path)
            # A younger file may belong to another server that uses the same folder.
            if is_ours and time.time() - path.stat().st_mtime > ARC_LIFE_S:
                path.unlink(missing_ok=True)

    def issue(self, vm: str, now_s: float) -> Path | None:
        """Return the file of a new challenge, or None while `MAX_CHALLENGES` are unanswered.

        A VM's oldest challenge is dropped when it has `MAX_PER_VM`.

        Raises:
            ChallengeError: the file cannot be written.
        """
        with self._lock:
            self._sweep(now_s)
            own = [path for path, issued in self._challenges.items() if issued.vm == vm]
            for path in own[: max(0, len(own) + 1 - MAX_PER_VM)]:
                self._drop(path)
            if len(self._challenges) >= MAX_CHALLENGES:
                return None
            path = self.folder / f"{secrets.token_hex(16)}{ARC_SUFFIX}"
            text = secrets.token_urlsafe(_SIZE_BYTES)
            try:
                self._write(path, text)
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise ChallengeError(f"{path}: {reason}") from None
            self._challenges[path] = _IssuedChallenge(vm, text, now_s + ARC_LIFE_S)
            return path

    def take(self, vm: str, proof: str, now_s: float) -> bool:
        """Tell whether a proof is in one of the VM's files, and remove that file."""
        with self._lock:
            self._sweep(now_s)
            proven = [
                path
                for path, issued in self._challenges.items()
                if issued.vm == vm and hmac.compare_digest(issued.text.encode(), proof.encode())
            ]
            for path in proven:
                self._drop(path)
            return bool(proven)

    def sweep(self, now_s: float) -> None:
        """Remove the files of expired challenges."""
        with self._lock:
            self._sweep(now_s)

    def close(self) -> None:
        """Remove every file."""
        self.sweep(float("inf"))

    def __len__(self) -> int:
        """Return the number of unanswered challenges."""
        return len(self._challenges)

    def _sweep(self, now_s: float) -> None:
        expired = [path for path, issued in self._challenges.items() if now_s >= issued.until_s]
        for path in expired:
            self._drop(path)

    def _drop(self, path: Path) -> None:
        del self._challenges[path]
        with suppress(OSError):
            path.unlink(missing_ok=True)

    def _write(self, path: Path, text: str) -> Path:
        """Write a file for its owner, and for a group that may enter the folder."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        with os.fdopen(os.open(path, flags, _FOR_OWNER), "w", encoding="ascii") as file:
            folder = self.folder.stat()
            if sys.platform != "win32" and folder.st_mode & _GROUP_MAY_ENTER:
                with suppress(OSError):  # We are not in that group: the file stays ours alone.
                    os.fchown(file.fileno(), -1, folder.st_gid)
                    os.fchmod(file.fileno(), _FOR_GROUP)
            file.write(text)
        return path


def _is_own(path: Path) -> bool:
    """Tell whether a file belongs to this user; Windows does not say."""
    return not hasattr(os, "getuid") or path.stat().st_uid == os.getuid()


class CachedTokens(Protocol):
    """The tokens that a right proof opens; see `FetchedTokens`."""

    def cached(self, pending: PendingToken, now_s: float) -> AccessToken | None:
        """Return the cached token, or None."""
        ...

    async def make(self, pending: PendingToken, now_s: float) -> AccessToken | Failed:
        """Return a new token, or the refusal for the guest."""
        ...


class ArcTokens:
    """Tokens for callers that answer a challenge. Called on the event loop."""

    def __init__(self, challenges: ChallengeFiles, worker: Worker, tokens: CachedTokens) -> None:
        """Give tokens of a cache to callers that answer challenges."""
        self._challenges, self._worker, self._tokens = challenges, worker, tokens
        self._number = 0

    async def make(
        self, pending: PendingChallenge | PendingToken, now_s: float
    ) -> AccessToken | Challenge | Failed:
        """Return the token for a right proof, else a new challenge.

        Raises:
            ChallengeError: the challenge file cannot be written.
        """
        try:
            if isinstance(pending, PendingToken) and await self._is_right(pending, now_s):
                plain = structs.replace(pending, proof="")
                return self._tokens.cached(plain, now_s) or await self._tokens.make(plain, now_s)
            path = await self._worker.run(
                pending.vm, self._key(), lambda: self._challenges.issue(pending.vm, now_s)
            )
        except BusyError:
            return Failed("throttled")
        if path is None:
            return Failed("throttled")
        loop = asyncio.get_running_loop()
        loop.call_later(ARC_LIFE_S, self._challenges.sweep, now_s + ARC_LIFE_S)
        return Challenge(str(path))

    def close(self) -> None:
        """Remove every file."""
        self._challenges.close()

    async def _is_right(self, pending: PendingToken, now_s: float) -> bool:
        return await self._worker.run(
            pending.vm,
            self._key(),
            lambda: self._challenges.take(pending.vm, pending.proof, now_s),
        )

    def _key(self) -> tuple[str, int]:
        """Return a unique key for a worker job: no two callers share a challenge."""
        self._number += 1
        return "arc", self._number
