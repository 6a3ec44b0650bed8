"""The input of a test's server: settings by name, over defaults for tests."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, structs, to_builtins

from openimds.credentials.service import has_keys
from openimds.errors import ConfigError
from openimds.fleet.fleet_files import DEFAULT_VM, default_vm, fleet_contents
from openimds.fleet.store.state import STORE_NAME
from openimds.interop.transcript.to_vm import captured_vm
from openimds.parameters import nearest
from openimds.server.startup import Startup, load, with_settings
from openimds.settings import SETTINGS, resolve
from openimds.vm.types import Vm

LOOP = "loop"
LOOP_REASON = "the server runs on asyncio's own loop, in a thread"
VM = "vm"
"""The name of the VM under test; all other names are settings."""
FILES = ("fleet", "document")
"""Settings that may be the value itself instead of a path."""
PATHS = frozenset(row.name for row in SETTINGS if row.metavar in {"PATH", "FILE", "DIR"})
"""Settings that are paths."""
AZURE = "azure"
"""The value of the setting pki_names that stands for Azure's hosts."""
_SANDBOX = "a test marked real_address, where Azure's hosts are this server's"
_MARK_HINT = "Write @pytest.mark.real_address over the test"
_DEFAULTS = {"rate_limit": False, "admin": "none", "public": "none", "record": 10_000}


class ServerOptions(Struct, frozen=True):
    """The input of a test's server, and the name of the VM under test."""

    startup: Startup
    vm: str


def server_options(
    values: Mapping[str, Any],
    under_test: str,
    homes: tuple[str, ...],
    where: str,
    *,
    is_in_sandbox: bool = False,
) -> ServerOptions:
    """Return the server options of a test.

    Args:
        values: settings by name; a fleet or document may be a path or the value itself.
        under_test: the name of the VM under test; empty chooses the first of the fleet.
        homes: the source addresses of this process; those that no VM names reach the VM under test.
        where: the place of the settings, for errors.
        is_in_sandbox: whether this process has a network of its own, with Azure's hosts if wanted.

    A VM under test that names addresses gets those of this process beside them.

    Raises:
        ConfigError: an unknown or malformed setting, an invalid fleet, or a VM that the fleet does
            not have.
    """
    startup = _startup(dict(values), where)
    if startup.settings.pki_names == AZURE and not is_in_sandbox:
        raise ConfigError(f"{where}: pki_names", f'"{AZURE}"', _SANDBOX, _MARK_HINT)
    vms = startup.vms or [_default_vm(startup.settings.state)]
    under_test = _under_test(vms, under_test, homes, where)
    named = {address for vm in vms for address in vm.reach.address or ()}
    free = tuple(address for address in homes if address not in named)
    vms = [_with_addresses(vm, free) if vm.name == under_test else vm for vm in vms]
    changes = {"vms": vms, "origin": "file", "homes": dict.fromkeys(homes, under_test)}
    return ServerOptions(structs.replace(startup, **changes), under_test)


def check_names(names: Iterable[str], fixed: Mapping[str, str], where: str) -> None:
    """Check the names of settings.

    Args:
        names: the names to check.
        fixed: settings that may not be chosen, with the reason.
        where: the place of the settings, for errors.

    Raises:
        ConfigError: a name that is no setting, or that is fixed.
    """
    known = [VM, *(row.name for row in SETTINGS if row.name not in fixed)]
    for name in names:
        if name in fixed:
            raise ConfigError(where, f"{name}=", f"nothing: {fixed[name]}")
        if name not in known:
            expected = "one of " + ", ".join(known)
            raise ConfigError(where, f'unknown name "{name}"', expected, nearest(name, known))


def _with_addresses(vm: Vm, more: tuple[str, ...]) -> Vm:
    """Return a VM with more source addresses, if it names any."""
    if vm.reach.address is None or not more:
        return vm
    return structs.replace(vm, reach=structs.replace(vm.reach, address=(*vm.reach.address, *more)))


def _default_vm(state: str) -> Vm:
    """Return the default VM, without an identity if a lost store left its keys."""
    is_lost = bool(state) and has_keys(Path(state)) and not Path(state, STORE_NAME).exists()
    return default_vm(has_identity=not is_lost)


def _startup(values: dict[str, Any], where: str) -> Startup:
    """Return the server's input; a fleet or document may be given as a value."""
    inline = {name: values.pop(name) for name in FILES if isinstance(values.get(name), Mapping)}
    values = {
        name: str(value) if isinstance(value, Path) else value for name, value in values.items()
    }
    is_virtual = not values.get("entra")
    settings = resolve({}, {}, {**_DEFAULTS, "virtual_clock": is_virtual, **values}, where)
    if len([name for name in FILES if name in inline or getattr(settings, name)]) > 1:
        raise ConfigError(where, "both fleet and document", "a fleet or a document, not both")
    startup = load(settings)
    if "fleet" in inline:
        contents = fleet_contents(to_builtins(inline["fleet"]))
        events = startup.events + contents.events
        startup = structs.replace(startup, vms=contents.vms, events=events, faults=contents.faults)
    if "document" in inline:
        document = captured_vm(to_builtins(inline["document"]), DEFAULT_VM)
        startup = structs.replace(startup, vms=[document.vm], notices=document.notices)
    # Without its path the file is not watched: an edit concerns the next test. The VM under test
    # may get addresses that the text does not have.
    return with_settings(structs.replace(startup, text=b""), fleet="")


def _under_test(vms: list[Vm], chosen: str, homes: tuple[str, ...], where: str) -> str:
    names = [vm.name for vm in vms]
    if chosen and chosen not in names:
        seen, hint = f'"{chosen}", which is no VM of the fleet', nearest(chosen, names)
        raise ConfigError(f"{where}: vm", seen, "one of " + ", ".join(names), hint)
    at_home = [vm.name for vm in vms if set(homes) & set(vm.reach.address or ())]
    return chosen or next(iter([*at_home, *names]))
