"""A fake host: the output of `ip -j` and `nft -j`."""

import json
import re
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
"""The interface of 0.1.0."""
RULE = {"priority": 169, "src": "all", "fwmark": "0x6f696d64", "table": "16925"}


def neighbour(device: str, address: str, mac: str, protocol: str = "169") -> dict[str, Any]:
    """Return a permanent entry of the neighbour table."""
    own = {"protocol": protocol} if protocol else {}
    return {"dst": address, "dev": device, "lladdr": mac, "state": ["PERMANENT"], **own}


def ways(address: str = "169.254.169.254") -> list[dict[str, Any]]:
    """Return the routes of `up` for an address."""
    own = {"dst": address, "protocol": "169", "flags": []}
    return [{**own, "type": "local", "dev": "lo"}, {**own, "type": "blackhole"}]


class FakeHost:
    """Returns the output of commands, and records them in `commands`."""

    def __init__(
        self,
        *interfaces: dict[str, Any],
        routes: list[dict[str, Any]] | None = None,
        tables: dict[str, list[dict[str, Any]]] | None = None,
        rules: list[dict[str, Any]] | None = None,
        neighbours: list[dict[str, Any]] | None = None,
        can_unshare: bool = True,
    ) -> None:
        self.interfaces = [LO, *interfaces]
        self.routes, self.tables = routes or [], tables or {}
        self.rules, self.can_unshare = rules or [], can_unshare
        self.neighbours = neighbours or []
        self.commands: list[tuple[str, ...]] = []

    def __call__(self, command: tuple[str, ...], text: str) -> str:
        self.commands.append(command)
        assert not text or command[0] == "unshare"
        match command:
            case ("ip", "-j", "-d", "address", "show"):
                return json.dumps([*self.interfaces, {}])
            case ("ip", "-j", "-4", "route", "show", "table", "all"):
                return json.dumps(self.routes)
            case ("nft", "list", "tables"):
                own = [f"table {family} openimds\n" for family in self.tables]
                return "".join((*own, "table ip filter\n", "table ip my-openimds\n"))
            case ("nft", "-j", "list", "table", family, "openimds"):
                return nft(*self.tables[family])
            case ("ip", "-j", "neighbour", "show", "nud", "permanent"):
                return json.dumps(self.neighbours)
            case ("ip", "-j", "-4", "rule", "show"):
                return json.dumps([{"priority": 0, "src": "all", "table": "local"}, *self.rules])
            case ("nft", "-s", "list", "table", family, "openimds"):
                return listed(family, self.tables[family])
            case ("unshare", *words, "sh", "-c", "nft -f - && exec nft -s list ruleset"):
                if words == ["--net"] and not self.can_unshare:
                    raise ToolError("unshare failed: Operation not permitted")
                return "".join(listed(*made) for made in made_tables(text).items())
        raise AssertionError(command)


def nft(*objects: dict[str, Any]) -> str:
    """Return a listing of nft."""
    return json.dumps({"nftables": [{"metainfo": {"version": "1.0.6"}}, *objects]})


def listed(family: str, objects: list[dict[str, Any]]) -> str:
    """Return the text of a table, without the counts and handles of objects."""
    lines = []
    for item in objects:
        (value,) = item.values()
        plain = {key: value[key] for key in ("name", "chain", "expr", "comment") if key in value}
        elements = [json.dumps(one).translate(_PLAIN) for one in value.get("elem", ())]
        lines.append(f"{plain} elements = {{ {', '.join(elements)} }}".replace("{}", ""))
    return f"table {family} openimds {{\n" + "\n".join(lines) + "\n}\n"


_PLAIN = str.maketrans("{},", "[];")
_SET = re.compile(r"(set|map) (\w+) \{ type [^;]*;(?:[^;{]*;)*(?: elements = \{ (.*) \};)? \}")
_STAMP = re.compile(r'counter stamp \{ comment "(\w+)" \}')


def made_tables(text: str) -> dict[str, list[dict[str, Any]]]:
    """Return the objects of each table in a text; a rule is its line."""
    tables: dict[str, list[dict[str, Any]]] = {}
    objects: list[dict[str, Any]] = []
    family = ""
    for line in map(str.strip, text.splitlines()):
        if found := re.fullmatch(r"table (\w+) openimds \{", line):
            family = found[1]
            objects = tables[family] = []
        elif found := _STAMP.fullmatch(line):
            objects.append(stamp(found[1]))
        elif found := _SET.fullmatch(line):
            objects.append(named(found[2], *_elements(found[3], found[2]), word=found[1]))
        elif found := re.fullmatch(r"chain (\w+) \{", line):
            objects.append({"chain": {"name": found[1], "family": family}})
        elif line and line != "}":
            objects.append({"rule": {"chain": "x", "expr": line}})
        for value in objects[-1].values() if objects else ():
            value["family"] = family
    return tables


def _elements(text: str | None, name: str) -> list[Any]:
    elements: list[Any] = []
    for part in text.split(", ") if text else ():
        value, _, comment = part.partition(" comment ")
        if name == "gate":
            elements.append([item.strip('"') for item in value.split(" : ")])
            continue
        parts = [item.strip('"') for item in value.split(" . ")]
        key = parts[0] if len(parts) == 1 else {"concat": parts}
        elements.append(counted(key, comment.strip('"')) if comment else key)
    return elements


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
