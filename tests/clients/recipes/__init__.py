"""Packages and programs of the recipes in docs/use/languages.md, one kit for each language.

The recipes are the code blocks of the page. A kit is fetched from a package index and built; its
tests are run by `make clients`.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.clients.kits import ROOT, Kit, _empty, _run
from tests.docs.story import file_block

HERE = Path(__file__).parent
PAGE = ROOT / "docs" / "use" / "languages.md"
OFFLINE = {"GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": "-mod=readonly"}
"""A Go that is too old is not to fetch another one."""
_GO_FILES = ("imds_test.go", "token_test.go")
_JAVA_FILES = ("Imds.java", "TokenTest.java")
_JS_FILES = (
    "imds.mjs",
    "vitest.config.mjs",
    "vitest.setup.mjs",
    "token.vitest.test.mjs",
    "jest.config.mjs",
    "jest.setup.mjs",
    "jest.teardown.mjs",
    "token.jest.test.cjs",
)


def _write(place: Path, *names: str) -> list[Path]:
    paths = []
    for name in names:
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file_block(PAGE, name))
        paths.append(path)
    return paths


def _go_get(place: Path) -> None:
    _empty(place)
    for name in ("go.mod", "go.sum"):
        shutil.copy(HERE / "go" / name, place)
    _run("go", "mod", "download", cwd=place, **OFFLINE)


def _go_build(place: Path) -> None:
    _write(place, *_GO_FILES)
    _run("go", "vet", ".", cwd=place, **OFFLINE)
    _run("go", "test", "-c", "-o", place / "token.test", ".", cwd=place, **OFFLINE)


def _maven(place: Path) -> None:
    _empty(place)
    goal = "dependency:copy-dependencies"
    _run("mvn", "-q", "-B", goal, f"-DoutputDirectory={place / 'lib'}", cwd=HERE / "java")


def _javac(place: Path) -> None:
    sources = _write(place, *_JAVA_FILES)
    _run("javac", "-Xlint:all", "-cp", f"{place}/lib/*", "-d", place / "classes", *sources)


def _npm(place: Path) -> None:
    _empty(place)
    shutil.copy(HERE / "js" / "package.json", place)
    quiet = ("--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error")
    once = ("--fetch-retries=1", "--fetch-retry-mintimeout=500", "--fetch-retry-maxtimeout=1000")
    _run("npm", "install", *quiet, *once, cwd=place)


def _node(place: Path) -> None:
    _write(place, *_JS_FILES)


def _cargo(*words: str) -> Callable[[Path], None]:
    def run(place: Path) -> None:
        shutil.copy(HERE / "rust" / "Cargo.toml", place)
        (place / "src").mkdir(exist_ok=True)
        (place / "src" / "lib.rs").write_text("")
        _write(place, "tests/imds.rs")
        _run("cargo", *words, "--quiet", cwd=place, CARGO_TARGET_DIR=str(place / "target"))

    return run


def _kit(
    name: str,
    tools: tuple[str, ...],
    manifests: tuple[str, ...],
    fetch: Callable[[Path], None],
    build: Callable[[Path], None],
) -> Kit:
    page, files = str(PAGE.relative_to(ROOT)), [str(HERE.relative_to(ROOT) / m) for m in manifests]
    return Kit(f"recipes-{name}", tools, (*files, page), fetch, build)


GO = _kit("go", ("go",), ("go/go.mod", "go/go.sum"), _go_get, _go_build)
JAVA = _kit("java", ("java", "javac", "mvn"), ("java/pom.xml",), _maven, _javac)
JAVASCRIPT = _kit("js", ("node", "npm"), ("js/package.json",), _npm, _node)
RUST = _kit(
    "rust",
    ("cargo",),
    ("rust/Cargo.toml",),
    _cargo("fetch"),
    _cargo("test", "--no-run", "--offline"),
)
RECIPES = (GO, JAVA, JAVASCRIPT, RUST)
