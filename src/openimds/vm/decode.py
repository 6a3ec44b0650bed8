"""Plain values from the text of a file: JSON, YAML or TOML.

A name that stands twice in one mapping is refused in every format: the parsers would keep the last
one in silence, and a VM would be lost.
"""

import json
import re
import tomllib
from collections.abc import Callable

from openimds.errors import ConfigError, DuplicateNameError


def decode(text: bytes, file_name: str) -> object:
    """Return the value in a file's text; the ending of its name tells the format.

    Raises:
        ConfigError: the text is not of its format.
    """
    ending = file_name.rpartition(".")[2].lower()
    try:
        return _FORMATS.get(ending, _guess)(text.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigError(file_name, f"bytes that are not UTF-8 at {error.start}", "text") from None
    except DuplicateNameError as error:
        raise ConfigError(file_name, str(error), "each name once") from None
    except RecursionError:
        raise ConfigError(file_name, "values nested too deeply", "a fleet or a document") from None
    except ValueError as error:
        expected = {"yml": "YAML"}.get(ending, ending.upper()) if ending in _FORMATS else "YAML"
        raise ConfigError(file_name, str(error), f"{expected} text") from None


def _guess(text: str) -> object:
    """Read text whose name tells nothing: JSON if it is, else YAML, which is wider."""
    try:
        return _json(text)
    except json.JSONDecodeError:
        return _yaml(text)


def _json(text: str) -> object:
    value = json.loads(text, object_pairs_hook=_once)
    if _HALF_OF_A_PAIR.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            # JSON can write half of a surrogate pair; UTF-8, and so the wire, cannot.
            raise ValueError("half of a surrogate pair, which is no text") from None
    return value


_HALF_OF_A_PAIR = re.compile(r"\\u[dD][89a-fA-F]")


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise DuplicateNameError(f"the name {json.dumps(twice)} twice in one object")
    return members


def _toml(text: str) -> object:
    return tomllib.loads(text)


def _yaml(text: str) -> object:
    # Imported on use: a server that is fed JSON or nothing starts sooner and stays smaller.
    from openimds.vm.yaml import load  # noqa: PLC0415 - see above

    return load(text)


_FORMATS: dict[str, Callable[[str], object]] = {
    "json": _json,
    "toml": _toml,
    "yaml": _yaml,
    "yml": _yaml,
}
