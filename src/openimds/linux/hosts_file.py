"""The hosts file of a mount namespace: the machine's, with more names."""

from collections.abc import Mapping
from pathlib import Path

from openimds.linux.covered_file import cover

_HOSTS = Path("/etc/hosts")


def map_hosts(hosts: Mapping[str, str]) -> None:
    """Map names to addresses in this mount namespace alone.

    Raises:
        OSError: there is no hosts file, or it cannot be covered.
    """
    cover(_HOSTS, hosts_text(hosts, _HOSTS.read_text("utf-8", "replace")))


def hosts_text(hosts: Mapping[str, str], present: str) -> str:
    """Return a hosts file with the names, and the other lines of a present one."""
    lines = [f"{address} {name}" for name, address in hosts.items()]
    lines += [line for line in present.splitlines() if not _names(line) & hosts.keys()]
    return "\n".join([*lines, ""])


def _names(line: str) -> set[str]:
    return {word.lower() for word in line.partition("#")[0].split()[1:]}
