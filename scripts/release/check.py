"""Checks of a release, each a function of the checkout that yields its findings."""

import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from scripts.release.dependencies import runtime_packages
from scripts.release.files import SUMS, digest_of, is_signed, sums_of

SIGNERS = "packaging/release-signers"
"""The public keys whose signature makes a release, in OpenSSH's form of allowed signers."""
PLACEHOLDER = re.compile(r"(?:https?://)?[\w.@-]+\.invalid\b")
"""An address that only the owner of the project knows (RFC 2606 keeps `.invalid` free)."""
NAMED_BY_THE_OWNER = ("SECURITY.md", "pyproject.toml", "scripts/build_steps.py", SIGNERS)
_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)((a|b|rc)\d+)?")
_HEADING = re.compile(r"^## \[([^\]]+)\](?: - (\S+))?$", re.MULTILINE)


class Checkout:
    """A checkout of the project, and the folder with the files of its release."""

    def __init__(self, root: Path, dist: Path) -> None:
        self.root, self.dist = root, dist
        project: dict[str, Any] = tomllib.loads(self.text("pyproject.toml"))["project"]
        self.version = str(project["version"])

    def text(self, name: str) -> str:
        """Return the text of a file, or "" where there is none."""
        path = self.root / name
        return path.read_text("utf-8") if path.exists() else ""

    def git(self, *words: str) -> str:
        """Return what git prints, or "" if it fails."""
        ran = subprocess.run(
            ["git", *words], cwd=self.root, capture_output=True, text=True, check=False
        )
        return ran.stdout.strip()

    @property
    def stem(self) -> str:
        """The beginning of the names of the files."""
        return f"openimds-{self.version}"

    @property
    def built(self) -> list[Path]:
        """The files that are installed."""
        chart = f"openimds-chart-{self.version}.tgz"
        names = (f"{self.stem}-py3-none-any.whl", f"{self.stem}.tar.gz", chart)
        return [self.dist / name for name in names]

    @property
    def bill(self) -> Path:
        """The bill of materials."""
        return self.dist / f"{self.stem}.cdx.json"

    @property
    def statement(self) -> Path:
        """The statement of provenance."""
        return self.dist / f"{self.stem}.intoto.json"


def findings(checkout: Checkout) -> Iterator[str]:
    """Yield everything that a release of this checkout lacks, each as one sentence."""
    for check in (_version, _changelog, _tag, _owner, _licences, _files):
        yield from check(checkout)


def _version(checkout: Checkout) -> Iterator[str]:
    if not _VERSION.fullmatch(checkout.version):
        yield f"pyproject.toml: the version {checkout.version} is none of a release"
    if f'__version__ = "{checkout.version}"' not in checkout.text("src/openimds/__init__.py"):
        yield f"src/openimds/__init__.py: __version__ is not {checkout.version}"


def _changelog(checkout: Checkout) -> Iterator[str]:
    text = checkout.text("CHANGELOG.md")
    headings = [*_HEADING.finditer(text)]
    by_name = {heading[1]: heading for heading in headings}
    if "Unreleased" in by_name:
        following = (one.start() for one in headings if one.start() > by_name["Unreleased"].end())
        rest = text[by_name["Unreleased"].end() : next(following, len(text))]
        if rest.strip():
            yield "CHANGELOG.md: there are changes under Unreleased; move them below the version"
    heading = by_name.get(checkout.version)
    if not heading:
        yield f"CHANGELOG.md: there is no heading ## [{checkout.version}] - YYYY-MM-DD"
    elif not _is_date(heading[2]):
        yield f"CHANGELOG.md: {heading[0]} has no date of the form YYYY-MM-DD"


def _is_date(text: str | None) -> bool:
    try:
        date.fromisoformat(text or "")
    except ValueError:
        return False
    return True


def _tag(checkout: Checkout) -> Iterator[str]:
    tag = f"v{checkout.version}"
    if checkout.git("status", "--porcelain"):
        yield "the checkout has changes that are not committed: git status"
    if tag not in checkout.git("tag", "--points-at", "HEAD").splitlines():
        yield f"the commit has no tag {tag}: git tag --sign {tag}"
    elif "-----BEGIN " not in checkout.git("cat-file", "tag", tag):
        yield f"the tag {tag} is not signed: git tag --sign --force {tag}"


def _owner(checkout: Checkout) -> Iterator[str]:
    for name in NAMED_BY_THE_OWNER:
        text = checkout.text(name)
        if not text.strip():
            yield f"{name}: it is missing or empty; the owner of the project writes it"
        for found in sorted({*PLACEHOLDER.findall(text)}):
            yield f"{name}: {found} is a placeholder; the owner of the project fills it in"


def _licences(checkout: Checkout) -> Iterator[str]:
    for package in runtime_packages(checkout.root / "requirements.lock"):
        if not package.is_permitted:
            licence = package.licence or "no licence"
            yield f"{package.name} {package.version} has {licence}, which is not permitted"


def _files(checkout: Checkout) -> Iterator[str]:
    paths = [*checkout.built, checkout.bill, checkout.statement]
    missing = [path.name for path in (*paths, checkout.dist / SUMS) if not path.exists()]
    if missing:
        yield f"{checkout.dist.name}/ lacks {', '.join(missing)}: make release"
        return
    if (checkout.dist / SUMS).read_text() != sums_of(paths):
        yield f"{SUMS} does not fit the files beside it: make release"
    wheel = checkout.built[0]
    bill = json.loads(checkout.bill.read_text())
    if bill["metadata"]["component"]["hashes"][0]["content"] != digest_of(wheel):
        yield f"{checkout.bill.name} is the bill of another wheel: make release"
    listed = {(one["name"], one["version"]) for one in bill["components"]}
    packages = runtime_packages(checkout.root / "requirements.lock")
    if listed != {(one.name, one.version) for one in packages}:
        yield f"{checkout.bill.name} lists other packages than requirements.lock: make release"
    statement = json.loads(checkout.statement.read_text())
    subjects = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
    if subjects != {path.name: digest_of(path) for path in checkout.built}:
        yield f"{checkout.statement.name} is about other files: make release"
    source = statement["predicate"]["buildDefinition"]["resolvedDependencies"][0]
    if source["digest"]["gitCommit"] != checkout.git("rev-parse", "HEAD"):
        yield f"{checkout.statement.name} names another commit: make release"
    if not is_signed(checkout.dist / SUMS, checkout.root / SIGNERS):
        yield f"{SUMS} has no signature of a key in {SIGNERS}: make release KEY=FILE"
