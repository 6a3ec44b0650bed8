"""The tokens of a host in its state folder, for its next start.

The folder `tokens` has files of a few VMs each. A file is a cache: it is written without waiting
for the disk, and one that a power cut has damaged is removed. Only its owner reads it, as with the
host's private key in the same state folder, by whose theft the same tokens could be had.

A VM's tokens count again once control has placed the VM here, unchanged: its digest is the stored
one. The tokens of other VMs are removed when the first comparison with control has ended.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import msgspec.msgpack
from msgspec import Struct

from openimds import private_files
from openimds.log.events import CREDENTIALS_TROUBLE
from openimds.protocol.pending import AccessToken, PendingToken

FOLDER = "tokens"
"""The folder of a host's state directory with its tokens."""
SHARDS = 1024
"""The number of files: a new token rewrites that of its VM."""
MAX_SHARD_BYTES = 1 << 20
"""The most octets of a file; the tokens of VMs beyond are in memory alone."""
MOST_WRITES = 64
"""The most files that one call of `write` writes."""
_FORM = b"OIMT1"
_SUM_BYTES = 16
_SUFFIX = ".tokens"


class KeptToken(Struct, frozen=True):
    """A token, and the times of its making, its successor and its last request."""

    pending: PendingToken
    token: AccessToken
    made_s: float
    renew_s: float
    asked_s: float


class KeptVm(Struct, frozen=True):
    """The tokens of a VM that has a digest."""

    name: str
    digest: bytes
    tokens: tuple[KeptToken, ...]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[KeptVm]).decode
_Save = Callable[[], None]


class KeptTokens:
    """The files of one host. Called on the event loop; files are written in threads."""

    def __init__(self, folder: Path | None, notify: Callable[[str], None]) -> None:
        """Read the files of a state folder; without one, tokens end with the process."""
        self._folder, self._notify = folder / FOLDER if folder else None, notify
        self._found: dict[int, dict[str, KeptVm]] = {}
        """The tokens of VMs that control has not placed here since the start, by shard."""
        self._digests: dict[str, bytes] = {}
        self._names: dict[int, set[str]] = {}
        """The names of VMs that may have tokens, by shard."""
        self._changed: dict[int, None] = {}
        self._failure = ""
        if self._folder:
            for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
                for vm in _read(path):
                    self._found.setdefault(_shard(vm.name), {})[vm.name] = vm

    def place(self, name: str, digest: bytes) -> tuple[KeptToken, ...]:
        """Note a VM that is placed here; return its tokens of before the restart."""
        shard, before = _shard(name), self._digests.get(name, digest)
        self._digests[name] = digest
        found = self._found.get(shard, {}).pop(name, None)
        if found or (before != digest and name in self._names.get(shard, ())):
            self._changed[shard] = None
        return found.tokens if found and found.digest == digest else ()

    def leave(self, names: Iterable[str]) -> None:
        """Forget VMs that are on this host no longer."""
        for name in names:
            shard = _shard(name)
            self._digests.pop(name, None)
            if name in self._names.get(shard, ()):
                self._names[shard].discard(name)
                self._changed[shard] = None

    def settle(self) -> None:
        """Forget the tokens of VMs that were not placed here again."""
        self._changed |= dict.fromkeys(shard for shard, vms in self._found.items() if vms)
        self._found.clear()

    def change(self, names: Iterable[str]) -> None:
        """Write the tokens of VMs anew, for they have changed."""
        for name in names:
            if name in self._digests:
                shard = _shard(name)
                self._names.setdefault(shard, set()).add(name)
                self._changed[shard] = None

    async def write(
        self, tokens_of: Callable[[str], tuple[KeptToken, ...]], most: int = MOST_WRITES
    ) -> None:
        """Write the files that have changed, at most so many.

        A failure is reported once, and the next call tries again.
        """
        if self._folder is None:
            return
        for shard in [*self._changed][:most]:
            del self._changed[shard]
            save = self._save(self._folder, shard, tokens_of)
            try:
                await asyncio.to_thread(save)
            except OSError as error:
                self._changed[shard] = None
                self._report(error)
                return
        self._failure = ""

    def _save(
        self, folder: Path, shard: int, tokens_of: Callable[[str], tuple[KeptToken, ...]]
    ) -> _Save:
        """Return the work that writes a file, or removes one without tokens."""
        vms = [*self._found.get(shard, {}).values()]
        for name in sorted(self._names.get(shard, ())):
            if tokens := tokens_of(name):
                vms.append(KeptVm(name, self._digests[name], tokens))
            else:
                self._names[shard].discard(name)
        path = folder / f"{shard:03x}{_SUFFIX}"
        return lambda: _write(path, vms) if vms else private_files.remove(path)

    def _report(self, error: OSError) -> None:
        reason = error.strerror or str(error)
        if reason != self._failure:
            self._failure = reason
            remedy = ". Free space on the disk" if private_files.is_of_disk(error) else ""
            self._notify(
                CREDENTIALS_TROUBLE.message(
                    f"{self._folder}: {reason.lower()}: the tokens of guests are in memory, and "
                    "after "
                    f"a restart they are fetched from control{remedy}"
                )
            )


def _shard(name: str) -> int:
    digest = blake2b(name.encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") % SHARDS


def _write(path: Path, vms: Iterable[KeptVm]) -> None:
    """Write a file of tokens, up to its bound."""
    kept, size = [], 0
    for vm in vms:
        octets = _encode(vm)
        if size + len(octets) <= MAX_SHARD_BYTES:
            kept.append(msgspec.Raw(octets))
            size += len(octets)
    content = _encode(kept)
    private_files.write(path, _FORM + _sum(content) + content, is_synced=False)


def _read(path: Path) -> list[KeptVm]:
    """Read a file of tokens; one that is damaged or not private is removed."""
    try:
        octets, status = private_files.read(path, _HEAD_BYTES + MAX_SHARD_BYTES)
        content = octets[_HEAD_BYTES:]
        is_fit = octets[:_HEAD_BYTES] == _FORM + _sum(content)
        if is_fit and not private_files.open_bits(status):
            return _decode(content)
    except (OSError, private_files.UntrustedFileError, msgspec.MsgspecError):
        pass
    with suppress(OSError):
        path.unlink()
    return []


_HEAD_BYTES = len(_FORM) + _SUM_BYTES


def _sum(content: bytes) -> bytes:
    return blake2b(content, digest_size=_SUM_BYTES).digest()
