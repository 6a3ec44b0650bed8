"""Pages are executed or generated, and their links lead somewhere."""

import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from openimds.facts.endpoints import ENDPOINTS
from openimds.settings import SETTINGS
from scripts.generate_docs import ROOT, pages
from scripts.translations import translations
from tests.docs.story import blocks, expected, script
from tests.system.machine import PRIVATE, UNSHARE, why_unavailable
from tests.system.process import clean_environment

STORIES = [
    "README.md",
    "docs/learn/developer.md",
    "docs/learn/maintenance.md",
    "docs/learn/operator.md",
    "docs/use/admin.md",
    "docs/use/events.md",
    "docs/use/attested.md",
    "docs/use/capture.md",
    "docs/use/ci.md",
    "docs/use/confidential.md",
    "docs/use/failures.md",
    "docs/use/faults.md",
    "docs/use/firecracker.md",
    "docs/use/fleet.md",
    "docs/use/host.md",
    "docs/use/identity.md",
    "docs/use/import.md",
    "docs/use/laptop.md",
    "docs/use/log.md",
    "docs/use/many.md",
    "docs/use/monitoring.md",
    "docs/use/pytest.md",
    "docs/use/python.md",
    "docs/use/remote.md",
    "docs/use/requests.md",
]
CONTAINERS = ["docs/use/container.md", "docs/use/docker-compose.md"]
"""Pages that `make containers` executes."""
INSTALLATION = "docs/use/install.md"
"""The page that `make test-package` executes."""
DEBIAN = "docs/use/debian.md"
"""The page that `make test-package` executes in a chroot."""
RPM = "docs/use/rpm.md"
"""The page that `make test-package` executes in a chroot where rpm installed the package."""
HOSTS = {"docs/use/firecracker.md", "docs/use/host.md"}
"""Pages that need a whole machine: named namespaces and host rules."""
FLEET = "docs/use/fleet-of-hosts.md"
"""The page that `test_fleet_page` executes, on several machines."""
LONGEST_S = 400
"""A page that hangs is ended then; a page of ten servers takes 100 s where many programs run."""
MOUNTS = "mount -t tmpfs -o mode=755 tmpfs /run && mkdir /run/netns\n"
EVERY_PAGE = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


@pytest.mark.system
@pytest.mark.netns
@pytest.mark.timeout(LONGEST_S + 20)
@pytest.mark.parametrize("name", STORIES)
def test_page_is_executed_and_prints_its_output(name: str, tmp_path: Path) -> None:
    reason = why_unavailable("nft") if name in HOSTS else why_unavailable(prefix=PRIVATE)
    if reason:
        pytest.skip(reason)
    if subprocess.run(["make", "-q", "setup"], cwd=ROOT, check=False).returncode:
        pytest.skip("`make serve` would install something first: type make setup")
    for entry in (*ROOT.glob("[!.]*"), ROOT / ".venv"):
        (tmp_path / entry.name).symlink_to(entry)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")  # A page with tests is a project of its own.
    # pytest tidies the folders of earlier runs, and warns of those that a run beside it uses.
    (tmp_path / "runs").mkdir()
    binaries = f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin"
    prefix, first = (UNSHARE, MOUNTS) if name in HOSTS else (PRIVATE, "")
    got = subprocess.run(
        [*prefix, "sh", "-c", first + script(ROOT / name, tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=LONGEST_S,
        check=False,
        env=clean_environment(
            {
                "PATH": binaries,
                "HOME": str(tmp_path),
                "PYTEST_DEBUG_TEMPROOT": str(tmp_path / "runs"),
            }
        ),
    )
    assert got.returncode == 0, got.stderr
    for number, (block, pattern) in expected(ROOT / name).items():
        printed = (tmp_path / f"{number}.out").read_text().strip()
        assert pattern.fullmatch(printed), f"line {block.line} prints {printed}"


def test_every_page_with_commands_is_executed() -> None:
    executed = {*STORIES, *CONTAINERS, INSTALLATION, DEBIAN, RPM, FLEET}
    executed |= {*translations()}  # Their code is that of their originals.
    others = [page for page in EVERY_PAGE if str(page.relative_to(ROOT)) not in executed]
    assert {
        str(page) for page in others if any(block.kind == "sh" for block in blocks(page))
    } == set()


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_command_publishes_beyond_loopback(page: Path) -> None:
    for block in blocks(page):
        words = block.text.replace("=", " ").split()
        published = [
            value
            for option, value in pairwise(words)
            if option in {"-p", "--publish"} and ":" in value
        ]
        assert [value for value in published if not value.startswith("127.0.0.1:")] == []
        assert "--network host" not in block.text.replace("=", " ")
        assert "network_mode: host" not in block.text.replace('"', "")
        assert "--publish-all" not in block.text


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_installation_is_executed_by_its_own_page(page: Path) -> None:
    executed = {
        "needs_an_index": [INSTALLATION],
        "needs_a_debian": [DEBIAN],
        "needs_an_engine": CONTAINERS,
    }
    for need, names in executed.items():
        text = "\n".join((ROOT / name).read_text("utf-8") for name in names)
        shown = [block for block in blocks(page) if block.kind == "sh" and getattr(block, need)]
        lines = {line for block in shown for line in block.text.splitlines()}
        assert lines - {*text.splitlines()} == set()


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_generated_page_follows_from_the_rows(path: Path) -> None:
    assert path.read_text("utf-8") == pages()[path], "type: make docs"


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_every_setting_and_endpoint_is_documented() -> None:
    settings = (ROOT / "docs/use/settings.md").read_text()
    fidelity = (ROOT / "docs/know/fidelity.md").read_text()
    assert all(f"`{row.variable}`" in settings for row in SETTINGS)
    assert all(f"`{row.path}`" in fidelity for row in ENDPOINTS)


def test_repository_has_no_path_of_this_machine() -> None:
    git = shutil.which("git")
    if not git or not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    listed = subprocess.run([git, "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    names = [ROOT / name for name in listed.stdout.splitlines()]
    # A checkout right below a folder that any page may name, such as /tmp, is looked for itself.
    home = f"{ROOT.parent if len(ROOT.parent.parts) > len(Path('/tmp').parts) else ROOT}/"
    matching = [path for path in names if path.exists() and home.encode() in path.read_bytes()]
    assert matching == []
