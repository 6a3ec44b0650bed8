"""Check the words of the code against the rules of language in CONTRIBUTING.md.

`python scripts/check_words.py [PATH...]` prints one line for each breach, and exits 1 if any.
People hold the other rules; this script holds those that a machine can.
"""

import ast
import io
import re
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAMES_THE_WORDS = (Path(__file__).resolve(), ROOT / "tests/unit/test_words.py")
PACKAGE = ROOT / "src" / "openimds"
DEFAULT = ("src", "tests", "bench", "fuzz", "scripts", "packaging")
LONGEST_FIRST_LINE = 15
LONGEST_TEST_NAME = 60
FOGGY_PER_1000_LINES = 8

BANNED = re.compile(
    r"\b(said|told|heard|whoever|whatever|whosever|somebody|of ours|no more|by now)\b",
    re.IGNORECASE,
)
"""Fillers that hide the noun: write the noun instead."""
FOGGY = re.compile(r"\b(what|whatever|whoever|said)\b|_said\b|said_")
"""Words that are fine here and there, and fog when they are everywhere."""
LEADING = re.compile(r"(What|Who|Whom|Whose|Whoever|Whatever|How)\b")
IN_NAMES = frozenset({"said", "told", "heard", "whoever", "whatever", "somebody"})
_MARK = "# words: "
VAGUE_TEST = re.compile(r"test_(what|who|whom|whoever|whatever|it|nobody|somebody)_")

Breach = tuple[int, str]


def breaches(source: str, *, is_test: bool = False) -> Iterator[Breach]:
    """Yield the line and the reason of each breach in a module.

    A line with a comment `words: REASON` may have a banned word, such as a name on disk.
    """
    tree = ast.parse(source)
    lines = source.splitlines()
    marked = {number for number, line in enumerate(lines, 1) if _MARK in line}
    yield from ((line, reason) for line, reason in _prose(source) if line not in marked)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _docstring(node)
        for line, name in _names(node):
            if IN_NAMES & set(name.lower().split("_")) and line not in marked:
                yield line, f'name "{name}": use the noun for its content'
        if is_test and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _test_name(node.lineno, node.name)


def _docstring(
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef,
) -> Iterator[Breach]:
    text = ast.get_docstring(node)
    if not text:
        return
    line = node.body[0].lineno
    first = text.splitlines()[0]
    if LEADING.match(first):
        yield line, f'docstring begins with "{first.split()[0]}": begin with the thing or a verb'
    if len(first.split()) > LONGEST_FIRST_LINE:
        yield line, f"first line of {len(first.split())} words: at most {LONGEST_FIRST_LINE}"


def _names(node: ast.AST) -> Iterator[tuple[int, str]]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield node.lineno, node.name
        case ast.Name(ctx=ast.Store()):
            yield node.lineno, node.id
        case ast.arg():
            yield node.lineno, node.arg


def _prose(source: str) -> Iterator[Breach]:
    """Yield banned words in comments, docstrings and messages."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in (tokenize.COMMENT, tokenize.STRING):
            continue
        for offset, text in enumerate(token.string.splitlines()):
            for word in BANNED.findall(text):
                yield token.start[0] + offset, f'"{word}": name the thing'


def _test_name(line: int, name: str) -> Iterator[Breach]:
    if not name.startswith("test_"):
        return
    if len(name) > LONGEST_TEST_NAME:
        yield line, f"test name of {len(name)} characters: at most {LONGEST_TEST_NAME}"
    if VAGUE_TEST.match(name):
        yield line, f'test name "{name}": begin with the subject'


def twins(package: Path = PACKAGE) -> Iterator[str]:
    """Yield the class names that stand in more than one place of the package."""
    places = defaultdict(list)
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{path.relative_to(package)}:{node.lineno}")
    for name, where in places.items():
        if len(where) > 1:
            yield f'class name "{name}" stands at {", ".join(where)}: name each by its room\'s noun'


def fog(package: Path = PACKAGE) -> tuple[int, int]:
    """Return the foggy words and the lines of a package."""
    words = lines = 0
    for path in package.rglob("*.py"):
        text = path.read_text("utf-8")
        words += len(FOGGY.findall(text))
        lines += text.count("\n")
    return words, lines


def main(arguments: list[str]) -> int:
    """Print every breach below the paths, and the fog of the package."""
    roots = [Path(path).resolve() for path in arguments] or [ROOT / name for name in DEFAULT]
    count = 0
    for root in roots:
        for path in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
            if path in NAMES_THE_WORDS:
                continue
            is_test = path.name.startswith("test_")
            for line, reason in sorted(breaches(path.read_text("utf-8"), is_test=is_test)):
                print(f"{path.relative_to(ROOT)}:{line}: {reason}")
                count += 1
    if not arguments:
        for text in twins():
            print(text)
            count += 1
        words, lines = fog()
        if words * 1000 > FOGGY_PER_1000_LINES * lines:
            print(f"{words} foggy words in {lines} lines: at most {FOGGY_PER_1000_LINES} in 1,000")
            count += 1
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
