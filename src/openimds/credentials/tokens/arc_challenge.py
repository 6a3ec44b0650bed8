"""The challenges of Azure Arc: files that prove who can read them.

A caller gets the path of a new file, reads it, and sends back what it says. Each file serves once
and for a minute. A guest can have a few at a time, all guests together so many that the folder
stays small.
"""

import asyncio
import hmac
import os
import re
import secrets
import time
from contextlib import suppress
from pathlib import Path
from threading import Lock

from msgspec import Struct, structs

from openimds.credentials.tokens.cache import TokenCache
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
    """The file of a challenge cannot be written."""


class _IssuedChallenge(Struct, frozen=True):
    """A challenge: whose it is, what the file says, and until when."""

    vm: str
    text: str
    until_s: float


_CHALLENGE = re.compile("[0-9a-f]{32}")


class ChallengeFiles:
    """The challenges that wait for an answer. It may be called from several threads."""

    def __init__(self, folder: Path) -> None:
        """Write challenges into a folder, which is made if it is missing.

        Raises:
            ConfigError: the folder cannot be had, or no client could read its name.
        """
        self.folder = folder.absolute()
        self._asked: dict[Path, _IssuedChallenge] = {}
        self._lock = Lock()
        name = str(self.folder)
        # Clients split the header that names a file at the equals sign.
        if not (name.isascii() and name.isprintable()) or set(name) & set('="'):
            raise ConfigError("arc_folder", f'"{name}"', "a path of ASCII without = and quotes")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._clear()
            self._write(self.folder / f"{secrets.token_hex(16)}{ARC_SUFFIX}", "").unlink()
        except OSError as error:
            said = (error.strerror or str(error)).lower()
            raise ConfigError("arc_folder", f"{name} ({said})", "a folder to write to") from None

    def _clear(self) -> None:
        """Remove what a process that was killed has left: files of ours named as challenges are."""
        for path in self.folder.glob(f"*{ARC_SUFFIX}"):
            is_ours = _CHALLENGE.fullmatch(path.stem) and path.stat().st_uid == os.getuid()
            # Another server may use the same folder now; what is younger than this may be its.
            if is_ours and time.time() - path.stat().st_mtime > ARC_LIFE_S:
                path.unlink(missing_ok=True)

    def ask(self, vm: str, now_s: float) -> Path | None:
        """Return the file of a new challenge, or None if too many wait for an answer.

        Of too many of one VM the oldest gives way.

        Raises:
            ChallengeError: it cannot be written.
        """
        with self._lock:
            self._sweep(now_s)
            own = [path for path, one in self._asked.items() if one.vm == vm]
            for path in own[: max(0, len(own) + 1 - MAX_PER_VM)]:
                self._drop(path)
            if len(self._asked) >= MAX_CHALLENGES:
                return None
            path = self.folder / f"{secrets.token_hex(16)}{ARC_SUFFIX}"
            one = _IssuedChallenge(vm, secrets.token_urlsafe(_SIZE_BYTES), now_s + ARC_LIFE_S)
            try:
                self._write(path, one.text)
            except OSError as error:
                said = (error.strerror or str(error)).lower()
                raise ChallengeError(f"{path}: {said}") from None
            self._asked[path] = one
            return path

    def take(self, vm: str, proof: str, now_s: float) -> bool:
        """Tell whether a caller read a file of this VM's, and remove that file."""
        with self._lock:
            self._sweep(now_s)
            found = [
                path
                for path, one in self._asked.items()
                if one.vm == vm and hmac.compare_digest(one.text.encode(), proof.encode())
            ]
            for path in found:
                self._drop(path)
            return bool(found)

    def sweep(self, now_s: float) -> None:
        """Remove the files of challenges that are over."""
        with self._lock:
            self._sweep(now_s)

    def close(self) -> None:
        """Remove every file."""
        self.sweep(float("inf"))

    def __len__(self) -> int:
        """Return how many wait for an answer."""
        return len(self._asked)

    def _sweep(self, now_s: float) -> None:
        for path in [path for path, one in self._asked.items() if now_s >= one.until_s]:
            self._drop(path)

    def _drop(self, path: Path) -> None:
        del self._asked[path]
        with suppress(OSError):
            path.unlink(missing_ok=True)

    def _write(self, path: Path, text: str) -> Path:
        """Write a file of our own, which the group may read that may enter the folder."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(path, flags, _FOR_OWNER), "w", encoding="ascii") as file:
            folder = self.folder.stat()
            if folder.st_mode & _GROUP_MAY_ENTER:
                with suppress(OSError):  # Not our group: then nobody but us reads it.
                    os.fchown(file.fileno(), -1, folder.st_gid)
                    os.fchmod(file.fileno(), _FOR_GROUP)
            file.write(text)
        return path


class ArcTokens:
    """TokenCache for callers who read a file before. Called on the event loop."""

    def __init__(self, challenges: ChallengeFiles, worker: Worker, tokens: TokenCache) -> None:
        """Give tokens of these to who answers those challenges."""
        self._challenges, self._worker, self._tokens = challenges, worker, tokens
        self._number = 0

    async def make(
        self, need: PendingChallenge | PendingToken, now_s: float
    ) -> AccessToken | Challenge | Failed:
        """Return the token for a right proof, else a new challenge.

        Raises:
            ChallengeError: the file cannot be written.
        """
        try:
            if isinstance(need, PendingToken) and await self._is_right(need, now_s):
                plain = structs.replace(need, proof="")
                return self._tokens.cached(plain, now_s) or await self._tokens.make(plain, now_s)
            path = await self._worker.do(self._key(), lambda: self._challenges.ask(need.vm, now_s))
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

    async def _is_right(self, need: PendingToken, now_s: float) -> bool:
        return await self._worker.do(
            self._key(), lambda: self._challenges.take(need.vm, need.proof, now_s)
        )

    def _key(self) -> tuple[str, int]:
        """Return a key of its own for a job: no two callers share a file."""
        self._number += 1
        return "arc", self._number
