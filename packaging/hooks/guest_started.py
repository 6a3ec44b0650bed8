#!/usr/bin/python3 -I
"""Bind a guest that has started, as a hook of libvirt or Proxmox.

    guest-started libvirt NAME < DOMAIN.xml     as libvirt calls its hooks
    guest-started proxmox NUMBER

/etc/openimds/hooks.env has the settings; OPENIMDS_HOOKS is one of:

    off     nothing is done
    rules   `openimds host up` for the VMs of the running server
    vms     first the server gets the guest: a VM of its name gets the tap and the hardware address
            of its first card, and keeps all else; a new one is imported as by `openimds vm import`

A hook that fails would keep the guest from starting, so every failure is one line, and status 0.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SETTINGS = "/etc/openimds/hooks.env"
STATE = "/var/lib/openimds"
MODES = ("off", "rules", "vms")
_LARGEST = 1_000_000
"""Octets of a domain's XML; that of a large guest has 20,000."""
_TIMEOUT_S = 20
"""The time of all commands together: a hypervisor waits for its hook."""
_BEGAN_S = time.monotonic()
_FIREWALL = re.compile(r"^net0:.*\bfirewall=1\b", re.MULTILINE)


class HookError(Exception):
    """A step that failed; its text is for the operator."""


def main() -> None:
    """Do as the settings say; print a line for what failed."""
    try:
        match sys.argv[1:]:
            case ["libvirt", name]:
                bind(settings(), lambda: (domain(), ""))
            case ["proxmox", name]:
                bind(settings(), lambda: proxmox(name))
            case _:
                sys.exit(__doc__)
    except HookError as error:
        report(name, str(error))
    except Exception as error:  # noqa: BLE001 - a traceback and status 1 would stop the guest
        report(name, f"internal error, please report it: {type(error).__name__}: {error}")


def report(name: str, failure: str) -> None:
    """Print one line for a guest that is not bound."""
    print(f"openimds: {name} is not bound: {' '.join(failure.split())}", file=sys.stderr)


def settings() -> dict[str, str]:
    """Return the settings of the hooks; without their file they are off.

    Raises:
        HookError: the file cannot be read.
    """
    path = Path(os.environ.get("GUEST_HOOK_SETTINGS", SETTINGS))
    try:
        lines = path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        return {"OPENIMDS_HOOKS": "off"}
    except (OSError, UnicodeError) as error:
        raise HookError(f"{path}: {error}") from None
    rows = (line.partition("=") for line in lines if line.strip() and line[0] != "#")
    return {name.strip(): value.strip().strip("'\"") for name, _, value in rows}


def bind(chosen: Mapping[str, str], read: Any) -> None:  # noqa: ANN401 - a function
    """Put the guest that `read` describes, and replace the host's rules."""
    mode = chosen.get("OPENIMDS_HOOKS", "off")
    if mode not in MODES:
        raise HookError(f"OPENIMDS_HOOKS is {mode!r} in hooks.env. Type vms, rules or off")
    if mode == "off":
        return
    state = ("--state", chosen.get("OPENIMDS_STATE", STATE))
    if mode == "vms":
        text, bridge = read()
        addresses = put(text, state)
        for address in addresses if bridge else ():
            run("ip", "route", "replace", f"{address}/32", "dev", bridge)
    run("openimds", "host", "up", *state)


def put(text: str, state: tuple[str, str]) -> list[str]:
    """Give the server a guest; return the addresses that its hypervisor knows."""
    imported = run("openimds", "vm", "import", "--dry-run", "--partial", "-", text=text)
    ((name, vm),) = json.loads(imported)["vms"].items()
    if "reach" not in vm:
        raise HookError("it has no network card on a tap or bridge, so there is nothing to bind")
    # With wildcards in the name, other VMs are listed as well.
    is_known = name in run("openimds", "vm", "list", name, "--output", "name", *state).splitlines()
    if is_known:
        reach = json.dumps({"reach": vm["reach"]})
        run("openimds", "vm", "patch", name, "-", *state, text=reach)
    else:
        run("openimds", "vm", "put", "-", *state, text=json.dumps({"vms": {name: vm}}))
    cards = vm.get("network", {}).get("interface", [])
    known = [ip for card in cards for ip in card.get("ipv4", {}).get("ipAddress", [])]
    addresses = [ip["privateIpAddress"] for ip in known]
    if not is_known and not addresses:
        print(
            f"openimds: {name} has no address, which libvirt does not know. Type openimds vm patch "
            f'{name} with {{"reach": {{"address": [...]}}}}',
            file=sys.stderr,
        )
    return addresses


def domain() -> str:
    """Return the XML of a domain that libvirt gives to its hook."""
    return sys.stdin.buffer.read(_LARGEST).decode("utf-8", "replace")


def proxmox(number: str) -> tuple[str, str]:
    """Return the configuration of a guest, and the bridge that its firewall makes, if any."""
    if not number.isdecimal():
        raise HookError(f"{number!r} is no number of a guest")
    try:
        text = run("qm", "config", number)
    except HookError:
        text = run("pct", "config", number)
    return text, f"fwbr{number}i0" if _FIREWALL.search(text) else ""


def run(*command: str, text: str = "") -> str:
    """Run a command in what is left of the time; return its output.

    Octets of the output that are no UTF-8, as in a guest's description, are replaced.

    Raises:
        HookError: it failed, or took too long.
    """
    left_s = max(_BEGAN_S + _TIMEOUT_S - time.monotonic(), 0)
    try:
        ran = subprocess.run(  # noqa: S603 - words of this file, no shell
            command,
            input=text,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=left_s,
        )
    except subprocess.TimeoutExpired:
        begun = " ".join(command[:3])
        raise HookError(f"{begun}: the commands took more than {_TIMEOUT_S} s together") from None
    except OSError as error:
        raise HookError(f"{command[0]}: {error}") from None
    if ran.returncode:
        reason = (ran.stderr.strip().splitlines() or [f"status {ran.returncode}"])[-1]
        raise HookError(f"{' '.join(command[:3])}: {reason}")
    return ran.stdout


if __name__ == "__main__":
    main()
