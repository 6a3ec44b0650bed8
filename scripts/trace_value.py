"""Print the functions that a value of a fleet file passes through.

The script writes a fleet file with a sentinel value at one key, and does in process the work of a
server: read the file, write the VM to the store, read it back as after a restart, index it,
and answer `GET /metadata/instance`. It ends at the response's body, which the data plane sends
unchanged. A function counts if one of its arguments, or the value that it returns, contains the
sentinel: as text or bytes, or inside dicts, lists, tuples, sets and Structs to a depth of 12.
Comprehensions and generator expressions count as part of their function.

Usage: trace_value.py [KEY], for example `trace_value.py compute.tags.env`.
"""

import asyncio
import sys
import threading
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import CodeType, FrameType
from typing import Any

import yaml
from msgspec import Struct

import openimds
from openimds.facts.versions import NEWEST, catalog
from openimds.fleet.fleet_files import read_fleet
from openimds.fleet.index import FleetIndex
from openimds.fleet.service import FleetService
from openimds.fleet.store.sqlite import SqliteStore
from openimds.fleet.vm_entry import recent
from openimds.protocol.handle import handle
from openimds.protocol.request import parse_query
from openimds.protocol.response import Response

SENTINEL = "Sentinel-7f3a"
KEY = "compute.vmSize"
DEPTH = 12
TARGET = f"/metadata/instance?api-version={NEWEST}".encode()
_PACKAGE = str(Path(openimds.__file__).parent)
_HAS_VARARGS, _HAS_VARKEYWORDS = 0x04, 0x08


def fleet_file(key: str) -> dict[str, Any]:
    """Return a fleet of one VM, with the sentinel at a key of it."""
    vm: dict[str, Any] = {
        "compute": {"location": "westeurope", "zone": "1", "tags": {"team": "web"}},
        "network": {"interface": [{"ipv4": {"ipAddress": [{"privateIpAddress": "10.0.0.4"}]}}]},
        "identities": {"system": True},
    }
    *groups, last = key.split(".")
    members = vm
    for name in groups:
        members = members.setdefault(name, {})
    members[last] = SENTINEL
    return {"defaults": {"compute": {"resourceGroupName": "lab"}}, "vms": {"web-1": vm}}


def contains(value: object, depth: int = DEPTH) -> bool:
    """Tell whether a value holds the sentinel."""
    match value:
        case str():
            return SENTINEL in value
        case bytes():
            return SENTINEL.encode() in value
        case _ if depth == 0:
            return False
        case dict():
            return any(contains(part, depth - 1) for pair in value.items() for part in pair)
        case list() | tuple() | set() | frozenset():
            return any(contains(part, depth - 1) for part in value)
        case Struct():
            return any(
                contains(getattr(value, name), depth - 1) for name in value.__struct_fields__
            )
        case _:
            return False


@contextmanager
def traced(functions: dict[str, None]) -> Iterator[None]:
    """Collect the functions of the package that the sentinel passes, in every thread."""

    def profile(frame: FrameType, event: str, result: object) -> None:
        code = frame.f_code
        if event not in {"call", "return"} or not code.co_filename.startswith(_PACKAGE):
            return
        name = name_of(code)
        if name in functions:
            return
        values = arguments(frame) if event == "call" else [result]
        if any(map(contains, values)):
            functions[name] = None

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def arguments(frame: FrameType) -> list[object]:
    """Return the arguments of a call."""
    code = frame.f_code
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & _HAS_VARARGS) + bool(code.co_flags & _HAS_VARKEYWORDS)
    return [frame.f_locals.get(name) for name in code.co_varnames[:count]]


def name_of(code: CodeType) -> str:
    """Return the dotted name of a function, for a comprehension that around it."""
    module = code.co_filename.removeprefix(_PACKAGE).removesuffix(".py").strip("/")
    name = code.co_qualname
    for inner in ("listcomp", "dictcomp", "setcomp", "genexpr"):
        name = name.replace(f".<locals>.<{inner}>", "")
    return f"{module.replace('/', '.')}.{name}"


async def serve(folder: Path, fleet: dict[str, Any]) -> bytes:
    """Return the body for a guest of the only VM, after a restart."""
    file = folder / "fleet.yaml"
    file.write_text(yaml.safe_dump(fleet), encoding="utf-8")
    first = _service(folder)
    await first.sync(read_fleet(str(file)).vms, "file", "start")
    first.close()
    restarted = _service(folder)
    await restarted.load()
    restarted.close()
    entry = restarted.fleet_index.only
    assert entry is not None
    request = parse_query("GET", TARGET, has_metadata_header=True)
    response = handle(request, entry.subject(catalog()), 0.0)
    assert isinstance(response, Response)
    return response.body


def _service(folder: Path) -> FleetService:
    async def open_listeners(_wanted: dict[str, str], _kept: AbstractSet[str]) -> None:
        pass

    index: FleetIndex[object] = FleetIndex(catalog(), 0)
    return FleetService(SqliteStore(folder / "fleet.db"), index, lambda: 0.0, open_listeners)


def passed(key: str = KEY) -> list[str]:
    """Return the names of the functions that the value of a key passes, in order.

    Raises:
        ValueError: the value is not in the body.
    """
    functions: dict[str, None] = {}
    recent.cache_clear()  # The document of an earlier trace would shorten this one.
    with TemporaryDirectory() as folder, traced(functions):
        body = asyncio.run(serve(Path(folder), fleet_file(key)))
    if SENTINEL.encode() not in body:
        raise ValueError(f"{key}: the value is not in the body")
    return [*functions]


if __name__ == "__main__":
    names = passed(*sys.argv[1:2])
    print(*names, f"{len(names)} functions", sep="\n")
