"""The settings of a test: its marks over pytest's ini options over defaults for tests."""

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
_MARK_TEXT = "@pytest.mark.imds"
_INI = "imds_"
_VM = "vm"

FIXED = {
    "listen": "the session's tests share one port, see imds.url; a VM may have its own in "
    "reach.listen",
    "loop": "the server runs on asyncio's own loop, in a thread",
}
"""Settings that the plugin decides, with the reason."""
_DEFAULTS = {"rate_limit": False, "admin": "none", "public": "none", "record": 10_000}
_FILES = ("fleet", "document")
_PATHS = frozenset(row.name for row in SETTINGS if row.metavar in {"PATH", "FILE", "DIR"})


class ServerOptions(Struct, frozen=True):
    """The input of a test's server, and the name of the VM under test."""

    startup: Startup
    vm: str


def server_options(item: pytest.Item, homes: tuple[str, ...]) -> ServerOptions:
    """Return the server options of a test.

    Args:
        item: the test.
        homes: the source addresses of this process; those that no VM names reach the VM under test.

    Raises:
        ConfigError: an unknown or malformed setting in a mark or an ini option, an invalid fleet,
            or a VM that the fleet does not have.
    """
    marked = _marked(item)
    chosen = marked.pop(_VM, "")
    values = _over(_from_ini(item.config), marked)
    startup = _startup(values, is_virtual=not values.get("entra"))
    vms = startup.vms or [Vm(DEFAULT_VM)]
    under_test = _under_test(vms, str(chosen), homes)
    named = {address for vm in vms for address in vm.reach.address or ()}
    free = tuple(address for address in homes if address not in named)
    vms = [with_addresses(vm, free) if vm.name == under_test else vm for vm in vms]
    return ServerOptions(structs.replace(startup, vms=vms, origin="file"), under_test)


def with_addresses(vm: Vm, more: tuple[str, ...]) -> Vm:
    """Return a VM with more source addresses."""
    address = (*(vm.reach.address or ()), *more)
    return structs.replace(vm, reach=structs.replace(vm.reach, address=address)) if more else vm


def _marked(item: pytest.Item) -> dict[str, Any]:
    """Return the values of the marks; those of the test come first, then outer ones.

    Raises:
        ConfigError: a mark with a positional argument or an unknown name.
    """
    values: dict[str, Any] = {}
    for node, mark in reversed([*item.iter_markers_with_node(MARK)]):
        if mark.args:
            hint = 'Write fleet={...} or vm="web-1"'
            raise ConfigError(_MARK_TEXT, repr(mark.args[0]), "names with values", hint)
        _check(mark.kwargs)
        folder = node.path.parent if node.path.is_file() else node.path
        marked = {name: _joined(name, value, folder) for name, value in mark.kwargs.items()}
        values = _over(values, marked)
    return values


def _over(outer: dict[str, Any], inner: dict[str, Any]) -> dict[str, Any]:
    """Merge values; an inner fleet or document replaces an outer fleet or document."""
    if any(name in inner for name in _FILES):
        outer = {name: value for name, value in outer.items() if name not in _FILES}
    return {**outer, **inner}


def _check(names: Mapping[str, object]) -> None:
    known = [_VM, *(row.name for row in SETTINGS if row.name not in FIXED)]
    for name in names:
        if name in FIXED:
            raise ConfigError(_MARK_TEXT, f"{name}=", f"nothing: {FIXED[name]}")
        if name not in known:
            expected = "one of " + ", ".join(known)
            raise ConfigError(_MARK_TEXT, f'unknown name "{name}"', expected, nearest(name, known))


def _from_ini(config: pytest.Config) -> dict[str, Any]:
    """Return the values of pytest's ini options; paths are relative to their file.

    Raises:
        ConfigError: a malformed value, with the file.
    """
    folder = config.inipath.parent if config.inipath else config.rootpath
    given = {row.name: config.getini(_INI + row.name) for row in SETTINGS if row.name not in FIXED}
    values = {
        name: _joined(name, value, folder) for name, value in given.items() if value is not None
    }
    # Resolved once by itself, so that an error names the ini file.
    resolve({}, {}, values, f"{config.inipath or 'ini options'}, {_INI}...")
    return values


def _joined(name: str, value: object, folder: Path) -> object:
    """Return a path joined to its folder, and any other value unchanged."""
    if name not in _PATHS or not isinstance(value, str | Path) or not str(value):
        return value
    return str(folder / value)


def _startup(values: dict[str, Any], *, is_virtual: bool) -> Startup:
    """Return the server's input; a fleet or document may be given as a value."""
    inline = {name: values.pop(name) for name in _FILES if isinstance(values.get(name), Mapping)}
    settings = resolve({}, {}, {**_DEFAULTS, "virtual_clock": is_virtual, **values}, _MARK_TEXT)
    if len([name for name in _FILES if name in inline or getattr(settings, name)]) > 1:
        raise ConfigError(_MARK_TEXT, "both fleet and document", "a fleet or a document, not both")
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
        raise ConfigError(f"{_MARK_TEXT}: vm", seen, "one of " + ", ".join(names), hint)
    at_home = [vm.name for vm in vms if set(homes) & set(vm.reach.address or ())]
    return chosen or next(iter([*at_home, *names]))
