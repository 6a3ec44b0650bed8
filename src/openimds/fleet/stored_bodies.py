"""The bodies of stored VMs: JSON, as a fleet file has them."""

from collections.abc import Iterable, Iterator

import msgspec.json

from openimds.errors import BAD_JSON, ConfigError
from openimds.fleet.quarantine import QuarantinedVm, quarantined
from openimds.fleet.store.port import StoredVm
from openimds.vm.fleet_file import merge_patch, parse_vm
from openimds.vm.names import check_new_parts, has_old_parts
from openimds.vm.types import Vm


def decode_vm(stored: StoredVm, old: set[str] | None = None) -> Vm:
    """Decode the body of a stored VM.

    Its name is added to `old` if it has a name or an identity that no new VM may have.

    Raises:
        ConfigError: the body is damaged, or another release wrote it, with other keys.
    """
    try:
        value = msgspec.json.decode(stored.body)
    except BAD_JSON:
        raise _damaged(stored.name) from None
    vm = parse_vm(stored.name, value, is_stored=True)
    if old is not None and has_old_parts(vm.name, vm.identities.user):
        old.add(vm.name)
    return vm


def decodable(
    page: Iterable[StoredVm], bad: dict[str, QuarantinedVm], old: set[str]
) -> Iterator[Vm]:
    """Yield the VMs of stored rows; add those that cannot be decoded to `bad`."""
    for stored in page:
        try:
            vm = decode_vm(stored, old)
        except ConfigError as error:
            bad[stored.name] = quarantined(stored.name, error)
        else:
            yield vm


def patched(name: str, stored: StoredVm | None, patch: object) -> Vm:
    """Return a VM after a merge patch, or the VM that it describes.

    Raises:
        ConfigError: the patch does not fit, or the stored body is damaged.
    """
    try:
        before = msgspec.json.decode(stored.body) if stored else {}
    except BAD_JSON:
        raise _damaged(name, "A patch cannot mend it: replace the VM") from None
    try:
        merged = merge_patch(before, patch)
    except RecursionError:
        raise ConfigError("body", "values nested too deeply", "a merge patch") from None
    changed = parse_vm(name, merged, is_stored=True)
    is_old = has_old_parts(name, changed.identities.user)
    check_new_parts(changed, decode_vm(stored) if stored and is_old else None)
    return changed


def _damaged(name: str, hint: str = "") -> ConfigError:
    return ConfigError(f"vms.{name}", "a stored body that is no JSON", "a VM as JSON", hint)
