"""Execute a page: write its files, run its commands, compare their output.

A block of `sh` is run; one that starts a server is left running until the next one does. A block of
`yaml`, `json`, `ini` or `python` whose first line is a comment with a file name is that file. A
block of `text` is the output of the block before it; `…` stands for any text.

A block that installs the package or runs the image is left out of a script, unless a test that has
a package index, a Debian or an engine asks for it.
"""

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from msgspec import Struct

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILES = {"ini", "json", "python", "yaml"}
_FILE = re.compile(r"# ([\w.-]+)\n")
_INSTALLATION = re.compile(r"pip install |make -C openimds pyz")
_DEBIAN = re.compile(r"apt-get install |make -C openimds deb")
_IMAGE = re.compile(r"docker |make -C openimds image")
_SERVERS = re.compile(r"(make|openimds) serve( --[\w-]+( [^-\s]\S*)?)*( 2> [\w.-]+)?\n")


class Block(Struct, frozen=True):
    """One fenced block: its language, its text, and the number of its first line."""

    kind: str
    text: str
    line: int

    @property
    def needs_an_index(self) -> bool:
        """Whether it installs packages."""
        return bool(_INSTALLATION.search(self.text))

    @property
    def needs_a_debian(self) -> bool:
        """Whether it makes or installs the Debian package."""
        return bool(_DEBIAN.search(self.text))

    @property
    def needs_an_engine(self) -> bool:
        """Whether it makes or runs an image."""
        return bool(_IMAGE.search(self.text))


def runs_anywhere(block: Block) -> bool:
    """Tell whether a block needs no package index, no Debian and no container engine."""
    return not (block.needs_an_index or block.needs_a_debian or block.needs_an_engine)


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    text = page.read_text("utf-8")
    return [
        Block(found[1], found[2], text.count("\n", 0, found.start()) + 1)
        for found in _BLOCK.finditer(text)
    ]


def file_block(page: Path, name: str) -> str:
    """Return the text of the block whose first line, a comment, names this file."""
    heads = (f"# {name}\n", f"// {name}\n")
    (text,) = (block.text for block in blocks(page) if block.text.startswith(heads))
    return text.partition("\n")[2]


def script(page: Path, folder: Path, is_run: Callable[[Block], bool] = runs_anywhere) -> str:
    """Write the files of a page; return its script, which writes `N.out` per block."""
    lines = ["set -e", "ip link set lo up", "server="]
    for number, block in enumerate(blocks(page)):
        named = _FILE.match(block.text)
        if block.kind in _FILES and named:
            (folder / named[1]).write_text(block.text[named.end() :])
        elif block.kind != "sh" or not is_run(block):
            continue
        elif _SERVERS.fullmatch(block.text):
            lines += [
                '[ -z "$server" ] || { kill $server; wait $server || true; }',
                "rm -f ready",
                f"{block.text.strip()} > ready &",
                "server=$!",
                "until [ -s ready ]; do kill -0 $server || exit 1; done",
            ]
        else:
            lines.append(f"{{\n{block.text}}} > {number}.out 2>&1")
    lines.append('[ -z "$server" ] || kill $server')
    return "\n".join(lines)


def expected(
    page: Path, is_run: Callable[[Block], bool] = runs_anywhere
) -> dict[int, tuple[Block, re.Pattern[str]]]:
    """Return the expected outputs, by the number of the block that prints them."""
    outputs = {}
    for number, (block, after) in enumerate(pairwise(blocks(page))):
        if after.kind == "text" and is_run(block):
            pieces = map(re.escape, after.text.strip().split("…"))
            outputs[number] = (block, re.compile(".*".join(pieces), re.DOTALL))
    return outputs
