"""The check of a release names all that it lacks."""

import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from scripts.release.__main__ import build
from scripts.release.chart import pack
from scripts.release.check import NAMED_BY_THE_OWNER, SIGNERS, Checkout, findings
from scripts.release.dependencies import PERMITTED, Package, read_lock, runtime_packages
from scripts.release.files import SUMS, is_signed, provenance, sign, sums_of
from tests.package.resolutions import ROOT

VERSION = "1.2.3"
KEEPER = ("-c", "user.name=keeper", "-c", "user.email=keeper@example.org")
CHANGES = f"""# Changelog

## [Unreleased]

## [{VERSION}] - 2026-12-01

- All of it.
"""
PROJECT = f"""[project]
name = "openimds"
version = "{VERSION}"

[project.urls]
Homepage = "https://example.org/openimds"
"""

pytestmark = pytest.mark.skipif(
    not shutil.which("ssh-keygen"), reason="ssh-keygen is not installed"
)


def git(folder: Path, *words: str) -> str:
    ran = subprocess.run(["git", *KEEPER, *words], cwd=folder, capture_output=True, check=True)
    return ran.stdout.decode().strip()


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "keeper", "-f", str(path)]
    subprocess.run(words, check=True)
    return path


@pytest.fixture
def release(tmp_path: Path, key: Path) -> Checkout:
    """A release that lacks nothing."""
    root = tmp_path / "checkout"
    for name, text in (
        ("pyproject.toml", PROJECT),
        ("CHANGELOG.md", CHANGES),
        ("SECURITY.md", "Write to security@example.org.\n"),
        ("scripts/build_steps.py", 'MAINTAINER = "keeper@example.org"\n'),
        ("src/openimds/__init__.py", f'__version__ = "{VERSION}"\n'),
        (SIGNERS, f"release {key.with_suffix('.pub').read_text()}"),
        ("requirements.lock", (ROOT / "requirements.lock").read_text()),
        (".gitignore", "dist/\n"),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "Release")
    tag(root, key)
    checkout = Checkout(root, root / "dist")
    make_files(checkout, key)
    return checkout


def tag(root: Path, key: Path) -> None:
    by_ssh = ("-c", "gpg.format=ssh", "-c", f"user.signingkey={key}")
    git(root, *by_ssh, "tag", "--sign", "--force", "--message", "Release", f"v{VERSION}")


def make_files(checkout: Checkout, key: Path) -> None:
    """Make the files as `build` does, without a wheel that can be installed."""
    from scripts.release.files import bill_of_materials

    checkout.dist.mkdir(exist_ok=True)
    for path in checkout.built:
        path.write_bytes(path.name.encode())
    packages = runtime_packages(checkout.root / "requirements.lock")
    bill = bill_of_materials(checkout.built[0], VERSION, packages, "2026-12-01T00:00:00+00:00")
    checkout.bill.write_text(json.dumps(bill))
    commit = git(checkout.root, "rev-parse", "HEAD")
    checkout.statement.write_text(json.dumps(provenance(checkout.built, commit, "")))
    sign_all(checkout, key)


def sign_all(checkout: Checkout, key: Path) -> None:
    sums = checkout.dist / SUMS
    sums.write_text(sums_of([*checkout.built, checkout.bill, checkout.statement]))
    sign(sums, key)


@pytest.mark.parametrize(
    "remote, source",
    [
        ("https://me:secret@example.org/a.git", "https://example.org/a.git"),
        ("https://secret@example.org:443/a.git", "https://example.org:443/a.git"),
        ("https://me:s@cret@example.org/a@b", "https://example.org/a@b"),
        ("https://example.org/a@b", "https://example.org/a@b"),
        ("git@example.org:a.git", "git@example.org:a.git"),
        ("", ""),
    ],
)
def test_provenance_has_no_password_of_the_remote(remote: str, source: str) -> None:
    definition = provenance([], "c0ffee", remote)["predicate"]["buildDefinition"]
    assert definition["externalParameters"] == {"source": source}
    assert definition["resolvedDependencies"][0]["uri"] == source


def test_complete_release_lacks_nothing(release: Checkout) -> None:
    assert [*findings(release)] == []


@pytest.mark.parametrize(
    "name, old, new, finding",
    [
        ("src/openimds/__init__.py", VERSION, "1.2.2", "__version__ is not 1.2.3"),
        (
            "CHANGELOG.md",
            "## [Unreleased]\n",
            "## [Unreleased]\n- new\n",
            "changes under Unreleased",
        ),
        ("CHANGELOG.md", "2026-12-01", "2026-13-01", "has no date"),
        ("CHANGELOG.md", f"[{VERSION}]", "[1.0.0]", "there is no heading ## [1.2.3]"),
        (
            "SECURITY.md",
            "example.org",
            "contact.invalid",
            "security@contact.invalid is a placeholder",
        ),
        ("pyproject.toml", "example.org", "project.invalid", "https://project.invalid is a place"),
        (SIGNERS, "release", "other", f"has no signature of a key in {SIGNERS}"),
    ],
)
def test_fault_of_a_file_is_named(
    release: Checkout, name: str, old: str, new: str, finding: str
) -> None:
    path = release.root / name
    path.write_text(path.read_text().replace(old, new, 1))
    found = [*findings(release)]
    assert "the checkout has changes that are not committed: git status" in found
    assert any(finding in one for one in found)
    assert len(found) == 2


def test_every_address_of_the_owner_is_checked() -> None:
    listed = git(ROOT, "grep", "--files-with-matches", "@contact[.]invalid", "--", ":!tests")
    assert {*listed.splitlines()} <= {*NAMED_BY_THE_OWNER}


def test_chart_has_the_files_of_the_commit_alone(release: Checkout) -> None:
    chart = release.root / "chart"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("name: openimds\n")
    (chart / "templates/ü.yaml").write_text("a: b\n")
    git(release.root, "add", ".")
    (chart / "values.mine.yaml").write_text("password: secret\n")
    pack(chart, release.root / "chart.tgz", 1_800_000_000)
    with tarfile.open(release.root / "chart.tgz") as archive:
        assert archive.getnames() == ["openimds/Chart.yaml", "openimds/templates/ü.yaml"]


def test_version_of_a_development_is_refused(release: Checkout) -> None:
    release.version = "1.2.3.dev1"
    assert any("is none of a release" in one for one in findings(release))


def test_missing_and_unsigned_tags_are_named(release: Checkout) -> None:
    git(release.root, "tag", "--delete", f"v{VERSION}")
    assert [*findings(release)] == [f"the commit has no tag v{VERSION}: git tag --sign v{VERSION}"]
    git(release.root, "tag", "--annotate", "--message", "Release", f"v{VERSION}")
    (finding,) = findings(release)
    assert finding.startswith(f"the tag v{VERSION} is not signed")


def test_another_commit_needs_new_files(release: Checkout, key: Path) -> None:
    git(release.root, "commit", "--quiet", "--allow-empty", "--message", "One more")
    tag(release.root, key)
    (finding,) = findings(release)
    assert finding.endswith("names another commit: make release")
    make_files(release, key)
    assert [*findings(release)] == []


def test_exchanged_wheel_is_noticed(release: Checkout, key: Path) -> None:
    release.built[0].write_bytes(b"another")
    found = [*findings(release)]
    assert f"{SUMS} does not fit the files beside it: make release" in found
    assert any("is the bill of another wheel" in one for one in found)
    assert any("is about other files" in one for one in found)
    # New digests alone do not help: the key is the maintainer's.
    (release.dist / SUMS).write_text(sums_of([*release.built, release.bill, release.statement]))
    assert not is_signed(release.dist / SUMS, release.root / SIGNERS)


def test_bill_without_a_package_is_noticed(release: Checkout, key: Path) -> None:
    bill = json.loads(release.bill.read_text())
    bill["components"].pop()
    release.bill.write_text(json.dumps(bill))
    sign_all(release, key)
    (finding,) = findings(release)
    assert finding.endswith("lists other packages than requirements.lock: make release")


def test_release_without_files_says_what_to_type(release: Checkout) -> None:
    shutil.rmtree(release.dist)
    (finding,) = findings(release)
    assert finding.startswith(f"dist/ lacks openimds-{VERSION}-py3-none-any.whl, ")
    assert finding.endswith(": make release")


def test_licences_of_all_packages_are_permitted() -> None:
    packages = runtime_packages(ROOT / "requirements.lock")
    assert {"click", "cryptography", "starlette"} < {package.name for package in packages}
    assert [package for package in packages if not package.is_permitted] == []
    assert [package.name for package in packages if not package.digests] == []


@pytest.mark.parametrize(
    "licence, is_permitted",
    [
        ("MIT", True),
        ("Apache-2.0 OR GPL-2.0-only", True),
        ("Apache-2.0 AND BSD-2-Clause", True),
        ("MIT AND GPL-3.0-or-later", False),
        ("GPL-3.0-or-later", False),
        ("", False),
    ],
)
def test_expression_of_a_licence_is_judged(licence: str, is_permitted: bool) -> None:
    assert Package("one", "1", licence, ()).is_permitted is is_permitted
    assert "GPL-2.0-only" not in PERMITTED


def test_lock_is_read_with_versions_and_digests(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    digests = ("a" * 64, "b" * 64)
    lock.write_text(
        f"# made\nOne_Two[x]==1.0 ; python_version < '4' \\\n    --hash=sha256:{digests[0]} \\\n"
        f"    --hash=sha256:{digests[1]}\nthree==3\n"
    )
    assert read_lock(lock) == {"one-two": ("1.0", digests), "three": ("3", ())}


def test_files_of_this_checkout_are_built(tmp_path: Path) -> None:
    checkout = Checkout(ROOT, tmp_path)
    build(checkout, "")
    bill: dict[str, Any] = json.loads(checkout.bill.read_text())
    names = {component["name"] for component in bill["components"]}
    assert {"click", "msgspec", "uvicorn"} < names
    assert "pytest" not in names
    sums = subprocess.run(["sha256sum", "--check", SUMS], cwd=tmp_path, check=False)
    assert sums.returncode == 0
    lacking = [one for one in findings(checkout) if SUMS in one or "make release" in one]
    assert lacking == [f"{SUMS} has no signature of a key in {SIGNERS}: make release KEY=FILE"]
