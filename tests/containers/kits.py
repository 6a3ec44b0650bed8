"""Packages and programs of the Testcontainers recipes, and the image for the other architecture.

There is one kit for each language.

The recipes are the code blocks of `docs/use/testcontainers.md`. A kit is fetched with a network and
run in the private one, which has none.
"""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from tests.clients.kits import MADE, ROOT, Kit, _empty, _run, make
from tests.containers.engine import OTHER
from tests.docs.story import file_block

HERE = Path(__file__).parent
PAGE = ROOT / "docs" / "use" / "testcontainers.md"


def _write(name: str, folder: Path) -> Path:
    path = folder / name
    path.write_text(file_block(PAGE, name))
    return path


def _pip(place: Path) -> None:
    _empty(place)
    quiet = ("--quiet", "--disable-pip-version-check", "--no-input", "--retries", "1")
    lock = ROOT / "requirements-containers.lock"
    pip = (sys.executable, "-m", "pip", "install", *quiet, "--only-binary", ":all:")
    _run(*pip, "--no-deps", "--require-hashes", "--target", place / "site", "-r", lock)


def _npm(place: Path) -> None:
    _empty(place)
    shutil.copy(HERE / "js" / "package.json", place)
    quiet = ("--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    once = ("--fetch-retries=1", "--fetch-retry-mintimeout=500", "--fetch-retry-maxtimeout=1000")
    _run("npm", "install", *quiet, *once, cwd=place)


def _maven(place: Path) -> None:
    _empty(place)
    goal = "dependency:copy-dependencies"
    _run("mvn", "-q", "-B", goal, f"-DoutputDirectory={place / 'lib'}", cwd=HERE / "java")


def _javac(place: Path) -> None:
    source = _write("TokenTest.java", place)
    _run("javac", "-Xlint:all", "-cp", f"{place}/lib/*", "-d", place / "classes", source)


def _go_get(place: Path) -> None:
    _empty(place)
    for name in ("go.mod", "go.sum"):
        shutil.copy(HERE / "go" / name, place)
    # A Go that is too old is not to fetch another one.
    _run("go", "mod", "download", cwd=place, GOTOOLCHAIN="local", GOWORK="off")


def _go_build(place: Path) -> None:
    _write("token_test.go", place)
    build = ("go", "test", "-c", "-o", place / "token.test", ".")
    _run(*build, cwd=place, GOTOOLCHAIN="local", GOWORK="off", GOFLAGS="-mod=readonly")


def _cargo(place: Path, *words: str) -> None:
    _run("cargo", *words, "--quiet", cwd=place, CARGO_TARGET_DIR=str(place / "target"))


def _cargo_fetch(place: Path) -> None:
    # What is compiled stays when the page changes: it takes minutes.
    shutil.copy(HERE / "rust" / "Cargo.toml", place)
    for folder in ("src", "tests"):
        (place / folder).mkdir(exist_ok=True)
    (place / "src" / "lib.rs").write_text("")
    # The check of an empty library refuses a Rust that is too old.
    _cargo(place, "check")
    _cargo(place, "fetch")


def _cargo_build(place: Path) -> None:
    _write("tests/token.rs", place)
    _cargo(place, "test", "--no-run", "--offline")


def _write_script(name: str) -> Callable[[Path], None]:
    def build(place: Path) -> None:
        _write(name, place)

    return build


_PAGE = str(PAGE.relative_to(ROOT))
PYTHON = Kit(
    "testcontainers-python",
    (),
    ("requirements-containers.lock", _PAGE),
    _pip,
    _write_script("test_token.py"),
    target="containers",
)
JAVASCRIPT = Kit(
    "testcontainers-js",
    ("node", "npm"),
    ("tests/containers/js/package.json", _PAGE),
    _npm,
    _write_script("token.test.mjs"),
    target="containers",
)
JAVA = Kit(
    "testcontainers-java",
    ("java", "javac", "mvn"),
    ("tests/containers/java/pom.xml", _PAGE),
    _maven,
    _javac,
    target="containers",
)
GO = Kit(
    "testcontainers-go",
    ("go",),
    ("tests/containers/go/go.mod", "tests/containers/go/go.sum", _PAGE),
    _go_get,
    _go_build,
    target="containers",
)
RUST = Kit(
    "testcontainers-rust",
    ("cargo",),
    ("tests/containers/rust/Cargo.toml", _PAGE),
    _cargo_fetch,
    _cargo_build,
    target="containers",
)


def make_other_image() -> None:
    """Make the image for the other architecture where it is older than this machine's.

    The Makefile dates the stamp, and knows all files that an image is made of.
    """
    work, made = ROOT / "build" / "image", ROOT / "dist" / OTHER
    newest = max((path.stat().st_mtime for path in made.glob("*.oci.tar")), default=0.0)
    if newest < (work / "stamp").stat().st_mtime:
        sys.stderr.write(f"Making the image for {OTHER}\n")
        script = (sys.executable, ROOT / "scripts" / "build_image.py")
        _run(*script, "rootfs", work, "--architecture", OTHER)
        engine = ROOT / "scripts" / "private-engine"
        _run(engine, *script, "image", work, "--architecture", OTHER)


if __name__ == "__main__":
    make_other_image()
    MADE.mkdir(parents=True, exist_ok=True)
    make((PYTHON, JAVASCRIPT, JAVA, GO, RUST))
