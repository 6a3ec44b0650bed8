"""What clients need before they can run: packages of each language, and our programs around them.

A kit is fetched from a package index, then built. It is kept until what it is made from changes.
What cannot be fetched, or whose tools are not installed, is *not run*, and the reason is kept for
whoever asks why; what cannot be built is broken, and its tests fail.

Nothing is installed on the machine. Packages of Debian are unpacked, all else lands in
`.venv/clients` as well, but for the JavaScript ones, which have to lie beside their program.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from msgspec import Struct

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
MADE = ROOT / ".venv" / "clients"
NODE_MODULES = HERE / "js" / "node_modules"
_LISTS = MADE / "lists"
_PATH = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
_LONGEST = 160
_MOST_S = 900
_WRONG = re.compile(r"(npm )?\[?error|e: |go: ", re.IGNORECASE)
"""How the line begins by which a tool says what is wrong."""


def tool(name: str) -> str:
    """Return where a command is, or nothing."""
    return shutil.which(name, path=_PATH) or ""


class Kit(Struct, frozen=True):
    """What a kit is made from, and how.

    Attributes:
        tools: the commands it needs.
        made_from: files, from the root of the repository; with another content it is made anew.
        fetch: gets it from a package index into its place.
        build: makes programs of it, without any network.
        environment: variables by which its programs find each other.
        is_quick: whether it is part of `make test`.
    """

    name: str
    tools: tuple[str, ...]
    made_from: tuple[str, ...]
    fetch: Callable[[Path], None]
    build: Callable[[Path], None] | None = None
    environment: Callable[[Path], dict[str, str]] | None = None
    is_quick: bool = False

    @property
    def place(self) -> Path:
        """Where it lies."""
        return MADE / self.name

    def variables(self) -> dict[str, str]:
        """Return the environment that its programs want."""
        return self.environment(self.place) if self.environment else {}

    @property
    def _kept(self) -> Path:
        return MADE / f"{self.name}.json"

    def why_not(self) -> str:
        """Say why it is not there as it is to be, or nothing."""
        missing = [name for name in self.tools if not tool(name)]
        if missing:
            return f"{' and '.join(missing)} not installed"
        kept = self._read()
        if kept.get("made_from") == self._digest():
            return kept["why_not"]
        return f"not made as it is now: type make {'test' if self.is_quick else 'clients'}"

    def make(self) -> None:
        """Fetch and build it, unless that is done; say what fails."""
        kept = self._read()
        is_known = kept.get("made_from") == self._digest() and not kept["why_not"]
        if not all(map(tool, self.tools)) or (is_known and not kept["broken"]):
            return
        _say(f"Getting the clients of {self.name}")
        why_not = broken = ""
        try:
            self.place.mkdir(parents=True, exist_ok=True)
            self.fetch(self.place)
        except _CannotError as error:
            why_not = str(error)
            _say(f"{self.name}: {why_not}: its tests are skipped")
        else:
            broken = self._build()
        kept = {"made_from": self._digest(), "why_not": why_not, "broken": broken}
        self._kept.write_text(json.dumps(kept))

    def _build(self) -> str:
        try:
            if self.build:
                self.build(self.place)
        except _CannotError as error:
            _say(f"{self.name} cannot be built:\n{error.said}")
            # What was built before is not what is to be tested.
            shutil.rmtree(self.place)
            return str(error)
        return ""

    def _read(self) -> dict[str, str]:
        try:
            kept: dict[str, str] = json.loads(self._kept.read_bytes())
        except (OSError, ValueError):
            return {}
        return kept

    def _digest(self) -> str:
        said = hashlib.sha256(sys.version.encode())
        for name in self.made_from:
            said.update((ROOT / name).read_bytes())
        return said.hexdigest()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - whoever typed make reads it


class _CannotError(Exception):
    """A tool cannot do what it is to do: in a line, and in all that it said."""

    def __init__(self, command: tuple[str | Path, ...], said: str) -> None:
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        telling = [line for line in lines if _WRONG.match(line)]
        short = (telling or lines or ["it failed"])[0]
        tool = command[2] if command[1] == "-m" else Path(command[0]).name
        super().__init__(f"{tool}: {short}"[:_LONGEST])
        self.said = said


def _run(*command: str | Path, cwd: Path = HERE, **environment: str) -> None:
    try:
        ran = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=_MOST_S,
        )
    except subprocess.TimeoutExpired:
        raise _CannotError(command, f"it was not done after {_MOST_S} s") from None
    if ran.returncode:
        raise _CannotError(command, ran.stdout)


def _empty(place: Path) -> None:
    shutil.rmtree(place)
    place.mkdir()


def _pip(place: Path) -> None:
    _empty(place)
    quiet = ("--quiet", "--disable-pip-version-check", "--no-input", "--retries", "1")
    lock = ROOT / "requirements-clients.lock"
    pip = (sys.executable, "-m", "pip", "install", *quiet, "--only-binary", ":all:")
    _run(*pip, "--no-deps", "--require-hashes", "--target", place, "-r", lock)


def _npm(_: Path) -> None:
    shutil.rmtree(NODE_MODULES, ignore_errors=True)
    quiet = ("--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    # Where there is no network it would wait for minutes, for each package.
    once = ("--fetch-retries=1", "--fetch-retry-mintimeout=500", "--fetch-retry-maxtimeout=1000")
    _run("npm", "install", *quiet, *once, cwd=NODE_MODULES.parent)


def _debian(packages: str) -> Callable[[Path], None]:
    """Return what unpacks the packages that are listed in a file of `debian/`."""

    def fetch(place: Path) -> None:
        _empty(place)
        names = [
            line.partition("#")[0].strip()
            for line in (HERE / "debian" / packages).read_text().splitlines()
        ]
        get = ("apt-get", "-qq", "download", *filter(None, names))
        try:
            _run(*get, cwd=place)
        except _CannotError:
            # The lists of the machine are old or were never got; they are not ours to renew.
            (_LISTS / "partial").mkdir(parents=True, exist_ok=True)
            ours = ("-o", f"Dir::State::Lists={_LISTS}", "-o", "Acquire::Retries=1")
            _run("apt-get", "-qq", *ours, "update")
            _run(*get, *ours, cwd=place)
        for package in place.glob("*.deb"):
            _run("dpkg-deb", "-x", package, place)
            package.unlink()

    return fetch


def _go(do: str) -> Callable[[Path], None]:
    # A Go that is too old is not to fetch another one.
    own = {"GOTOOLCHAIN": "local", "GOWORK": "off"}

    def run(place: Path) -> None:
        where = ("-o", f"{place}/") if do == "build" else ("-deps",)
        _run("go", do, *where, "./...", cwd=HERE / "go", **own)

    return run


def _cargo(*do: str) -> Callable[[Path], None]:
    def run(place: Path) -> None:
        _run("cargo", *do, "--quiet", cwd=HERE / "rust", CARGO_TARGET_DIR=str(place))

    return run


def _maven(place: Path) -> None:
    _empty(place)
    goal = "dependency:copy-dependencies"
    _run("mvn", "-q", "-B", goal, f"-DoutputDirectory={place / 'lib'}", cwd=HERE / "java")


def _javac(place: Path) -> None:
    sources = sorted((HERE / "java").glob("*.java"))
    _run("javac", "-Xlint:all", "-cp", f"{place}/lib/*", "-d", place / "classes", *sources)


def _python(place: Path) -> dict[str, str]:
    return {"PYTHONPATH": str(place)}


def _debian_python(place: Path) -> dict[str, str]:
    own = place / "usr" / "lib"
    return {"PYTHONPATH": f"{own / 'python3' / 'dist-packages'}:{own / 'python3.11'}"}


def _ruby(place: Path) -> dict[str, str]:
    """Return by what an unpacked Ruby finds its parts, which are built for another place."""
    own = place / "usr"
    (binary,) = (own / "lib").glob("*-linux-gnu")
    libraries = ("vendor_ruby", "3.1.0")
    where = [folder / "ruby" / name for folder in (own / "lib", binary) for name in libraries]
    where.append(binary / "ruby" / "vendor_ruby" / "3.1.0")
    gems = [binary / "rubygems-integration" / "3.1.0"]
    gems += [own / "share" / "rubygems-integration" / name for name in ("all", "3.1.0")]
    return {
        "LD_LIBRARY_PATH": str(binary),
        "RUBYLIB": ":".join(map(str, where)),
        "GEM_PATH": ":".join(map(str, gems)),
    }


def _files(folder: str, *patterns: str) -> tuple[str, ...]:
    found = (path for pattern in patterns for path in (HERE / folder).glob(pattern))
    return tuple(sorted(str(path.relative_to(ROOT)) for path in found))


_APT = ("apt-get", "dpkg-deb")
KITS = {
    kit.name: kit
    for kit in (
        Kit(
            "Python",
            (),
            ("requirements-clients.lock",),
            _pip,
            environment=_python,
            is_quick=True,
        ),
        Kit("JavaScript", ("node", "npm"), _files("js", "package.json"), _npm, is_quick=True),
        Kit(
            "guests",
            (*_APT, "python3.11"),
            _files("debian", "guests"),
            _debian("guests"),
            environment=_debian_python,
            is_quick=True,
        ),
        Kit("Ruby", _APT, _files("debian", "ruby"), _debian("ruby"), environment=_ruby),
        Kit("Prometheus", _APT, _files("debian", "prometheus"), _debian("prometheus")),
        Kit("Go", ("go",), _files("go", "go.*", "*/*.go"), _go("list"), _go("build")),
        Kit(
            "Rust",
            ("cargo",),
            _files("rust", "Cargo.toml", "src/*.rs"),
            _cargo("fetch"),
            _cargo("build", "--offline"),
        ),
        Kit("Java", ("java", "javac", "mvn"), _files("java", "pom.xml", "*.java"), _maven, _javac),
    )
}


def make(kits: Iterable[Kit]) -> None:
    """Fetch and build what is not there yet."""
    MADE.mkdir(parents=True, exist_ok=True)
    for kit in kits:
        kit.make()


if __name__ == "__main__":
    make(kit for kit in KITS.values() if kit.is_quick)
