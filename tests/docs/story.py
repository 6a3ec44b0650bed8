"""Execute a page: write its files, run its commands, compare their output.

A block of `sh` is run; one that starts a server is left running until the next one does. A block of
`yaml`, `json`, `ini` or `python` whose first line is a comment with a file name is that file. A
block of `text` is the output of the block before it; `…` stands for any text.
"""

import re
from itertools import pairwise
from pathlib import Path

from msgspec import Struct

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILES = {"ini", "json", "python", "yaml"}
_FILE = re.compile(r"# ([\w.-]+)\n")
_SERVERS = re.compile(r"(make|openimds) serve( --[\w-]+( [^-\s]\S*)?)*\n")


class Block(Struct, frozen=True):
    """One fenced block: its language, its text, and the number of its first line."""

    kind: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    text = page.read_text("utf-8")
    return [
        Block(found[1], found[2], text.count("\n", 0, found.start()) + 1)
        for found in _BLOCK.finditer(text)
    ]


def script(page: Path, folder: Path) -> str:
    """Write the files of a page; return its script, which writes `N.out` for each block."""
    lines = ["set -e", "ip link set lo up", "server="]
    for number, block in enumerate(blocks(page)):
        named = _FILE.match(block.text)
        if block.kind in _FILES and named:
            (folder / named[1]).write_text(block.text[named.end() :])
        elif block.kind == "sh" and _SERVERS.fullmatch(block.text):
            lines += [
                '[ -z "$server" ] || { kill $server; wait $server || true; }',
                "rm -f ready",
                f"{block.text.strip()} > ready &",
                "server=$!",
                "until [ -s ready ]; do kill -0 $server || exit 1; done",
            ]
        elif block.kind == "sh":
            lines.append(f"{{\n{block.text}}} > {number}.out 2>&1")
    lines.append('[ -z "$server" ] || kill $server')
    return "\n".join(lines)


def expected(page: Path) -> dict[int, tuple[Block, re.Pattern[str]]]:
    """Return the expected output of blocks, by number, where a block of text follows."""
    outputs = {}
    for number, (block, after) in enumerate(pairwise(blocks(page))):
        if after.kind == "text":
            pieces = map(re.escape, after.text.strip().split("…"))
            outputs[number] = (block, re.compile(".*".join(pieces), re.DOTALL))
    return outputs
