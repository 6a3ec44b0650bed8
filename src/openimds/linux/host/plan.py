"""What is there, and the steps from there to what shall be, or back."""

import shlex
from collections.abc import Sequence
from typing import Any

import msgspec.json
from msgspec import Struct

from openimds.errors import Error
from openimds.linux.host.bindings import InterfaceBinding
from openimds.linux.host.commands import Run, ToolError
from openimds.linux.host.nft_rules import IPV4, IPV6, TABLE, Rules, ruleset
from openimds.linux.host.nft_state import FAMILIES, NftTable, tables

DEVICE = "imds0"
MARK = "openimds"
"""The alias of an interface that we have made."""
_DUMMY, _SUBSTITUTE = "dummy", "bridge"


class HostError(Error):
    """This host has already what `plan_up` would make, and it is not ours."""


class Interface(Struct, frozen=True):
    """One interface: what it is, what it is a port of, and what is on it."""

    name: str
    kind: str
    mac: str
    master: str
    alias: str
    is_up: bool
    addresses: frozenset[str]


class HostState(Struct, frozen=True):
    """What is there now.

    `kind` is the kind of interface that would be made: `dummy`, or where the kernel has none, a
    bridge without ports, which does the same. `routes` are the interfaces over which a cloud's own
    metadata service is reached.
    """

    interfaces: dict[str, Interface]
    routes: tuple[str, ...]
    tables: dict[str, NftTable]
    kind: str = _DUMMY

    @property
    def places(self) -> list[str]:
        """The interfaces that `plan_up` has given the IPv6 address."""
        inet = self.tables.get("inet", NftTable())
        return [one.parts[0] for one in inet.sets.get("places", ())]

    def place(self, tie: InterfaceBinding) -> str:
        """Return the interface by which the host itself meets a guest, or nothing."""
        own = self.interfaces.get(tie.interface)
        return own.master or own.name if own else ""


class PlanStep(Struct, frozen=True):
    """A command, and what it is given on its stdin."""

    command: tuple[str, ...]
    text: str = ""

    @property
    def brief(self) -> str:
        """The command in one line."""
        line = shlex.join(self.command)
        return f"{line} ({self.text.count(chr(10))} lines)" if self.text else line

    def __str__(self) -> str:
        """Return what can be pasted into a shell."""
        line = shlex.join(self.command)
        return f"{line} <<'RULES'\n{self.text}RULES" if self.text else line


def read_state(run: Run, *, tries: bool = False) -> HostState:
    """Return what is there now; who is going to make an interface `tries` which kind there is.

    Raises:
        ToolError: a program is missing, or this process may not look.
    """
    listed = msgspec.json.decode(run(("ip", "-j", "-d", "address", "show"), ""))
    interfaces = {one["ifname"]: _interface(one) for one in listed if "ifname" in one}
    return HostState(
        interfaces,
        _routes(run),
        tables(run),
        _kind(run) if tries and DEVICE not in interfaces else _DUMMY,
    )


def _interface(said: dict[str, Any]) -> Interface:
    return Interface(
        said["ifname"],
        said.get("linkinfo", {}).get("info_kind", ""),
        said.get("address", ""),
        said.get("master", ""),
        said.get("ifalias", ""),
        "UP" in said.get("flags", ()),
        frozenset(one["local"] for one in said.get("addr_info", ()) if "local" in one),
    )


def _routes(run: Run) -> tuple[str, ...]:
    listed = msgspec.json.decode(run(("ip", "-j", "-4", "route", "show", "table", "all"), ""))
    there = [one for one in listed if one.get("dst") == IPV4 and one.get("type") != "local"]
    return tuple(str(one.get("dev", "")) for one in there)


def _kind(run: Run) -> str:
    """Return the kind of interface to make; tried where nothing comes of it."""
    try:
        run(("unshare", "--net", "ip", "link", "add", DEVICE, "type", _DUMMY), "")
    except ToolError:
        return _SUBSTITUTE
    return _DUMMY


def plan_up(
    seen: HostState, tied: Sequence[InterfaceBinding], *, ipv6: bool = False
) -> list[PlanStep]:
    """Return the steps that make this host the metadata host of these VMs.

    Raises:
        HostError: something is there that is not ours.
    """
    _refuse_what_is_not_ours(seen)
    places = _places(seen, tied) if ipv6 else []
    # The address shall not be there without rules, not even for a moment.
    steps = _leave(seen, set(seen.places) - set(places))
    rules = ruleset(tied, _gates(seen, tied), places, ipv6=ipv6)
    if not is_installed(seen, rules):
        steps.append(PlanStep(("nft", "-f", "-"), rules.text))
    device = seen.interfaces.get(DEVICE)
    if device is None:
        steps.append(_ip("link", "add", DEVICE, "type", seen.kind))
        steps.append(_ip("link", "set", DEVICE, "alias", MARK))
    if device is None or not device.is_up:
        steps.append(_ip("link", "set", DEVICE, "up"))
    if device is None or IPV4 not in device.addresses:
        steps.append(_ip("address", "add", f"{IPV4}/32", "dev", DEVICE))
    return steps + [
        _ip("address", "add", f"{IPV6}/64", "dev", place, "nodad")
        for place in places
        if not _has(seen, place, IPV6)
    ]


def plan_down(seen: HostState) -> list[PlanStep]:
    """Return the steps that undo `plan_up`, whatever of it is there."""
    steps = _leave(seen, set(seen.places))
    device = seen.interfaces.get(DEVICE)
    if device and device.alias == MARK:
        steps.append(_ip("link", "delete", DEVICE))
    # Rules last, as they came first.
    return steps + [PlanStep(("nft", "delete", "table", family, TABLE)) for family in seen.tables]


def matches(seen: HostState, tied: Sequence[InterfaceBinding]) -> bool:
    """Tell whether the rules that stand are those of these VMs, with IPv6 or without.

    Which bridges and places they know makes no difference: interfaces come and go.
    """
    gates = _known_gates(seen)
    return any(
        is_installed(seen, ruleset(tied, gates, seen.places, ipv6=ipv6)) for ipv6 in (False, True)
    )


def outdated_gateways(seen: HostState, tied: Sequence[InterfaceBinding]) -> list[str]:
    """Return the interfaces on a bridge that the rules do not know of."""
    known = _known_gates(seen)
    return [name for name, mac in _gates(seen, tied).items() if known.get(name) != mac]


def _known_gates(seen: HostState) -> dict[str, str]:
    found = seen.tables.get("bridge", NftTable()).sets.get("gate", ())
    return {one.parts[0]: one.parts[1] for one in found}


def is_installed(seen: HostState, rules: Rules) -> bool:
    """Tell whether both tables are there with these rules and these ties."""
    return len(seen.tables) == len(FAMILIES) and all(
        table.stamp == rules.stamp and table.tied.keys() == rules.tied
        for table in seen.tables.values()
    )


def _places(seen: HostState, tied: Sequence[InterfaceBinding]) -> list[str]:
    """Return where the IPv6 address is to be ours: where guests are met and it is not yet."""
    met = sorted({seen.place(tie) for tie in tied} - {""})
    return [one for one in met if one in seen.places or not _has(seen, one, IPV6)]


def _leave(seen: HostState, places: set[str]) -> list[PlanStep]:
    return [
        _ip("address", "delete", f"{IPV6}/64", "dev", place)
        for place in sorted(places)
        if _has(seen, place, IPV6)
    ]


def _has(seen: HostState, name: str, address: str) -> bool:
    return name in seen.interfaces and address in seen.interfaces[name].addresses


def _gates(seen: HostState, tied: Sequence[InterfaceBinding]) -> dict[str, str]:
    """Return, by interface, the hardware address of the bridge that it is on."""
    masters = {tie.interface: seen.interfaces.get(seen.place(tie)) for tie in tied}
    return {
        name: master.mac
        for name, master in masters.items()
        if master and master.kind == "bridge" and master.name != name
    }


def _ip(*words: str) -> PlanStep:
    return PlanStep(("ip", *words))


def _refuse_what_is_not_ours(seen: HostState) -> None:
    for route in seen.routes:
        raise HostError(
            f"this machine reaches {IPV4} over {route}: it is a guest of a cloud itself, and would "
            "lose its metadata; give each VM a network namespace (reach.listen: netns:NAME) instead"
        )
    for one in seen.interfaces.values():
        if one.name != DEVICE and IPV4 in one.addresses:
            raise HostError(
                f"{IPV4} is on {one.name} already; type ip address delete {IPV4}/32 dev {one.name}"
            )
    device = seen.interfaces.get(DEVICE)
    if device and device.alias != MARK:
        raise HostError(
            f"there is an interface {DEVICE} that openimds has not made; type ip link delete "
            f"{DEVICE} if nobody needs it"
        )
