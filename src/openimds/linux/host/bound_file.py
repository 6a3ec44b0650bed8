"""The file that tells which fleet the host rules bind, and in which state.

`openimds host up` and `openimds host follow` write it as root; `openimds host run`, which may have
no right to read the rules, learns from it that a VM may resume here.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

import msgspec.json
from msgspec import MsgspecError, Struct

from openimds.linux.host.commands import ToolError

BOUND = Path("/run/openimds-host.json")
"""Root alone writes to this folder; the digest tells other users nothing."""


class BoundFleet(Struct, frozen=True):
    """The path of a fleet file, and the digest of its bound content.

    The path has no links: systemd makes the state folder of a unit with `DynamicUser=` one.
    """

    fleet: str
    digest: str


def fleet_digest(content: bytes) -> str:
    """Return the digest of a fleet file's content."""
    return sha256(content).hexdigest()


def digest_of_file(fleet: str) -> str:
    """Return the digest of a fleet file, or "" if it cannot be read."""
    try:
        return fleet_digest(Path(fleet).read_bytes())
    except OSError:
        return ""


def note_bound(fleet: str, digest: str, path: Path = BOUND) -> None:
    """Write that the rules bind a fleet file in this state, unless already written.

    Raises:
        ToolError: the file cannot be written.
    """
    text = msgspec.json.encode(BoundFleet(str(Path(fleet).resolve()), digest))
    new = path.with_suffix(".new")
    with suppress(OSError):
        if path.read_bytes() == text:
            return
    with _writing(path):
        new.unlink(missing_ok=True)
        new.touch(mode=0o644)
        new.write_bytes(text)
        new.chmod(0o644)
        new.replace(path)


def forget_bound(path: Path = BOUND) -> None:
    """Write that the rules bind no file.

    Raises:
        ToolError: the file cannot be removed.
    """
    with _writing(path):
        path.unlink(missing_ok=True)


def bound_digest(fleet: Path, path: Path = BOUND) -> str | None:
    """Return the digest of the state in which the rules bind a fleet file.

    None if they bind no file, or another one.
    """
    try:
        bound = msgspec.json.decode(path.read_bytes(), type=BoundFleet)
    except (OSError, MsgspecError):
        return None
    return bound.digest if bound.fleet == str(fleet.resolve()) else None


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ToolError(f"{path}: {(error.strerror or str(error)).lower()}") from None
