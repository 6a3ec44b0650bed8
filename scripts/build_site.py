"""Build the documents as a site: `make site` writes build/site/html, which needs nothing else.

The pages are those of the repository. A copy of them is arranged under one folder, with their links
rewritten, and generated pages on the commands and the API beside them; mkdocs makes the site of it,
strictly: each link has to lead to a page and a heading. The navigation is that of docs/README.md.
A link to a file of the repository that is no page becomes plain text, for the site stands alone.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import yaml

from openimds.admin.openapi import openapi_document
from openimds.admin.operations import OPERATIONS
from openimds.cli.main import command

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "site"
INDEX = "docs/README.md"
HOME = "index.md"
OF_THE_ROOT = {
    "README.md": HOME,
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""Pages beside the folder of documents, and their names on the site."""
COMMANDS, OPERATIONS_PAGE = "know/commands.md", "know/rest.md"
_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<path>[^)#\s]*)(?P<anchor>#[^)\s]*)?\)")
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_SECTION = re.compile(r"^## ([^\n:]+?)(?::[^\n]*)?$", re.MULTILINE)
_ELSEWHERE = re.compile(
    r"""<(?:script|img|link|iframe|source)\b[^>]*?(?:src|href)=["']?(?:https?:)?//"""
)
_PREFETCHED = re.compile(r"""<link[^>]*rel=["']?(?:canonical|alternate)""")


def main() -> None:
    """Build the site, and print its place."""
    pages, html = BUILD / "pages", BUILD / "html"
    shutil.rmtree(BUILD, ignore_errors=True)
    stage(pages)
    settings = BUILD / "mkdocs.yml"
    settings.write_text(yaml.safe_dump(site_settings(pages, html), sort_keys=False))
    mkdocs = Path(sys.executable).parent / "mkdocs"
    words = [str(mkdocs), "build", "--strict", "--quiet", "--config-file", str(settings)]
    # The theme announces its successor on stderr, at each build.
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    subprocess.run(words, check=True, env=quiet)
    if found := [*from_elsewhere(html)]:
        sys.exit("\n".join(found))
    print(html.relative_to(ROOT))


def stage(pages: Path) -> None:
    """Write all pages and pictures below a folder, with links that hold there."""
    names = places()
    for name, place in names.items():
        target = pages / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(rewritten((ROOT / name).read_text("utf-8"), name, names))
    for picture in (ROOT / "docs").rglob("*.*"):
        if picture.suffix in {".svg", ".png"}:
            target = pages / picture.relative_to(ROOT / "docs")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(picture, target)
    (pages / COMMANDS).write_text(commands_page())
    (pages / OPERATIONS_PAGE).write_text(operations_page())


def places() -> dict[str, str]:
    """Return the place of each page on the site, by its path in the repository."""
    below = {
        str(path.relative_to(ROOT)): str(path.relative_to(ROOT / "docs"))
        for path in sorted((ROOT / "docs").rglob("*.md"))
    }
    below[INDEX] = "documentation.md"
    return {**OF_THE_ROOT, **below}


def rewritten(text: str, name: str, names: dict[str, str]) -> str:
    """Return a page with its links as they are on the site; code stays."""
    result, end = [], 0
    for fence in _FENCE.finditer(text):
        result += [_with_links(text[end : fence.start()], name, names), fence[0]]
        end = fence.end()
    return "".join((*result, _with_links(text[end:], name, names)))


def _with_links(text: str, name: str, names: dict[str, str]) -> str:
    here = Path(names[name]).parent

    def replace(link: re.Match[str]) -> str:
        path, anchor = link["path"], link["anchor"] or ""
        if not path or "://" in path or path.startswith("mailto:"):
            return link[0]
        target = os.path.normpath(Path(name).parent / path)
        if (ROOT / target / "README.md").is_file():
            target = f"{target}/README.md"
        if target in names:
            return f"[{link['text']}]({os.path.relpath(names[target], here)}{anchor})"
        if link["image"]:
            picture = os.path.relpath(Path(target).relative_to("docs"), here)
            return f"![{link['text']}]({picture})"
        return link["text"]

    return _LINK.sub(replace, text)


def navigation(names: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the sections of the index with the pages that they name, each page once."""
    text = (ROOT / INDEX).read_text("utf-8")
    heads = [*_SECTION.finditer(text)]
    seen = {HOME}
    for head, following in zip(heads, (*heads[1:], None), strict=True):
        part = text[head.end() : following.start() if following else len(text)]
        found = []
        for link in _LINK.finditer(part):
            place = names.get(os.path.normpath(Path(INDEX).parent / link["path"]), "")
            if place and place not in seen:
                seen.add(place)
                found.append(place)
        if head[1].startswith("Reference"):
            found += [COMMANDS, OPERATIONS_PAGE, "changelog.md"]
        if head[1].startswith("Explanation"):
            found += sorted(
                place for place in names.values() if place.startswith("why/decisions/0")
            )
            found += ["contributing.md", "security.md"]
        yield {head[1]: [HOME, *found] if head[1].startswith("Tutorial") else found}


def site_settings(pages: Path, html: Path) -> dict[str, Any]:
    """Return the settings of mkdocs: all that the theme shows comes with the site."""
    unused = {"documentation.md"}
    return {
        "site_name": "OpenIMDS",
        "docs_dir": str(pages),
        "site_dir": str(html),
        "nav": [*navigation(places())],
        "not_in_nav": "\n".join(sorted(unused)),
        "theme": {
            "name": "material",
            "font": False,
            "features": ["navigation.indexes", "navigation.top", "content.code.copy"],
            "palette": [
                {
                    "media": f"(prefers-color-scheme: {scheme})",
                    "scheme": name,
                    "primary": "indigo",
                    "toggle": {"icon": icon, "name": f"Switch to {other} colours"},
                }
                for scheme, name, icon, other in (
                    ("light", "default", "material/weather-night", "dark"),
                    ("dark", "slate", "material/weather-sunny", "light"),
                )
            ],
        },
        "plugins": ["search"],
        "markdown_extensions": ["tables", "pymdownx.superfences", {"toc": {"permalink": True}}],
        "validation": {
            "nav": {"omitted_files": "warn", "not_found": "warn", "absolute_links": "warn"},
            "links": {"not_found": "warn", "anchors": "warn", "absolute_links": "warn"},
        },
    }


def commands_page() -> str:
    """Return the page with the help of every command."""
    parts = ["# Commands", "The help of each command, as `--help` prints it."]
    for words, one in _commands(command, ("openimds",)):
        context = click.Context(one, info_name=" ".join(words), max_content_width=100)
        parts += [f"## {' '.join(words)}", f"```text\n{one.get_help(context)}\n```"]
    return "\n\n".join(parts) + "\n"


def _commands(
    one: click.Command, words: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield words, one
    if isinstance(one, click.Group):
        context = click.Context(one)
        for name in one.list_commands(context):
            if below := one.get_command(context, name):
                yield from _commands(below, (*words, name))


def operations_page() -> str:
    """Return the page with every operation of the admin API."""
    document = json.loads(openapi_document(OPERATIONS))
    parts = ["# Admin API", "Each operation of the admin API, from its OpenAPI document."]
    for tag in document["tags"]:
        parts.append(f"## {tag['name']}\n\n{tag['description']}")
        for row in OPERATIONS:
            described = document["paths"][row.path][row.method.lower()]
            if tag["name"] in described["tags"]:
                parts.append(_operation(row.method, row.path, described))
    return "\n\n".join(parts) + "\n"


def _operation(method: str, path: str, described: dict[str, Any]) -> str:
    lines = [f"### {method} {path}", described["summary"]]
    if about := described.get("description"):
        lines.append(about)
    if parameters := described.get("parameters"):
        rows = [
            f"| `{one['name']}` | {one['in']} | {_cell(one.get('description', ''))} |"
            for one in parameters
        ]
        lines.append("\n".join(("| parameter | in | |", "|---|---|---|", *rows)))
    answers = [
        f"| {status} | {_cell(answer['description'])} |"
        for status, answer in described["responses"].items()
    ]
    lines.append("\n".join(("| answer | |", "|---|---|", *answers)))
    return "\n\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def from_elsewhere(html: Path) -> Iterator[str]:
    """Yield each script, font and picture that a page would load from another place."""
    for page in sorted(html.rglob("*.html")):
        for found in _ELSEWHERE.finditer(page.read_text("utf-8")):
            if not _PREFETCHED.match(found[0]):
                yield f"{page.relative_to(html)}: loads {found[0]}…"


if __name__ == "__main__":
    main()
