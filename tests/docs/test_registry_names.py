"""Nothing here is installed or pulled by its bare name while nobody owns that name.

A stranger who registered it could run code on our readers' machines. Pages, messages and recipes
name a folder, a file or `localhost/` instead.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.generate_docs import ROOT

PACKAGE_TOOLS = {
    **dict.fromkeys(
        ("pip", "pip3", "pipx", "uv", "poetry", "pdm", "conda", "mamba"), "install add run inject"
    ),
    **dict.fromkeys(
        ("npm", "pnpm", "yarn", "brew", "apt", "apt-get", "dnf", "snap"), "install add i"
    ),
    **dict.fromkeys(("uvx", "npx"), ""),
}
"""Tools that fetch packages, and their verbs; without a verb every use fetches."""
IMAGE_TOOLS = dict.fromkeys(("docker", "podman", "nerdctl", "crictl"), "run create pull")
LOCAL = ("./", "../", "/", "~", "localhost/")
"""Folders, files and images of this machine."""
FILES = (".whl", ".pyz", ".tar", ".tar.gz", ".zip")
WITH_VALUE = {
    *(
        "-e",
        "-h",
        "-l",
        "-p",
        "-t",
        "-u",
        "-v",
        "-w",
        "--entrypoint",
        "--env",
        "--group",
        "--health-cmd",
    ),
    *(
        "--hostname",
        "--ip",
        "--label",
        "--mount",
        "--name",
        "--network",
        "--network-alias",
        "--pod",
    ),
    *("--publish", "--tag", "--tmpfs", "--user", "--volume", "--workdir"),
}
"""Options of container tools whose value is the next word."""
DECLARED = re.compile(
    r"^\s*(?:- )?(?:image:|FROM|COPY --from=)\s*(\S+)|^\s*\W?(openimds\s*[=<>~]=.*)$"
)
"""A line that fetches without a verb: Compose, Kubernetes, a Containerfile, a requirement."""
ALLOWED = (Path(__file__), ROOT / "CHANGELOG.md")
SUFFIXES = {
    ".md",
    ".py",
    ".toml",
    ".yaml",
    ".yml",
    ".json",
    ".service",
    ".socket",
    ".sh",
    ".cfg",
    "",
}
TREES = ("docs", "src", "packaging", "scripts", "tests/clients", "tests/containers", "examples")


def fetched_by_bare_name(text: str) -> list[str]:
    """Return the commands and lines that install or pull by the bare name."""
    found = []
    for line in text.splitlines():
        for command in re.split(r"&&|[;|`()]", line):
            words = [word.strip("\"',") for word in command.split()]
            if any(is_bare(word, is_image=is_image) for word, is_image in fetched(words)):
                found.append(command.strip())
        declared = DECLARED.match(line)
        if declared and is_bare((declared[1] or declared[2]).strip("\"',"), is_image=True):
            found.append(line.strip())
    return found


def fetched(words: list[str]) -> Iterator[tuple[str, bool]]:
    """Yield the packages and images of a command, with whether each is an image."""
    for place, word in enumerate(words):
        after = words[place + 1 :]
        if word in PACKAGE_TOOLS:
            verbs = PACKAGE_TOOLS[word].split()
            start = next(
                (n for n, verb in enumerate(after, 1) if verb in verbs), 0 if not verbs else None
            )
            yield from ((name, False) for name in (after[start:] if start is not None else ()))
        elif word in IMAGE_TOOLS:
            verbs = IMAGE_TOOLS[word].split()
            start = next((n for n, verb in enumerate(after, 1) if verb in verbs), None)
            if start is not None and (image := first_positional(after[start:])):
                yield image, True


def first_positional(words: list[str]) -> str:
    """Return the first word that is neither an option nor the value of one."""
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            return word
        if word in WITH_VALUE:
            next(rest, "")
    return ""


def is_bare(name: str, *, is_image: bool) -> bool:
    """Tell whether a word is the name that a registry would be asked for."""
    if name.startswith(LOCAL) or name.endswith(FILES) or ("/" in name and not is_image):
        return False
    return bool(re.fullmatch(r"(?:[\w.-]+/)*openimds(?:\[[\w,]+\])?(?:[:@=<>~! ].*)?", name))


def files() -> list[Path]:
    listed = [path for tree in TREES for path in sorted((ROOT / tree).rglob("*")) if path.is_file()]
    return [
        path
        for path in (*sorted(ROOT.glob("*")), *listed)
        if path.is_file() and path.suffix in SUFFIXES and path not in ALLOWED
        if not {"__pycache__", "node_modules", "target"} & set(path.parts)
    ]


@pytest.mark.parametrize(
    "text",
    [
        "pip install openimds",
        "pip install openimds[entra]",
        "Type `pip install 'openimds[fast]==0.1.0'` first",
        "python -m pip install --upgrade openimds",
        "pipx install openimds",
        "uv tool install openimds",
        "uv pip install openimds",
        "uvx --from openimds openimds; uv add openimds",
        "npm install openimds",
        "docker pull openimds",
        "docker run --rm -p 127.0.0.1:8169:8169 openimds",
        "podman run openimds:0.1.0 serve",
        "docker run docker.io/someone/openimds",
        "    image: openimds:latest",
        "FROM openimds",
    ],
)
def test_bare_name_is_found(text: str) -> None:
    assert fetched_by_bare_name(text)


@pytest.mark.parametrize(
    "text",
    [
        "pip install ./openimds",
        "pip install './openimds[entra]'",
        "pip install dist/openimds-0.1.0-py3-none-any.whl",
        "docker run --name openimds --rm localhost/openimds:0.1.0 serve",
        "podman exec openimds openimds vm list",
        "    image: localhost/openimds:0.1.0",
        "FROM localhost/openimds",
        "apt-get install iproute2 && openimds serve",
        "openimds vm import FILE",
    ],
)
def test_local_name_is_allowed(text: str) -> None:
    assert fetched_by_bare_name(text) == []


def test_nothing_is_fetched_by_bare_name() -> None:
    found = {
        str(path.relative_to(ROOT)): lines
        for path in files()
        if (lines := fetched_by_bare_name(path.read_text("utf-8", errors="replace")))
    }
    assert found == {}
    assert len(files()) > len(TREES), "the trees moved"
