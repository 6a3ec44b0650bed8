"""Resolve the package beside libraries of other projects, and keep the table of the results.

`make resolutions` rewrites the table of docs/know/compat.md by this module.
A row is true on the day that it was resolved: it names the version that a neighbour's own bounds
leave, as major and minor number, where that is older than without the neighbour.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "know" / "compat.md"
NEIGHBOURS = (
    "fastapi==0.115.6",
    "flask==3.0.*",
    "django==4.2.*",
    "starlette==0.41.*",
    "uvicorn==0.30.*",
    "aiohttp==3.9.*",
    "httpx==0.27.*",
    "azure-identity==1.17.*",
    "msal==1.28.*",
    "azure-keyvault-secrets==4.8.*",
    "azure-storage-blob==12.20.*",
    "boto3==1.34.*",
    "moto==5.0.*",
    "ansible-core==2.16.*",
    "pytest==8.0.* click==8.1.* cryptography==42.*",
)
"""The pins of ordinary projects of 2024, one project a row."""
EXTRAS = {"azure-identity==1.17.*": "entra", "msal==1.28.*": "entra", NEIGHBOURS[-1]: "test"}
"""Extras of the package that its user would ask for in such a project."""
_TABLE = re.compile(r"(<!-- resolved:begin -->\n).*?(<!-- resolved:end -->)", re.DOTALL)
_NAME = re.compile(r"[A-Za-z0-9_.-]+")


class _Metadata(msgspec.Struct, frozen=True):
    name: str
    version: str


class _Package(msgspec.Struct, frozen=True):
    metadata: _Metadata


class _Report(msgspec.Struct, frozen=True):
    install: list[_Package]


def resolve(project: str, *neighbours: str) -> dict[str, str]:
    """Return the versions that pip would install.

    Raises:
        subprocess.CalledProcessError: pip finds no versions that fit.
    """
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
                *("--dry-run", "--ignore-installed", "--only-binary", ":all:"),
                *("--report", report.name, project, *neighbours),
            ],
            check=True,
            capture_output=True,
            text=True,
            timeout=110,
        )
        packages = msgspec.json.decode(Path(report.name).read_bytes(), type=_Report).install
    return {normal(item.metadata.name): item.metadata.version for item in packages}


def normal(name: str) -> str:
    """Return a package's name as indexes compare it."""
    return re.sub("[-_.]+", "-", name).lower()


def requirements() -> list[str]:
    """Return the names of the packages that the package requires."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [normal(match[0]) for text in project["dependencies"] if (match := _NAME.match(text))]


def held_back(with_neighbour: Mapping[str, str], alone: Mapping[str, str]) -> list[str]:
    """Return the requirements that are older beside a neighbour, with their versions."""
    return [
        f"{name} {'.'.join(with_neighbour[name].split('.')[:2])}"
        for name in requirements()
        if _key(with_neighbour[name]) < _key(alone[name])
    ]


def _key(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def row(wheel: Path, neighbour: str, alone: Mapping[str, str]) -> str:
    """Resolve the package beside a neighbour, and return the line of the table."""
    extra = EXTRAS.get(neighbour, "")
    project = f"openimds{f'[{extra}]' if extra else ''} @ {wheel.as_uri()}"
    found = resolve(project, *neighbour.split())
    pins = ", ".join(f"`{pin}`" for pin in neighbour.split())
    older = ", ".join(held_back(found, alone)) or "none"
    return f"| {pins} | {f'`[{extra}]`' if extra else ''} | {older} |"


def table(wheel: Path) -> str:
    """Resolve all rows, and return the table."""
    alone = resolve(f"openimds @ {wheel.as_uri()}")
    head = ["| beside | with the extra | held back to |", "| --- | --- | --- |"]
    return "\n".join([*head, *(row(wheel, neighbour, alone) for neighbour in NEIGHBOURS)]) + "\n"


def printed() -> list[str]:
    """Return the lines of the table on the page."""
    match = _TABLE.search(PAGE.read_text("utf-8"))
    assert match, f"{PAGE} has no table"
    return match[0].splitlines()[3:-1]


def write(lines: str) -> None:
    """Replace the table on the page."""
    text = PAGE.read_text("utf-8")
    PAGE.write_text(_TABLE.sub(lambda match: f"{match[1]}{lines}{match[2]}", text), "utf-8")


def build(folder: Path, *targets: str, root: Path = ROOT) -> list[Path]:
    """Build a wheel, or the named targets, into a folder."""
    arguments: Iterable[str] = [
        word for target in targets or ("wheel",) for word in ("--target", target)
    ]
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--directory", str(folder), *arguments],
        cwd=root,
        check=True,
        capture_output=True,
        timeout=100,
    )
    return sorted(folder.iterdir())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        (built,) = build(Path(name))
        write(table(built))
