"""Compare the translated pages with their originals: `python scripts/translations.py`.

It prints each page that is stale or differs in more than its words, and exits 1 if any does.
`--stamp PAGE` writes the digest of the original as first line of a translated page, which a person
does after reading both once more. `--link` leads links to English pages to their translations.

A translated page has the headings, rows and list items of its original, its code blocks to the
letter, its code spans, and the same links. A heading has the anchor that GitHub makes of its text.
"""

import hashlib
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[1]
LANGUAGE = "zh-CN"
_README, _TRANSLATED_README = "README.md", f"README.{LANGUAGE}.md"
_FOLDER = f"docs/{LANGUAGE}/"
_FIRST = re.compile(r"<!-- sha256 of (\S+): ([0-9a-f]{64}) -->")
_FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?P<path>[^)#\s]*)(?P<anchor>#[^)\s]*)?\)")
_MARKDOWN = MarkdownIt("commonmark").enable("table")


class Target(NamedTuple):
    """An address elsewhere, or a file and the number of a heading in it."""

    path: str
    heading: int | None = None


class Section(NamedTuple):
    """A heading, its rows and its list items."""

    level: int
    anchor: str
    rows: int
    items: int


class Page(NamedTuple):
    """A page without its words."""

    sections: tuple[Section, ...]
    blocks: tuple[tuple[str, str], ...]
    spans: frozenset[str]
    links: tuple[str, ...]


def original_of(name: str) -> str:
    """Return the path of the original of a translated page; another page is its own."""
    if name == _TRANSLATED_README:
        return _README
    return f"docs/{name.removeprefix(_FOLDER)}" if name.startswith(_FOLDER) else name


def translation_of(name: str) -> str:
    """Return the path that the translation of a page has, whether it exists or not."""
    return _TRANSLATED_README if name == _README else _FOLDER + name.removeprefix("docs/")


def translations(root: Path = ROOT) -> list[str]:
    """Return the path of each translated page."""
    found = [path.relative_to(root).as_posix() for path in (root / _FOLDER).rglob("*.md")]
    readme = [_TRANSLATED_README] if (root / _TRANSLATED_README).exists() else []
    return sorted(readme + found)


def first_line(original: str, text: str) -> str:
    """Return the first line of a translation of a page with this text."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"<!-- sha256 of {original}: {digest} -->"


@cache
def page(text: str) -> Page:
    """Read a page: its sections, code blocks, code spans and links."""
    tokens = _MARKDOWN.parse(text)
    inner = [child for token in tokens for child in token.children or ()]
    return Page(
        tuple(_sections(tokens)),
        tuple((one.info, one.content) for one in tokens if one.type in {"fence", "code_block"}),
        frozenset(one.content for one in inner if one.type == "code_inline"),
        tuple(
            unquote(str(one.attrs["href" if one.type == "link_open" else "src"]))
            for one in inner
            if one.type in {"link_open", "image"}
        ),
    )


def _sections(tokens: list[Token]) -> Iterator[Section]:
    """Yield the sections; the one above the first heading has the level 0."""
    level, anchor, counted = 0, "", Counter[str]()
    seen = Counter[str]()
    for token, after in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type == "heading_open":
            yield Section(level, anchor, counted["tr_open"], counted["list_item_open"])
            level, counted = int(token.tag[1]), Counter[str]()
            texts = (after.children if after else None) or ()
            slug = anchor_of("".join(one.content for one in texts))
            anchor = f"{slug}-{seen[slug]}" if seen[slug] else slug
            seen[slug] += 1
        counted[token.type] += 1
    yield Section(level, anchor, counted["tr_open"], counted["list_item_open"])


def anchor_of(heading: str) -> str:
    """Return the anchor that GitHub makes of the text of a heading, in any script."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def _page_of(path: Path) -> Page:
    return page(path.read_text("utf-8"))


def differences(name: str, root: Path = ROOT, *, is_whole: bool = True) -> Iterator[str]:
    """Yield how a translated page differs from its original in more than its words.

    While a translation is not whole yet, links may lead to English pages that have a translation.
    """
    original = original_of(name)
    if not (root / original).is_file():
        yield f"{original}, which it translates, does not exist"
        return
    line = (root / name).read_text("utf-8").partition("\n")[0]
    expected = first_line(original, (root / original).read_text("utf-8"))
    if not _FIRST.fullmatch(line) or f" {original}: " not in line:
        yield f"its first line has to be: {expected}"
    elif line != expected:
        yield (
            f"{original} changed since it was translated: translate the change, then type "
            f"`python scripts/translations.py --stamp {name}`, which writes the line "
            f"{expected}"
        )
    here, there = _page_of(root / name), _page_of(root / original)
    yield from _in_structure(here, there)
    yield from _in_links(name, here, there, root, is_whole=is_whole)


def _in_structure(here: Page, there: Page) -> Iterator[str]:
    if text := _in_headings(here, there):
        yield text
    else:
        for mine, other in zip(here.sections, there.sections, strict=True):
            if mine.rows != other.rows:
                yield f"#{mine.anchor} has {mine.rows} table rows, #{other.anchor} {other.rows}"
            if mine.items != other.items:
                yield f"#{mine.anchor} has {mine.items} list items, #{other.anchor} {other.items}"
    if len(here.blocks) != len(there.blocks):
        yield f"has {len(here.blocks)} code blocks, the original {len(there.blocks)}"
    for number, (mine_block, other_block) in enumerate(
        zip(here.blocks, there.blocks, strict=False), 1
    ):
        if mine_block != other_block:
            yield f"code block {number} differs: it begins {other_block[1][:60]!r} in the original"
    if lacking := sorted(there.spans - here.spans):
        yield f"lacks the code {', '.join(f'`{one}`' for one in lacking)}"


def _in_headings(here: Page, there: Page) -> str:
    """Return how the levels of the headings differ, or nothing."""
    mine, other = ([one.level for one in each.sections[1:]] for each in (here, there))
    return "" if mine == other else f"has headings of levels {mine}, the original {other}"


def _in_links(name: str, here: Page, there: Page, root: Path, *, is_whole: bool) -> Iterator[str]:
    original = original_of(name)
    mine: Counter[Target] = Counter()
    for link in here.links:
        try:
            mine[target_of(link, name, root)] += 1
        except ValueError as error:
            yield str(error)
        path = _file_of(link, name)
        if not is_whole or not path or path == original:
            continue
        translated = translation_of(path)
        if original_of(path) == path and (root / translated).is_file():
            yield f"{link} leads to English, and {translated} exists: type --link"
    other = Counter(target_of(link, original, root) for link in there.links)
    lacking, surplus = other - mine, mine - other
    # Headings are counted, so those of a page with more or fewer than its original have no fellows.
    paths = {one.path for one in (*lacking, *surplus) if one.heading is not None}
    unlike = {path: text for path in paths if (text := _in_headings_of(path, root))}
    for path in sorted({*unlike} - {original}):
        yield f"links to headings of {path}, but {translation_of(path)} {unlike[path]}"
    for target in lacking:
        if target.heading is None or target.path not in unlike:
            yield f"lacks a link to {_shown(target, root)}"
    for target in surplus:
        if target.heading is None or target.path not in unlike:
            yield f"has a link more than the original: {_shown(target, root)}"


def _in_headings_of(original: str, root: Path) -> str:
    """Return how the headings of the translation of a page differ, or nothing."""
    translated = root / translation_of(original)
    return (
        _in_headings(_page_of(translated), _page_of(root / original))
        if translated.is_file()
        else ""
    )


def _file_of(link: str, name: str) -> str:
    """Return the path of the linked file, or nothing for an address elsewhere."""
    if "://" in link or link.startswith("mailto:"):
        return ""
    path = link.partition("#")[0]
    return os.path.normpath(Path(name).parent / path).replace(os.sep, "/") if path else name


def target_of(link: str, name: str, root: Path = ROOT) -> Target:
    """Return where a link of a page leads, a translation counted as its original.

    Raise `ValueError` if there is no such file, or no such heading in it.
    """
    path = _file_of(link, name)
    if not path:
        return Target(link)
    if not (root / path).exists():
        raise ValueError(f"{link} leads to no file")
    anchor = link.partition("#")[2]
    if not anchor:
        return Target(original_of(path))
    anchors = [one.anchor for one in _page_of(root / path).sections]
    if anchor not in anchors:
        near = ", ".join(f"#{one}" for one in anchors if one)
        raise ValueError(f"{link} leads to no heading: {path} has {near}")
    return Target(original_of(path), anchors.index(anchor))


def anchor_in(name: str, other: str, anchor: str, root: Path = ROOT) -> str:
    """Return the anchor of a heading of another page in the same page's other language.

    Raise `ValueError` if the other page has no such heading, or their headings differ.
    """
    if name == other:
        return anchor
    here, there = _page_of(root / name), _page_of(root / other)
    if _in_headings(here, there):
        raise ValueError(f"{name} and {other} differ in headings, so #{anchor} has no fellow")
    anchors = [one.anchor for one in there.sections]
    if anchor not in anchors:
        raise ValueError(f"{other} has no heading #{anchor}")
    return here.sections[anchors.index(anchor)].anchor


def _shown(target: Target, root: Path) -> str:
    if target.heading is None:
        return target.path
    return f"{target.path}#{_page_of(root / target.path).sections[target.heading].anchor}"


def linked(name: str, root: Path = ROOT) -> str:
    """Return the text of a translated page with its links led to translations."""
    text = (root / name).read_text("utf-8")
    result, end = [], 0
    for fence in _FENCE.finditer(text):
        result += [_with_links(text[end : fence.start()], name, root), fence[0]]
        end = fence.end()
    return "".join((*result, _with_links(text[end:], name, root)))


def _with_links(text: str, name: str, root: Path) -> str:
    def replace(found: re.Match[str]) -> str:
        link = unquote(f"{found['path']}{found['anchor'] or ''}")
        path = _file_of(link, name)
        translated = translation_of(path)
        is_own = path in {name, original_of(name)}
        if not path or is_own or original_of(path) != path or not (root / translated).is_file():
            return found[0]
        anchor = link.partition("#")[2]
        anchor = anchor and f"#{anchor_in(translated, path, anchor, root)}"
        return f"]({os.path.relpath(translated, Path(name).parent)}{anchor})"

    return _LINK.sub(replace, text)


def stamp(name: str, root: Path = ROOT) -> None:
    """Write the digest of the original into the first line of a translated page."""
    text = (root / name).read_text("utf-8")
    line, _, rest = text.partition("\n")
    body = rest if _FIRST.fullmatch(line) else text
    original = original_of(name)
    head = first_line(original, (root / original).read_text("utf-8"))
    (root / name).write_text(f"{head}\n{body}", "utf-8")


def main(arguments: list[str], root: Path = ROOT) -> int:
    """Print the differences of all translated pages, or stamp or link them."""
    match arguments:
        case ["--stamp", *names] if names:
            for name in names:
                path = Path(os.path.relpath(Path(name).resolve(), root)).as_posix()
                if path not in translations(root):
                    print(f"error: {name} is no translated page: name one below {_FOLDER}")
                    return 2
                stamp(path, root)
            return 0
        case ["--link"]:
            failed = 0
            for name in translations(root):
                try:
                    (root / name).write_text(linked(name, root), "utf-8")
                except ValueError as error:
                    print(f"{name}: not linked: {error}")
                    failed = 1
            return failed
        case []:
            found = [
                f"{name}: {text}" for name in translations(root) for text in differences(name, root)
            ]
            print("\n".join(found) or "Every translated page follows its original.")
            return 1 if found else 0
    print("usage: python scripts/translations.py [--stamp PAGE... | --link]")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
