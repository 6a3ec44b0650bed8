"""A fake host: the output of `ip -j` and `nft -j`."""

import json
from typing import Any

from openimds.linux.host.commands import ToolError

LO: dict[str, Any] = {
    "ifname": "lo",
    "flags": ["LOOPBACK", "UP"],
    "address": "00:00:00:00:00:00",
    "addr_info": [{"family": "inet", "local": "127.0.0.1", "prefixlen": 8}],
}


def interface(name: str, *addresses: str, kind: str = "tun", **more: Any) -> dict[str, Any]:
    """Return an interface as `ip -j -d address show` lists it."""
    return {
        "ifname": name,
        "flags": ["BROADCAST", "UP"],
        "address": "02:00:00:00:00:99",
        "linkinfo": {"info_kind": kind},
        "addr_info": [{"local": address} for address in addresses],
        **more,
    }


BRIDGE = interface("br0", "10.0.0.1", kind="bridge", address="02:00:00:00:00:01")
TAP_A = interface("tap-a", master="br0")
TAP_B = interface("tap-b")
IMDS0 = interface("imds0", "169.254.169.254", kind="dummy", ifalias="openimds")


class FakeHost:
    """Returns the output of commands, and records them in `commands`."""

    def __init__(
        self,
        *interfaces: dict[str, Any],
        routes: list[dict[str, Any]] | None = None,
        tables: dict[str, list[dict[str, Any]]] | None = None,
        has_dummy: bool = True,
    ) -> None:
        self.interfaces = [LO, *interfaces]
        self.routes, self.tables = routes or [], tables or {}
        self.has_dummy = has_dummy
        self.commands: list[tuple[str, ...]] = []

    def __call__(self, command: tuple[str, ...], text: str) -> str:
        self.commands.append(command)
        assert not text
        match command:
            case ("ip", "-j", "-d", "address", "show"):
                return json.dumps([*self.interfaces, {}])
            case ("ip", "-j", "-4", "route", "show", "table", "all"):
                return json.dumps(self.routes)
            case ("nft", "-j", "list", "tables"):
                own = [{"table": {"family": key, "name": "openimds"}} for key in self.tables]
                return nft(*own, {"table": {"family": "ip", "name": "filter"}})
            case ("nft", "-j", "list", "table", family, "openimds"):
                return nft(*self.tables[family])
            case ("unshare", "--net", "ip", "link", "add", "imds0", "type", "dummy"):
                if not self.has_dummy:
                    raise ToolError("Error: Unknown device type.")
                return ""
        raise AssertionError(command)


def nft(*objects: dict[str, Any]) -> str:
    """Return a listing of nft."""
    return json.dumps({"nftables": [{"metainfo": {"version": "1.0.6"}}, *objects]})


def counted(value: Any, comment: str = "", packets: int = 0) -> dict[str, Any]:
    """Return an element of a counting set."""
    element = {"val": value, "counter": {"packets": packets, "bytes": 0}}
    return {"elem": {**element, "comment": comment} if comment else element}


def stamp(text: str) -> dict[str, Any]:
    """Return the counter with the fingerprint."""
    return {"counter": {"name": "stamp", "comment": text, "packets": 0, "bytes": 0}}


def named(name: str, *elements: Any, word: str = "set") -> dict[str, Any]:
    """Return a set or a map; nft lists an empty one without `elem`."""
    return {word: {"name": name, **({"elem": [*elements]} if elements else {})}}
