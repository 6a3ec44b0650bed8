"""Plain values from the text of a file: JSON, YAML or TOML.

A name that stands twice in one mapping is refused in every format: the parsers would silently keep
the last one, and a VM would be lost.
"""

import json
import re
import tomllib
from contextlib import suppress

from openimds.errors import ConfigError, DuplicateNameError

_FORMATS = {"json": "JSON", "toml": "TOML", "yaml": "YAML", "yml": "YAML"}


def decode(data: bytes, file_name: str) -> object:
    """Return the value in the bytes of a file.

    The ending of its name is the format; without one it is JSON or YAML.

    Raises:
        ConfigError: the text is not of its format.
    """
    file_format = _FORMATS.get(file_name.rpartition(".")[2].lower(), "")
    try:
        text = data.decode("utf-8-sig")
        if file_format == "TOML":
            return tomllib.loads(text)
        if file_format == "JSON":
            return _json(text)
        if not file_format:  # YAML can read nearly all JSON, but not as fast.
            with suppress(json.JSONDecodeError):
                return _json(text)
        # Imported on use: a server without a YAML file starts sooner and stays smaller.
        from openimds.vm.yaml import load  # noqa: PLC0415 - see above

        return load(text)
    except UnicodeDecodeError as error:
        raise ConfigError(file_name, f"bytes that are not UTF-8 at {error.start}", "text") from None
    except DuplicateNameError as error:
        raise ConfigError(file_name, str(error), "each name once") from None
    except RecursionError:
        raise ConfigError(file_name, "values nested too deeply", "a fleet or a document") from None
    except ValueError as error:
        raise ConfigError(file_name, str(error), f"{file_format or 'YAML'} text") from None


def _json(text: str) -> object:
    value = json.loads(text, object_pairs_hook=_unique)
    if _SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            # JSON can write half of a surrogate pair; UTF-8, and so the wire, cannot.
            raise ValueError("half of a surrogate pair, which is no text") from None
    return value


_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise DuplicateNameError(f"the name {json.dumps(twice)} twice in one object")
    return members
