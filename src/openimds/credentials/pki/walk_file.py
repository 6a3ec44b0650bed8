"""The file of a walk through the generations, `walk.json` in the folder of the CA."""

from pathlib import Path

import msgspec.json

from openimds.credentials.keys.files import KeyFileError, read_file, remove_file, write_file
from openimds.facts.generations import GENERATIONS
from openimds.protocol.generation_walk import GenerationWalk

FILE = "walk.json"


def read_walk(folder: Path | None) -> GenerationWalk | None:
    """Return the walk that an earlier process began, or None.

    Raises:
        KeyFileError: the file cannot be read.
    """
    path = folder / FILE if folder else None
    if path is None:
        return None
    try:
        walk = msgspec.json.decode(read_file(path)[0], type=GenerationWalk)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise _unfit(path, str(error)[:200].lower()) from None
    is_known = GENERATIONS.keys() >= {*walk.generations}
    if not (is_known and 0 < walk.done <= len(walk.generations) and walk.every_s > 0):
        raise _unfit(path, f"step {walk.done} of {', '.join(walk.generations) or 'none'}")
    return walk


def write_walk(folder: Path | None, walk: GenerationWalk | None) -> None:
    """Write a walk, or remove the file.

    Raises:
        KeyFileError: the file cannot be written or removed.
    """
    path = folder / FILE if folder else None
    if path is None:
        return
    if walk is not None:
        write_file(path, msgspec.json.encode(walk))
        return
    remove_file(path)


def _unfit(path: Path, seen: str) -> KeyFileError:
    return KeyFileError(
        f"{path}: saw {seen}, expected the steps of a rehearsal. Restore the file from a backup, "
        "or remove it: the rehearsal then ends, and the certificates stay"
    )
