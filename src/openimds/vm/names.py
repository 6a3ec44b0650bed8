"""The names that new VMs and user-assigned identities may have.

Stored VMs of before keep theirs, and are served.
"""

import re
from collections.abc import Collection, Iterable

from openimds.errors import ConfigError
from openimds.parameters import describe, quote_hint
from openimds.vm.types import Vm

NAME_PATTERN = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
"""One segment of a path and of a file name, and one word of a command line."""
_NAME = re.compile(NAME_PATTERN)
NAME_FORM = "1 to 128 letters, digits, _ . or -, with a letter, a digit or _ first"
_PART = r"[^/\s]{1,128}"
_USER_ASSIGNED = re.compile(
    rf"/subscriptions/{_PART}/resourceGroups/{_PART}"
    rf"/providers/Microsoft\.ManagedIdentity/userAssignedIdentities/{_PART}",
    re.IGNORECASE,
)
USER_ASSIGNED_FORM = (
    "/subscriptions/ID/resourceGroups/GROUP/providers/Microsoft.ManagedIdentity"
    "/userAssignedIdentities/NAME"
)
_SHOWN = 5


def is_name(text: object) -> bool:
    """Tell whether a new VM may have a name."""
    return isinstance(text, str) and bool(_NAME.fullmatch(text))


def check_name(name: object) -> None:
    """Check the name of a new VM.

    Raises:
        ConfigError: it has another form.
    """
    if not is_name(name):
        seen = f"the name {describe(name)}"
        raise ConfigError("vms", seen, NAME_FORM, quote_hint(name))


def check_new_parts(vm: Vm, before: Vm | None = None) -> None:
    """Check the name and the identities of a VM, except those it had.

    Raises:
        ConfigError: a new one has another form.
    """
    if before is None:
        check_name(vm.name)
    check_user_assigned(
        vm.identities.user, f"vms.{vm.name}", before.identities.user if before else ()
    )


def check_user_assigned(ids: Iterable[str], where: str, before: Collection[str] = ()) -> None:
    """Check the ids of a VM's user-assigned identities, except those before.

    Raises:
        ConfigError: one is not the id of such an identity.
    """
    for text in ids:
        if text not in before and not _USER_ASSIGNED.fullmatch(text):
            hint = "az identity show --query id prints it"
            raise ConfigError(f"{where}.identities.user", describe(text), USER_ASSIGNED_FORM, hint)


def has_old_parts(name: str, ids: Iterable[str]) -> bool:
    """Tell whether a name or an identity is one that no new VM may have."""
    return not is_name(name) or not all(map(_USER_ASSIGNED.fullmatch, ids))


def old_parts_notice(names: Collection[str]) -> str:
    """Return the message about stored VMs with such parts."""
    shown = ", ".join(describe(name) for name in sorted(names)[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (
        f"served, but with a name or a user-assigned identity that a new VM cannot have: {shown}"
        f"{more}. A name is {NAME_FORM}; an identity is {USER_ASSIGNED_FORM}"
    )
