"""Bodies of faults in files of their own, for fleet files and the command line.

The admin API has no such member: it opens no path that a request names.
"""

from pathlib import Path
from stat import S_ISREG

from openimds.errors import ConfigError
from openimds.facts.fault_parameters import MOST_BODY_BYTES
from openimds.facts.faults import RESPONSE
from openimds.parameters import describe, path_of
from openimds.protocol.faults.custom_response import BODY, BODY_BASE64, body_member

BODY_FILE = "body_file"
SPELLINGS = (BODY_FILE, "bodyFile")
_OTHERS = (BODY, BODY_BASE64, "bodyBase64")


def with_bodies(faults: object, folder: Path) -> object:
    """Return a fleet file's faults with bodies in the place of `body_file`.

    A relative path starts at `folder`. Any other mistake is left to the readers of faults.

    Raises:
        ConfigError: a file cannot be read or is too large, or a body stands beside it.
    """
    if not isinstance(faults, list):
        return faults
    return [with_body(fault, folder, f"faults[{i}]") for i, fault in enumerate(faults)]


def with_body(fault: object, folder: Path, where: str) -> object:
    """Return a fault at a path with its body in the place of `body_file`.

    Raises:
        ConfigError: as `with_bodies`.
    """
    if not isinstance(fault, dict) or fault.get("effect") != RESPONSE:
        return fault
    given = [spelling for spelling in SPELLINGS if fault.get(spelling) is not None]
    if not given:
        return fault
    path = fault[given[0]]
    if not isinstance(path, str) or "\0" in path:
        raise ConfigError(path_of(where, given[0]), describe(path), "the path of a file")
    beside = [name for name in (*given[1:], *_OTHERS) if fault.get(name) is not None]
    if beside:
        raise ConfigError(path_of(where, given[0]), f"{beside[0]} beside it", "one of the two")
    others = {name: member for name, member in fault.items() if name not in SPELLINGS}
    name, body = read_body(folder / path, path_of(where, given[0]))
    return {**others, name: body}


def read_body(path: Path, where: str) -> tuple[str, str]:
    """Return the parameter that holds a file's contents, and its value.

    Raises:
        ConfigError: the file cannot be read, or is larger than `MOST_BODY_BYTES`.
    """
    try:
        if not S_ISREG(path.stat().st_mode):  # A pipe may never end.
            raise ConfigError(where, f'"{path}", no regular file', "a file that can be read")
        with path.open("rb") as file:
            content = file.read(MOST_BODY_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(where, f'"{path}": {reason}', "a file that can be read") from None
    if len(content) > MOST_BODY_BYTES:
        seen = f'"{path}", which is larger than {MOST_BODY_BYTES} bytes'
        raise ConfigError(where, seen, f"at most {MOST_BODY_BYTES} bytes")
    return body_member(content)
