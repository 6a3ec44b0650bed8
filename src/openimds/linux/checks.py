"""What can be wrong with a machine: one function for each thing that `openimds doctor` looks at.

A check only looks. It starts nothing, opens no port and sends no packet: whether a cloud answers at
169.254.169.254 is told from routes, addresses and the firmware, and who listens from /proc.
"""

import importlib.util
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec.json
from msgspec import Struct

from openimds.linux.host.commands import PACKAGES, Run
from openimds.linux.host.nft_rules import IPV4, TABLE
from openimds.linux.host.plan import DEVICE, HostState
from openimds.linux.private_netns import why_unavailable

State = Literal["ok", "note", "wrong"]
Bound: TypeAlias = tuple[IPv4Address | IPv6Address, int]
"""An address and a port."""
_OURS_ALONE = 0o077
_LISTENING = "0A"  # TCP_LISTEN of the kernel
_YEAR_2025_S = 1_735_689_600
_SKEW_S = 60
_FIRMWARE = (
    ("chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77", "Azure"),
    ("sys_vendor", "Amazon EC2", "EC2"),
    ("product_name", "Google Compute Engine", "Google Compute Engine"),
    ("product_name", "OpenStack Nova", "OpenStack"),
    ("product_name", "Alibaba Cloud ECS", "Alibaba Cloud"),
    ("chassis_asset_tag", "OracleCloud.com", "Oracle Cloud"),
    ("sys_vendor", "DigitalOcean", "DigitalOcean"),
    ("sys_vendor", "Hetzner", "Hetzner Cloud"),
)
"""What the firmware of a VM says in clouds that answer at 169.254.169.254: file, text, cloud."""
_NEEDED_BY = {"ip": "openimds host", "nft": "openimds host", "pasta": "openimds exec --net host"}

_INSTEAD = "reach.listen: netns:NAME, or openimds exec"


class CheckResult(Struct, frozen=True):
    """What one look has found: fine, worth knowing or wrong, and what to type."""

    state: State
    found: str
    do: str = ""


def python() -> Iterator[CheckResult]:
    """Look at the interpreter and its event loop."""
    version = ".".join(map(str, sys.version_info[:3]))
    if importlib.util.find_spec("uvloop"):
        yield CheckResult("ok", f"{version} with uvloop")
    else:
        yield CheckResult(
            "note", f"{version} without uvloop", "pip install openimds[fast] is faster"
        )


def private_network() -> Iterator[CheckResult]:
    """Look whether a process can have a network of its own, as `openimds exec` needs it."""
    said = why_unavailable()
    if said:
        yield CheckResult("note", said, "only openimds exec needs it")
    else:
        yield CheckResult("ok", "can be made")


def tools() -> Iterator[CheckResult]:
    """Look for the programs that commands start."""
    for name, command in _NEEDED_BY.items():
        path = shutil.which(name)
        package = PACKAGES.get(name, "passt")
        if path:
            yield CheckResult("ok", path)
        else:
            yield CheckResult("note", f"no {name}", f"apt-get install {package}, for {command}")


def open_files(hard: int, connections: int) -> Iterator[CheckResult]:
    """Look whether this process may hold as many connections as the settings allow."""
    if 0 <= hard < connections:
        hint = f"raise ulimit -Hn, or --max-connections {hard // 2}"
        yield CheckResult("note", f"{hard} open files for {connections} connections", hint)
    else:
        yield CheckResult("ok", "as many as connections")


def listening(proc: Path = Path("/proc")) -> set[Bound]:
    """Return every TCP address that somebody listens at in this network."""
    found = set()
    for name in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / name).read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            _, local, _, state, *_ = line.split()
            if state == _LISTENING:
                address, _, port = local.partition(":")
                found.add((_address(address), int(port, 16)))
    return found


def _address(text: str) -> IPv4Address | IPv6Address:
    """Return an address as /proc/net writes it: words of four bytes, each as the machine has it."""
    words = [bytes.fromhex(text[i : i + 8]) for i in range(0, len(text), 8)]
    order = 1 if sys.byteorder == "big" else -1
    return ip_address(b"".join(word[::order] for word in words))


def is_taken(host: str, port: int, taken: AbstractSet[Bound]) -> bool:
    """Tell whether somebody listens where this address would be wanted."""
    try:
        wanted = ip_address(host.partition("%")[0])
    except ValueError:
        wanted = ip_address("127.0.0.1")  # A name, such as localhost.
    return any(
        port == other and (address == wanted or address.is_unspecified)
        for address, other in taken
        # One for every IPv6 address takes those of IPv4 as well.
        if address.version in (wanted.version, 6)
    )


def state_folder(folder: Path, token: str, store: str, user: int) -> Iterator[CheckResult]:
    """Look whether the folder that keeps the fleet and the token is its owner's alone."""
    try:
        owner = folder.stat().st_uid
    except OSError as error:
        said = (error.strerror or str(error)).lower()
        yield CheckResult("note", f"{folder}: {said}", "a server makes it")
        return
    if user not in (0, owner):
        yield CheckResult(
            "wrong", f"{folder} is that of user {owner}", f"sudo -u '#{owner}' before it"
        )
        return
    kept = [path for path in (folder, folder / token, folder / store) if path.exists()]
    found = [
        CheckResult("wrong", f"others may use {path}", f"chmod go= {path}")
        for path in kept
        if stat.S_IMODE(path.stat().st_mode) & _OURS_ALONE
    ]
    if not (folder / token).exists():
        found.append(CheckResult("note", f"{folder} has no {token}", "a server makes it"))
    yield from found or [CheckResult("ok", str(folder))]


def clock(now_s: float, files: Iterable[Path]) -> Iterator[CheckResult]:
    """Look whether the time can be right: tokens and certificates live by it."""
    late = [path for path in files if path.exists() and path.stat().st_mtime > now_s + _SKEW_S]
    if now_s < _YEAR_2025_S:
        yield CheckResult("wrong", "it is before 2025", "timedatectl set-ntp true")
    elif late:
        yield CheckResult("wrong", f"{late[0]} is of the future", "timedatectl set-ntp true")
    else:
        yield CheckResult("ok", "can be right")


def address(seen: HostState, firmware: Path = Path("/sys/class/dmi/id")) -> Iterator[CheckResult]:
    """Look where 169.254.169.254 is, and whether it is a cloud's."""
    for file, text, cloud in _FIRMWARE:
        if _said(firmware / file) == text:
            # Not each of them has a route of its own to the address, by which `up` would know.
            yield CheckResult("note", f"this machine is a VM of {cloud}", _INSTEAD)
    for route in seen.routes:
        yield CheckResult("note", f"{IPV4} is a cloud's, over {route}", _INSTEAD)
    places = [one.name for one in seen.interfaces.values() if IPV4 in one.addresses]
    for place in places:
        if place == DEVICE:
            yield CheckResult("ok", f"{IPV4} is on {place}")
        else:
            yield CheckResult(
                "note", f"{IPV4} is on {place}", "openimds host up wants it elsewhere"
            )
    if not places and not seen.routes:
        yield CheckResult("ok", f"{IPV4} is on no interface")


def _said(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def firewalls(run: Run) -> Iterator[CheckResult]:
    """Look for chains of others that drop what comes in unless it is named."""
    listed = msgspec.json.decode(run(("nft", "-j", "list", "chains"), ""))["nftables"]
    chains = [one["chain"] for one in listed if "chain" in one]
    for one in chains:
        is_strict = one.get("hook") == "input" and one.get("policy") == "drop"
        if is_strict and one["table"] != TABLE:
            said = f"chain {one['name']} of {one['family']} {one['table']} drops by default"
            yield CheckResult("note", said, f"let TCP to {IPV4} port 80 in there")
