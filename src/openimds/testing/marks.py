"""What a test asks for: its marks, over pytest's ini options, over what suits tests."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct, structs, to_builtins

from openimds.errors import ConfigError
from openimds.fleet.fleet_files import DEFAULT_VM, fleet_contents
from openimds.interop.transcript.to_vm import captured_vm
from openimds.parameters import nearest
from openimds.server.startup import Startup, load, with_settings
from openimds.settings import SETTINGS, resolve
from openimds.vm.types import Vm

MARK = "imds"
_SAID = "@pytest.mark.imds"
_INI = "imds_"
_VM = "vm"

OURS = {
    "listen": "the session's tests share one port, see imds.url; a VM may have its own in "
    "reach.listen",
    "loop": "the server runs on asyncio's own loop, in a thread",
}
"""Settings that the plugin decides, and why."""
_SUITING = {"rate_limit": False, "admin": "none", "public": "none", "record": 10_000}
_FILES = ("fleet", "document")
_PATHS = frozenset(row.name for row in SETTINGS if row.metavar in {"PATH", "FILE", "DIR"})


class ServerOptions(Struct, frozen=True):
    """A server that a test wants: its configuration, and the name of the VM under test."""

    startup: Startup
    vm: str


def server_options(item: pytest.Item, homes: tuple[str, ...]) -> ServerOptions:
    """Return what a test wants; the VM under test is reached from the addresses `homes` as well.

    Raises:
        ConfigError: a mark or an ini option that is no setting or cannot be read, a fleet that
            does not fit, or a VM that it lacks.
    """
    marked = _marked(item)
    chosen = marked.pop(_VM, "")
    said = _over(_written(item.config), marked)
    startup = _startup(said, is_virtual=not said.get("entra"))
    vms = startup.vms or [Vm(DEFAULT_VM)]
    under_test = _under_test(vms, str(chosen), homes)
    taken = {one for vm in vms for one in vm.reach.address or ()}
    mine = tuple(one for one in homes if one not in taken)
    vms = [with_addresses(vm, mine) if vm.name == under_test else vm for vm in vms]
    return ServerOptions(structs.replace(startup, vms=vms, origin="file"), under_test)


def with_addresses(vm: Vm, more: tuple[str, ...]) -> Vm:
    """Return a VM that is reached from more addresses."""
    address = (*(vm.reach.address or ()), *more)
    return structs.replace(vm, reach=structs.replace(vm.reach, address=address)) if more else vm


def _marked(item: pytest.Item) -> dict[str, Any]:
    """Return what the marks say, those of the test over those of its class and module."""
    said: dict[str, Any] = {}
    for node, mark in reversed([*item.iter_markers_with_node(MARK)]):
        if mark.args:
            raise ConfigError(
                _SAID, repr(mark.args[0]), "names with values", 'Write fleet={...} or vm="web-1"'
            )
        _check(mark.kwargs)
        folder = node.path.parent if node.path.is_file() else node.path
        said = _over(said, {name: _placed(name, one, folder) for name, one in mark.kwargs.items()})
    return said


def _over(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Lay what is said over what was said further out: a fleet or a document replaces either."""
    if any(name in over for name in _FILES):
        under = {name: one for name, one in under.items() if name not in _FILES}
    return {**under, **over}


def _check(names: Mapping[str, object]) -> None:
    known = [_VM, *(row.name for row in SETTINGS if row.name not in OURS)]
    for name in names:
        if name in OURS:
            raise ConfigError(_SAID, f"{name}=", f"nothing: {OURS[name]}")
        if name not in known:
            expected = "one of " + ", ".join(known)
            raise ConfigError(_SAID, f'unknown name "{name}"', expected, nearest(name, known))


def _written(config: pytest.Config) -> dict[str, Any]:
    """Return what pytest's ini options say; paths are relative to their file."""
    folder = config.inipath.parent if config.inipath else config.rootpath
    told = {row.name: config.getini(_INI + row.name) for row in SETTINGS if row.name not in OURS}
    found = {name: _placed(name, one, folder) for name, one in told.items() if one is not None}
    resolve({}, {}, found, f"{config.inipath or 'ini options'}, {_INI}...")  # Says where it is.
    return found


def _placed(name: str, value: object, folder: Path) -> object:
    """Return a path as it is from here, and any other value as it is."""
    if name not in _PATHS or not isinstance(value, str | Path) or not str(value):
        return value
    return str(folder / value)


def _startup(values: dict[str, Any], *, is_virtual: bool) -> Startup:
    """Return the input of the server; a fleet or a document may be given as a value."""
    inline = {name: values.pop(name) for name in _FILES if isinstance(values.get(name), Mapping)}
    settings = resolve({}, {}, {**_SUITING, "virtual_clock": is_virtual, **values}, _SAID)
    if len([name for name in _FILES if name in inline or getattr(settings, name)]) > 1:
        raise ConfigError(_SAID, "both fleet and document", "a fleet or a document, not both")
    startup = load(settings)
    if "fleet" in inline:
        contents = fleet_contents(to_builtins(inline["fleet"]))
        events = startup.events + contents.events
        startup = structs.replace(startup, vms=contents.vms, events=events, faults=contents.faults)
    if "document" in inline:
        document = captured_vm(to_builtins(inline["document"]), DEFAULT_VM)
        startup = structs.replace(startup, vms=[document.vm], notices=document.notices)
    # Without its path the file is not watched: an edit concerns the next test.
    return with_settings(startup, fleet="")


def _under_test(vms: list[Vm], chosen: str, homes: tuple[str, ...]) -> str:
    names = [vm.name for vm in vms]
    if chosen and chosen not in names:
        seen, hint = f'"{chosen}", which is no VM of the fleet', nearest(chosen, names)
        raise ConfigError(f"{_SAID}: vm", seen, "one of " + ", ".join(names), hint)
    at_home = [vm.name for vm in vms if set(homes) & set(vm.reach.address or ())]
    return chosen or next(iter([*at_home, *names]))
