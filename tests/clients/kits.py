"""Kits: the packages of each language that clients need, and our programs around them.

A kit is fetched from a package index, then built. It is kept until its manifest or sources change.
If it cannot be fetched, or its tools are not installed, its clients are *not run*, with the reason;
if it cannot be built, it is broken, and its tests fail.

Nothing is installed on the machine. Packages of Debian are unpacked, and every kit is a folder of
`.venv/clients`, but for the JavaScript one, which has to lie beside its programs.
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
_TIMEOUT_S = 900
_WRONG = re.compile(r"(npm )?\[?error|e: |go: ", re.IGNORECASE)
"""The beginning of the line in which a tool names its error."""


def tool(name: str) -> str:
    """Return the path of a command, or ""."""
    return shutil.which(name, path=_PATH) or ""


class Kit(Struct, frozen=True):
    """The sources of a kit, and the steps that make it.

    Attributes:
        tools: the commands that the steps need.
        made_from: files, from the root of the repository; other contents make it anew.
        fetch: the step from a package index to its folder.
        build: the step that makes its programs, without network.
        environment: variables by which its programs find each other.
        is_quick: whether it is part of `make quick-clients`.
        target: the make target that fetches it, if that is another one.
    """

    name: str
    tools: tuple[str, ...]
    made_from: tuple[str, ...]
    fetch: Callable[[Path], None]
    build: Callable[[Path], None] | None = None
    environment: Callable[[Path], dict[str, str]] | None = None
    is_quick: bool = False
    target: str = ""

    @property
    def place(self) -> Path:
        """Its folder."""
        return MADE / self.name

    def variables(self) -> dict[str, str]:
        """Return the environment of its programs."""
        return self.environment(self.place) if self.environment else {}

    @property
    def _record(self) -> Path:
        return MADE / f"{self.name}.json"

    def why_not(self) -> str:
        """Return the reason why it is missing or outdated, or ""."""
        missing = [name for name in self.tools if not tool(name)]
        if missing:
            return f"{' and '.join(missing)} not installed"
        record = self._read()
        if record.get("made_from") == self._digest():
            return record["why_not"]
        target = self.target or ("quick-clients" if self.is_quick else "clients")
        return f"missing or outdated: type make {target}"

    def make(self) -> None:
        """Fetch and build it, unless it is up to date; print errors."""
        record = self._read()
        is_fetched = record.get("made_from") == self._digest() and not record["why_not"]
        if not all(map(tool, self.tools)) or (is_fetched and not record["broken"]):
            return
        _print(f"Getting the clients of {self.name}")
        why_not = broken = ""
        try:
            self.place.mkdir(parents=True, exist_ok=True)
            self.fetch(self.place)
        except _ToolError as error:
            why_not = str(error)
            _print(f"{self.name}: {why_not}: its tests are skipped")
        else:
            broken = self._build()
        record = {"made_from": self._digest(), "why_not": why_not, "broken": broken}
        self._record.write_text(json.dumps(record))

    def _build(self) -> str:
        try:
            if self.build:
                self.build(self.place)
        except _ToolError as error:
            _print(f"{self.name} cannot be built:\n{error.output}")
            # An earlier build must not be tested.
            shutil.rmtree(self.place)
            return str(error)
        return ""

    def _read(self) -> dict[str, str]:
        try:
            record: dict[str, str] = json.loads(self._record.read_bytes())
        except (OSError, ValueError):
            return {}
        return record

    def _digest(self) -> str:
        digest = hashlib.sha256(sys.version.encode())
        for name in self.made_from:
            digest.update((ROOT / name).read_bytes())
        return digest.hexdigest()


def _print(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - for the reader of make's output


class _ToolError(Exception):
    """A tool has failed: a message of one line, and its output."""

    def __init__(self, command: tuple[str | Path, ...], output: str) -> None:
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        errors = [line for line in lines if _WRONG.match(line)]
        short = (errors or lines or ["it failed"])[0]
        tool = command[2] if command[1] == "-m" else Path(command[0]).name
        super().__init__(f"{tool}: {short}"[:_LONGEST])
        self.output = output


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
            timeout=_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise _ToolError(command, f"did not end within {_TIMEOUT_S} s") from None
    if ran.returncode:
        raise _ToolError(command, ran.stdout)


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
    # Without a network, npm would wait for minutes for each package.
    once = ("--fetch-retries=1", "--fetch-retry-mintimeout=500", "--fetch-retry-maxtimeout=1000")
    _run("npm", "install", *quiet, *once, cwd=NODE_MODULES.parent)


def _debian(packages: str) -> Callable[[Path], None]:
    """Return the step that unpacks the packages listed in a file of `debian/`."""

    def fetch(place: Path) -> None:
        _empty(place)
        names = [
            line.partition("#")[0].strip()
            for line in (HERE / "debian" / packages).read_text().splitlines()
        ]
        get = ("apt-get", "-qq", "download", *filter(None, names))
        try:
            _run(*get, cwd=place)
        except _ToolError:
            # The machine's package lists are old or missing; ours are renewed in their place.
            (_LISTS / "partial").mkdir(parents=True, exist_ok=True)
            ours = ("-o", f"Dir::State::Lists={_LISTS}", "-o", "Acquire::Retries=1")
            _run("apt-get", "-qq", *ours, "update")
            _run(*get, *ours, cwd=place)
        for package in place.glob("*.deb"):
            _run("dpkg-deb", "-x", package, place)
            package.unlink()

    return fetch


def _go(do: str) -> Callable[[Path], None]:
    # An old Go must not fetch a newer one.
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


def _javac_alone(place: Path) -> None:
    sources = sorted((HERE / "jdk").glob("*.java"))
    _run("javac", "-Xlint:all", "-d", place, *sources)


def _python(place: Path) -> dict[str, str]:
    return {"PYTHONPATH": str(place)}


def _debian_python(place: Path) -> dict[str, str]:
    own = place / "usr" / "lib"
    return {"PYTHONPATH": f"{own / 'python3' / 'dist-packages'}:{own / 'python3.11'}"}


def _ruby(place: Path) -> dict[str, str]:
    """Return the variables by which an unpacked Ruby finds its parts."""
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
    paths = (path for pattern in patterns for path in (HERE / folder).glob(pattern))
    return tuple(sorted(str(path.relative_to(ROOT)) for path in paths))


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
        Kit("JDK", ("java", "javac"), _files("jdk", "*.java"), _empty, _javac_alone),
        Kit("Java", ("java", "javac", "mvn"), _files("java", "pom.xml", "*.java"), _maven, _javac),
    )
}


def make(kits: Iterable[Kit]) -> None:
    """Fetch and build the kits that are not up to date."""
    MADE.mkdir(parents=True, exist_ok=True)
    for kit in kits:
        kit.make()


if __name__ == "__main__":
    make(kit for kit in KITS.values() if kit.is_quick)
