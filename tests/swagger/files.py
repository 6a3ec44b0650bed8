"""The official swagger files and the sample documents beside them, as plain values.

They are Microsoft's and not part of this repository: `OPENIMDS_SWAGGER` names their folder, with
one folder per api-version that has `imds.json` and `examples/`.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / os.environ.get("OPENIMDS_SWAGGER", "../shared/spec/swagger")
DOCUMENT = FOLDER.parent / "azure-imds-2021-01.zh-CN.md"
NO_FOLDER = "there are no swagger files: OPENIMDS_SWAGGER names their folder"
NO_DOCUMENT = f"there is no {DOCUMENT.name} beside the swagger files"

_BLOCK = re.compile(r"^```json\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LEFT_OUT = re.compile(r",\s*\.\.\.|\.\.\.")


def versions() -> list[str]:
    """Return the api-versions that have a swagger file, oldest first."""
    return sorted(path.parent.name for path in FOLDER.glob("*/imds.json"))


def swagger(version: str) -> Json:
    """Return the swagger file of a version."""
    return _json(FOLDER / version / "imds.json")


def example(version: str) -> Json:
    """Return the example of GetInstanceMetadata of a version: parameters and responses."""
    (path,) = (FOLDER / version / "examples").glob("[Gg]etInstanceMetadata.json")
    return _json(path)


def leaves(file: Json) -> set[str]:
    """Return the paths of the leaves of an instance document, `[]` for every element."""
    definitions = file["definitions"]
    return set(_leaves(definitions["Instance"], definitions, ""))


def samples() -> list[Json]:
    """Return the instance documents in the text of the document.

    Omissions are written `...` there; without these the rest is JSON.
    """
    documents = []
    for block in _BLOCK.findall(DOCUMENT.read_text("utf-8")):
        try:
            value = json.loads(_LEFT_OUT.sub("", block))
        except json.JSONDecodeError:
            continue  # The output of a command, its message included.
        if "compute" in value:
            documents.append(value)
    return documents


def _json(path: Path) -> Json:
    value: Json = json.loads(path.read_bytes())
    return value


def _leaves(node: Json, definitions: Json, path: str) -> Iterator[str]:
    if "$ref" in node:
        yield from _leaves(definitions[node["$ref"].rpartition("/")[2]], definitions, path)
    elif "properties" in node:
        for name, child in node["properties"].items():
            yield from _leaves(child, definitions, f"{path}.{name}".lstrip("."))
    elif node["type"] == "array":
        yield from _leaves(node["items"], definitions, f"{path}[]")
    elif node["type"] == "string":
        yield path
    else:
        raise ValueError(f"{path}: unexpected type {node['type']}")
