"""The checks of `openimds doctor`: one function for each property of a machine.

A check only reads. It starts no server, opens no port and sends no packet: routes, addresses and
the firmware tell whether a cloud serves 169.254.169.254, and /proc which ports are in use.
"""

import os
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

from openimds.linux.host.commands import PACKAGES, Run, ToolError
from openimds.linux.host.host_state import HostState
from openimds.linux.host.nft_rules import IPV4, TABLE
from openimds.linux.platform import IS_LINUX, FileLimits
from openimds.linux.private_netns import why_unavailable

State = Literal["ok", "note", "wrong"]
Bound: TypeAlias = tuple[IPv4Address | IPv6Address, int]
"""An address and a port."""
_OTHERS = 0o077 if os.name == "posix" else 0
"""Windows has no such bits: the access list of the user's profile counts."""
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
"""Firmware of VMs in clouds that serve 169.254.169.254: file, text, cloud."""
_NEEDED_BY = {"ip": "openimds host", "nft": "openimds host", "pasta": "openimds exec --net host"}

_WIDEN = "sysctl -w net.core.somaxconn=65535"
_ALTERNATIVE = "reach.listen: netns:NAME, or openimds exec"


class CheckResult(Struct, frozen=True):
    """One result: ok, worth knowing or wrong; `do` is the remedy to type."""

    state: State
    found: str
    do: str = ""


def python() -> Iterator[CheckResult]:
    """Check the interpreter."""
    yield CheckResult("ok", ".".join(map(str, sys.version_info[:3])))


def namespaces() -> Iterator[CheckResult]:
    """Check that a process can get a network namespace of its own, for `openimds exec`."""
    reason = why_unavailable()
    if reason:
        yield CheckResult("note", reason, "needed by openimds exec only")
    else:
        yield CheckResult("ok", "available")


def tools() -> Iterator[CheckResult]:
    """Check that the programs that commands start are installed."""
    if not IS_LINUX:
        yield CheckResult("note", "openimds exec and openimds host need Linux")
        return
    for name, command in _NEEDED_BY.items():
        path = shutil.which(name)
        package = PACKAGES.get(name, "passt")
        if path:
            yield CheckResult("ok", path)
        else:
            found = f"{name} is not installed"
            yield CheckResult("note", found, f"apt-get install {package}, for {command}")


def open_files(limits: FileLimits, most: int, wanted: int) -> Iterator[CheckResult]:
    """Check that the hard limit of open files admits the wanted connections of guests.

    `most` is the bound that a server sets. It raises the soft limit to the hard one.
    """
    found = f"{limits}: {most} connections of guests"
    if limits.hard >= wanted:
        yield CheckResult("ok", found)
        return
    hint = f"raise ulimit -Hn (LimitNOFILE= of systemd), or --max-connections {most}"
    yield CheckResult("note", f"{found}, not {wanted}", hint)


def half_open(vms: int, each: int, sysctls: Path = Path("/proc/sys")) -> Iterator[CheckResult]:
    """Check that the half-open connections of all bound VMs together fit into a listener's queue.

    `each` is the most of one VM. Beyond the queue no new connection is served.
    """
    try:
        most = int((sysctls / "net/core/somaxconn").read_text())
    except OSError:  # Older kernels hide it from a network namespace of an ordinary user.
        return
    if vms * each > most:
        found = f"{most // each + 1} VMs can fill the {most} places of half-open connections"
        yield CheckResult("note", found, f"{_WIDEN}, and start the server anew")


def listening(proc: Path = Path("/proc")) -> set[Bound]:
    """Return every TCP address with a listener in this network namespace.

    Raises:
        ToolError: this system does not list them.
    """
    if not IS_LINUX:
        raise ToolError("only Linux lists its listeners under /proc")
    bound = set()
    for name in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / name).read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            _, local, _, state, *_ = line.split()
            if state == _LISTENING:
                address, _, port = local.partition(":")
                bound.add((_address(address), int(port, 16)))
    return bound


def _address(text: str) -> IPv4Address | IPv6Address:
    """Parse an address of /proc/net: 32-bit words in the byte order of the machine."""
    words = [bytes.fromhex(text[i : i + 8]) for i in range(0, len(text), 8)]
    order = 1 if sys.byteorder == "big" else -1
    return ip_address(b"".join(word[::order] for word in words))


def is_taken(host: str, port: int, taken: AbstractSet[Bound]) -> bool:
    """Tell whether a listener already has this address."""
    try:
        wanted = ip_address(host.partition("%")[0])
    except ValueError:
        wanted = ip_address("127.0.0.1")  # A name, such as localhost.
    return any(
        port == other and (address == wanted or address.is_unspecified)
        for address, other in taken
        # A listener on every IPv6 address takes those of IPv4 as well.
        if address.version in (wanted.version, 6)
    )


def state_folder(folder: Path, token: str, store: str, user: int) -> Iterator[CheckResult]:
    """Check that the state folder, with fleet and token, is private to its owner."""
    try:
        owner = folder.stat().st_uid
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        yield CheckResult("note", f"{folder}: {reason}", "openimds serve makes it")
        return
    if user not in (0, owner):
        yield CheckResult(
            "wrong", f"{folder} belongs to user {owner}", f"sudo -u '#{owner}' before the command"
        )
        return
    existing = [path for path in (folder, folder / token, folder / store) if path.exists()]
    results = [
        CheckResult("wrong", f"{path} is open to other users", f"chmod go= {path}")
        for path in existing
        if stat.S_IMODE(path.stat().st_mode) & _OTHERS
    ]
    if not (folder / token).exists():
        results.append(CheckResult("note", f"{folder} has no {token}", "openimds serve makes it"))
    yield from results or [CheckResult("ok", str(folder))]


def clock(now_s: float, files: Iterable[Path]) -> Iterator[CheckResult]:
    """Check that the clock is plausible: tokens and certificates depend on it."""
    future = [path for path in files if path.exists() and path.stat().st_mtime > now_s + _SKEW_S]
    if now_s < _YEAR_2025_S:
        yield CheckResult("wrong", "the clock is before 2025", "timedatectl set-ntp true")
    elif future:
        yield CheckResult(
            "wrong", f"{future[0]} was modified in the future", "timedatectl set-ntp true"
        )
    else:
        yield CheckResult("ok", "plausible")


def address(seen: HostState, firmware: Path = Path("/sys/class/dmi/id")) -> Iterator[CheckResult]:
    """Check which interface has 169.254.169.254, and whether a cloud serves it."""
    for file, text, cloud in _FIRMWARE:
        if _text(firmware / file) == text:
            # Some clouds give their VMs no route to the address, which `plan_up` looks for.
            yield CheckResult("note", f"this machine is a VM of {cloud}", _ALTERNATIVE)
    for route in seen.routes:
        yield CheckResult("note", f"a cloud serves {IPV4}, over {route}", _ALTERNATIVE)
    names = [item.name for item in seen.interfaces.values() if IPV4 in item.addresses]
    for name in names:
        remedy = f"ip address delete {IPV4}/32 dev {name}, before openimds host up"
        yield CheckResult("note", f"{IPV4} is on {name}", remedy)
    if IPV4 in seen.local:
        yield CheckResult("ok", f"{IPV4} is reached through the host rules")
    elif not names and not seen.routes:
        yield CheckResult("ok", f"{IPV4} is on no interface")


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def firewalls(run: Run) -> Iterator[CheckResult]:
    """Check for other input chains that drop packets by default."""
    listed = msgspec.json.decode(run(("nft", "-j", "list", "chains"), ""))["nftables"]
    chains = [item["chain"] for item in listed if "chain" in item]
    for chain in chains:
        is_strict = chain.get("hook") == "input" and chain.get("policy") == "drop"
        if is_strict and chain["table"] != TABLE:
            name = f"{chain['family']} {chain['table']} {chain['name']}"
            found = f"the nftables chain {name} drops packets by default"
            yield CheckResult("note", found, f"accept TCP to {IPV4} port 80 in it")
