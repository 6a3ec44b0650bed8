"""Build the documents as a site: `make site` writes build/site/html, which needs nothing else.

The pages are those of the repository. A copy of them is arranged under one folder, with their links
rewritten, and generated pages on the commands and the API beside them; mkdocs makes the site of it,
strictly: each link has to lead to a page and a heading. The navigation is that of docs/README.md.
A link to a file of the repository that is no page becomes plain text, for the site stands alone.

The site is built once for each language, each time whole: where a page has no translation, the
English one stands in its place, with a line that says so.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from enum import Enum, auto
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec
import yaml

from openimds.admin.openapi import openapi_document
from openimds.admin.operations import OPERATIONS
from openimds.cli.main import command
from openimds.fleet.file_schema import file_schema

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # It may be run as a file.

from scripts.translations import (  # noqa: E402 - see above
    anchor_in,
    original_of,
    translation_of,
    translations,
)

BUILD = ROOT / "build" / "site"
HOOKS, STYLE = ROOT / "scripts" / "site_hooks.py", ROOT / "scripts" / "site.css"
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
SCHEMA = "fleet.schema.json"
"""The schema of the fleet file, as `openimds fleet schema` prints it."""


class Kind(Enum):
    """The sections of the index, in its order."""

    TUTORIALS = auto()
    GUIDES = auto()
    REFERENCE = auto()
    EXPLANATION = auto()


class Language(NamedTuple):
    """A language of the site: its code, its folder, and its own words."""

    code: str
    folder: str
    name: str
    to_light: str
    to_dark: str
    stemmers: tuple[str, ...]
    untranslated: str = ""


ENGLISH = Language(
    "en", "", "English", "Switch to light colours", "Switch to dark colours", ("en",)
)
CHINESE = Language(
    code="zh",
    folder="zh-CN/",
    name="简体中文",
    to_light="切换到浅色",
    to_dark="切换到深色",
    stemmers=("zh", "en"),
    untranslated="本页只有英文版。",
)
LANGUAGES = (ENGLISH, CHINESE)
_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<path>[^)#\s]*)(?P<anchor>#[^)\s]*)?\)")
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_SECTION = re.compile(r"^## ([^\n:\uff1a]+?)(?:[:\uff1a][^\n]*)?$", re.MULTILINE)
_DIGEST = re.compile(r"\A<!-- sha256 of .*? -->\n")
_ELSEWHERE = re.compile(
    r"""<(?:script|img|link|iframe|source)\b[^>]*?(?:src|href)=["']?(?:https?:)?//"""
)
_PREFETCHED = re.compile(r"""<link[^>]*rel=["']?(?:canonical|alternate)""")


def main() -> None:
    """Build the site in each language, and print its place."""
    html = BUILD / "html"
    shutil.rmtree(BUILD, ignore_errors=True)
    for language in LANGUAGES:
        pages = BUILD / "pages" / language.code
        stage(pages, language)
        settings = BUILD / f"mkdocs-{language.code}.yml"
        written = site_settings(pages, html / language.folder, language)
        settings.write_text(yaml.dump(written, Dumper=_Settings, sort_keys=False), "utf-8")
        mkdocs = Path(sys.executable).parent / "mkdocs"
        words = [str(mkdocs), "build", "--strict", "--quiet", "--config-file", str(settings)]
        # The theme announces its successor on stderr, at each build.
        quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
        subprocess.run(words, check=True, env=quiet)
    if found := [*from_elsewhere(html)]:
        sys.exit("\n".join(found))
    print(html.relative_to(ROOT))


def stage(pages: Path, language: Language = ENGLISH) -> None:
    """Write all pages and pictures below a folder, with links that hold there."""
    for name, place in places(language).items():
        target = pages / place
        target.parent.mkdir(parents=True, exist_ok=True)
        text = _DIGEST.sub("", (ROOT / name).read_text("utf-8"))
        if original_of(name) == name:
            text = marked(text, language)
        target.write_text(rewritten(text, name, language), "utf-8")
    for picture in (ROOT / "docs").rglob("*.*"):
        if picture.suffix in {".svg", ".png"}:
            target = pages / picture.relative_to(ROOT / "docs")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(picture, target)
    shutil.copyfile(STYLE, pages / STYLE.name)
    (pages / SCHEMA).write_bytes(msgspec.json.format(msgspec.json.encode(file_schema()), indent=1))
    (pages / COMMANDS).write_text(marked(commands_page(), language), "utf-8")
    (pages / OPERATIONS_PAGE).write_text(marked(operations_page(), language), "utf-8")


def places(language: Language = ENGLISH) -> dict[str, str]:
    """Return the place of each page on the site, by its path in the repository."""
    translated = {*translations()} if language is CHINESE else set[str]()
    originals = {
        **OF_THE_ROOT,
        **{
            str(path.relative_to(ROOT)): str(path.relative_to(ROOT / "docs"))
            for path in sorted((ROOT / "docs").rglob("*.md"))
            if original_of(str(path.relative_to(ROOT))) == str(path.relative_to(ROOT))
        },
        INDEX: "documentation.md",
    }
    return {
        translation_of(name) if translation_of(name) in translated else name: place
        for name, place in originals.items()
    }


def marked(text: str, language: Language) -> str:
    """Return an English page with a line below its heading, in another language's site."""
    if not language.untranslated:
        return text
    heading, _, rest = text.partition("\n")
    return f"{heading}\n\n> {language.untranslated}\n{rest}"


def rewritten(text: str, name: str, language: Language = ENGLISH) -> str:
    """Return a page with its links as they are on the site; code stays."""
    result, end = [], 0
    for fence in _FENCE.finditer(text):
        result += [_with_links(text[end : fence.start()], name, language), fence[0]]
        end = fence.end()
    return "".join((*result, _with_links(text[end:], name, language)))


def _with_links(text: str, name: str, language: Language) -> str:
    names = places(language)
    sources = {original_of(one): one for one in names}
    here = Path(names[name]).parent

    def replace(link: re.Match[str]) -> str:
        path, anchor = link["path"], link["anchor"] or ""
        if not path or "://" in path or path.startswith("mailto:"):
            return link[0]
        target = os.path.normpath(Path(name).parent / path)
        if (ROOT / target / "README.md").is_file():
            target = f"{target}/README.md"
        if target != name and original_of(target) == original_of(name):
            return f'<a href="{_to_the_other(names[name], language)}">{link["text"]}</a>'
        if source := sources.get(original_of(target)):
            anchor = anchor and f"#{anchor_in(source, target, anchor[1:])}"
            return f"[{link['text']}]({os.path.relpath(names[source], here)}{anchor})"
        if link["image"]:
            picture = os.path.relpath(Path(target).relative_to("docs"), here)
            return f"![{link['text']}]({picture})"
        return link["text"]

    return _LINK.sub(replace, text)


def _to_the_other(place: str, language: Language) -> str:
    """Return the way from a page to itself in the other language."""
    other = CHINESE if language is ENGLISH else ENGLISH
    folder = re.sub(r"(?:index|README)?\.md$", "", place)
    return os.path.relpath(f"/{other.folder}{folder}", f"/{language.folder}{folder}") + "/"


def navigation(language: Language = ENGLISH) -> Iterator[dict[str, Any]]:
    """Yield the sections of the index with the pages that they name, each page once."""
    names = {original_of(name): place for name, place in places(language).items()}
    index = next(name for name in places(language) if original_of(name) == INDEX)
    text = (ROOT / index).read_text("utf-8")
    heads = [*_SECTION.finditer(text)]
    seen = {HOME}
    following = [head.start() for head in heads[1:]] + [len(text)]
    for kind, head, end in zip(Kind, heads, following, strict=True):
        found = []
        for link in _LINK.finditer(text[head.end() : end]):
            target = os.path.normpath(Path(index).parent / link["path"])
            place = names.get(original_of(target), "")
            if place and place not in seen:
                seen.add(place)
                found.append(place)
        if kind is Kind.TUTORIALS:
            found = [HOME, *found]
        if kind is Kind.REFERENCE:
            found += [COMMANDS, OPERATIONS_PAGE, "changelog.md"]
        if kind is Kind.EXPLANATION:
            found += sorted(
                place for place in names.values() if place.startswith("why/decisions/0")
            )
            found += ["contributing.md", "security.md"]
        yield {head[1]: found}


class _GithubSlugs:
    """The function that gives headings the anchors of GitHub, by its name in YAML."""


class _Settings(yaml.SafeDumper):
    """A writer of the settings."""


_Settings.add_representer(
    _GithubSlugs,
    lambda dumper, _: dumper.represent_mapping(
        "tag:yaml.org,2002:python/object/apply:pymdownx.slugs.slugify", {"kwds": {"case": "lower"}}
    ),
)


def site_settings(pages: Path, html: Path, language: Language = ENGLISH) -> dict[str, Any]:
    """Return the settings of mkdocs: all that the theme shows comes with the site."""
    up = "../" if language.folder else ""
    return {
        "site_name": "OpenIMDS",
        "docs_dir": str(pages),
        "site_dir": str(html),
        "nav": [*navigation(language)],
        "not_in_nav": "documentation.md",
        "hooks": [str(HOOKS)],
        "extra_css": [STYLE.name],
        "extra": {
            "folder": language.folder,
            "alternate": [
                {
                    "name": one.name,
                    "folder": one.folder,
                    "lang": one.folder.rstrip("/") or one.code,
                    "link": "" if one is language else f"{up}{one.folder}",
                }
                for one in LANGUAGES
            ],
        },
        "theme": {
            "name": "material",
            "language": language.code,
            "font": False,
            "features": ["navigation.indexes", "navigation.top", "content.code.copy"],
            "palette": [
                {
                    "media": f"(prefers-color-scheme: {scheme})",
                    "scheme": name,
                    "primary": "indigo",
                    "toggle": {"icon": icon, "name": text},
                }
                for scheme, name, icon, text in (
                    ("light", "default", "material/weather-night", language.to_dark),
                    ("dark", "slate", "material/weather-sunny", language.to_light),
                )
            ],
        },
        "plugins": [{"search": {"lang": [*language.stemmers]}}],
        "markdown_extensions": [
            "tables",
            "pymdownx.superfences",
            {"toc": {"permalink": True, "slugify": _GithubSlugs()}},
        ],
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
