"""The Debian package in a Debian 12 without a running systemd and a network."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from scripts.build_deb import build
from tests.docs.story import Block, blocks, expected, script
from tests.docs.test_pages import DEBIAN
from tests.package.chroot import Chroot, base
from tests.package.resolutions import ROOT

# The first test makes the package and a Debian.
pytestmark = pytest.mark.timeout(900)

PAGE = ROOT / DEBIAN
MADE = "make -C openimds deb\n"
"""The command of the page that the fixture `deb` stands for."""
STATE_OF_0_1_0 = ROOT / "tests/upgrade/state-0.1.0"
DYNAMIC_USER = 64111
"""A user whom systemd makes up for a unit with DynamicUser."""
UNIT_OF_0_1_0 = "[Service]\nExecStart=openimds serve\nDynamicUser=yes\nStateDirectory=openimds\n"
FLEET = "vms: {web-1: {reach: {address: [127.0.0.11]}}}\n"
HOOKS = "OPENIMDS_HOOKS=rules\n"
KEPT = ("/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/var/lib/dpkg", "/var/log")
"""Files that show each installation, and users who stay."""
ASK = """
openimds fleet check /etc/openimds/fleet.yaml
cd /etc/openimds
rm -f /run/ready
setpriv --reuid openimds --regid openimds --clear-groups --no-new-privs --bounding-set=-all \\
  openimds serve --fleet fleet.yaml --state /var/lib/openimds > /run/ready 2> /run/errors &
until [ -s /run/ready ]; do kill -0 $! || { cat /run/errors; exit 1; }; done
curl -sS -H Metadata:true --interface 127.0.0.11 \\
  "http://127.0.0.1:8169/metadata/instance/compute/vmId?api-version=2021-02-01&format=text"; echo
openimds vm list --state /var/lib/openimds > /dev/null
kill $!
wait $!
openimds state check --state /var/lib/openimds > /dev/null
"""
"""Serves the state folder as the service does, and asks for values of its state."""
SYSTEMCTL = """#!/bin/sh
[ -d /var/lib/private/openimds ] && state=old || state=new
words="$*"
case "$words" in
  *ActiveState*)
    [ -e "/srv/units/$4" ] && cat "/srv/units/$4" || echo inactive
    exit ;;
  *TriggeredBy*)
    printf 'openimds.socket openimds-netns@a.socket\n\n\nopenimds-fleet-host.socket\n'
    exit ;;
  start*openimds-fleet-host.service*) echo "control does not answer: it waits" >> /srv/calls ;;
esac
echo "$state $words" >> /srv/calls
"""
"""A systemctl that knows the units of /srv/units, and writes what it is called for."""
UNITS = {
    "openimds.socket": "active",
    "openimds-netns@a.socket": "active",
    "openimds-fleet-host.socket": "inactive",
    "openimds.service": "active",
    "openimds-control.service": "failed",
    "openimds-fleet-host.service": "activating",
}
CALLS = [
    "old --system daemon-reload",
    "old stop openimds.socket openimds-netns@a.socket openimds.service openimds-fleet-host.service",
    "new start openimds.socket openimds-netns@a.socket",
    "new start openimds.service",
    "new --no-block start openimds-fleet-host.service",
]
"""Nothing listens while the state moves, and no control is waited for."""


@pytest.fixture(scope="module")
def deb(index: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the package of this checkout."""
    if not shutil.which("dpkg-deb"):
        (pytest.fail if os.environ.get("CI") else pytest.skip)("dpkg-deb is not installed")
    folder = tmp_path_factory.mktemp("deb")
    return build(folder / "work", architecture(), folder)


def architecture() -> str:
    words = ["dpkg", "--print-architecture"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


@contextmanager
def chroot(folder: Path, *lower: Path) -> Iterator[Chroot]:
    """Yield a layer above others; it is removed at the end."""
    layer = Chroot(folder, *lower)
    try:
        yield layer
    finally:
        layer.drop()


class Debian(NamedTuple):
    """A Debian after the page: the package came and went, its needs stayed."""

    layers: tuple[Path, ...]
    outputs: dict[str, str]
    """What each block of the page printed, by its number."""
    seconds: float
    """From the first command to the first answer."""


def is_run(block: Block) -> bool:
    return block.text != MADE


@pytest.fixture(scope="module")
def debian(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debian]:
    """Yield a Debian in which the package alone is missing: each test is quick."""
    folder = tmp_path_factory.mktemp("debian")
    text = script(PAGE, folder, is_run).replace("ip link set lo up\n", "cd /srv\n")
    with chroot(folder, base()) as empty:
        empty.write(f"/srv/{deb.name}", deb.read_bytes())
        begun = time.time()
        ran = empty.try_run("sh", "-euc", text, DEBIAN_FRONTEND="noninteractive")
        printed = sorted(
            (empty.folder / "upper/srv").glob("*.out"), key=lambda path: path.stat().st_mtime
        )
        outputs = {path.stem: path.read_text() for path in printed}
        assert ran.returncode == 0, (ran.stderr, outputs)
        answered = next(path for path in printed if path.read_text().strip() == "vm-1")
        seconds = answered.stat().st_mtime - begun
        # What the page's user typed is not of the package.
        empty.shell("rm -r /srv/*.out /srv/*.deb /srv/ready /srv/.local /var/cache/apt/archives")
        yield Debian(empty.layers, outputs, seconds)


@pytest.fixture
def bare(debian: Debian, tmp_path: Path, deb: Path) -> Iterator[Chroot]:
    """Yield that Debian with the file of the package in root's home."""
    with chroot(tmp_path, *debian.layers) as layer:
        layer.write("/srv/openimds.deb", deb.read_bytes())
        yield layer


class Installation(NamedTuple):
    """A Debian with the package, its files of before, and the output of the installation."""

    layers: tuple[Path, ...]
    files: set[str]
    printed: str


@pytest.fixture(scope="module")
def installation(
    debian: Debian, deb: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """Yield a Debian with the package."""
    with chroot(tmp_path_factory.mktemp("installed"), *debian.layers) as layer:
        files = layer.files(*KEPT)
        layer.write("/srv/openimds.deb", deb.read_bytes())
        printed = layer.run("dpkg", "--install", "/srv/openimds.deb")
        layer.shell("rm /srv/openimds.deb")
        yield Installation(layer.layers, files, printed)


@pytest.fixture
def system(installation: Installation, tmp_path: Path) -> Iterator[Chroot]:
    """Yield a Debian with the package, for one test."""
    with chroot(tmp_path, *installation.layers) as layer:
        yield layer


def test_lines_of_the_readme_reach_that_answer() -> None:
    shown = [block.text for block in blocks(ROOT / "README.md") if block.kind == "sh"]
    page = [block.text for block in blocks(PAGE) if block.kind == "sh"]
    first = shown.index(MADE)
    assert shown[first : first + 3] == page[:3]


def test_page_reaches_a_first_answer_in_an_empty_debian(
    debian: Debian, record_property: Callable[[str, object], None]
) -> None:
    assert MADE in PAGE.read_text("utf-8")
    for number, (block, pattern) in expected(PAGE, is_run).items():
        assert pattern.fullmatch(debian.outputs[str(number)].strip()), f"line {block.line}"
    record_property("seconds to the first answer", debian.seconds)


def test_installation_enables_and_starts_nothing(
    installation: Installation, system: Chroot
) -> None:
    assert "openimds: nothing is enabled or started; " in installation.printed
    found = "find /etc/systemd /run /var/lib -name '*openimds*' -not -path '*/dpkg/*'"
    assert system.shell(found) == ""
    assert system.shell("dpkg --verify openimds") == ""
    users = system.shell("getent passwd openimds openimds-control openimds-host").splitlines()
    assert [line.rpartition(":")[2] for line in users] == ["/usr/sbin/nologin"] * 3
    verify = "systemd-analyze verify --man=no /usr/lib/systemd/system/openimds*.*"
    assert system.shell(verify) == ""
    drop_in = "/etc/systemd/system/openimds-host.service.d"
    example = "/usr/share/doc/openimds/examples/follow-server.conf"
    assert system.shell(f"mkdir {drop_in} && cp {example} {drop_in} && {verify}") == ""


def test_command_uses_the_packages_inside_alone(system: Chroot) -> None:
    assert system.shell("openimds --version").startswith("openimds, version ")
    program = "import sys, azure.identity, psycopg; print(psycopg.pq.__impl__, *sys.path)"
    printed = system.run("/usr/lib/openimds/bin/python3", "-I", "-c", program).split()
    assert printed[0] == "python"
    assert printed[-1] == "/usr/lib/openimds/lib/python3.11/site-packages"
    assert not [path for path in printed if "dist-packages" in path]
    completion = "source /usr/share/bash-completion/completions/openimds && complete -p openimds"
    assert "_openimds_completion" in system.run("bash", "-c", completion)


def write_state_of_0_1_0(system: Chroot) -> dict[str, bytes]:
    """Leave the files of 0.1.0's units and pip; return those of the state."""
    upper = system.folder / "upper"
    private = "/var/lib/private/openimds"
    system.write("/etc/openimds/fleet.yaml", (STATE_OF_0_1_0 / "fleet.yaml").read_bytes())
    system.write("/etc/systemd/system/openimds.service", UNIT_OF_0_1_0)
    system.write("/usr/local/bin/openimds", "#!/bin/sh\nexit 1\n", 0o755)
    for path in (STATE_OF_0_1_0 / "ca").iterdir():
        system.write(f"{private}/ca/{path.name}", path.read_bytes(), 0o600)
    store = sqlite3.connect(upper / f"{private[1:]}/fleet.db")
    store.executescript((STATE_OF_0_1_0 / "fleet.sql").read_text("utf-8"))
    # The text has the counters of its tables twice, which no store has.
    last = "SELECT max(rowid) FROM sqlite_sequence GROUP BY name"
    store.execute(f"DELETE FROM sqlite_sequence WHERE rowid NOT IN ({last})")
    store.commit()
    store.close()
    system.write(f"{private}/admin-token", "a" * 43 + "\n", 0o600)
    system.shell(
        f"chmod 0700 /var/lib/private {private} {private}/ca && chmod 0600 {private}/fleet.db "
        f"&& chown -R {DYNAMIC_USER}:{DYNAMIC_USER} {private} "
        "&& ln -s private/openimds /var/lib/openimds"
    )
    return bodies(upper / private[1:])


def bodies(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_state_of_units_of_0_1_0_goes_to_the_user(bare: Chroot) -> None:
    document = json.loads((STATE_OF_0_1_0 / "served/web-1.instance.2021-02-01.json").read_text())
    before = write_state_of_0_1_0(bare)
    printed = bare.run("dpkg", "--install", "/srv/openimds.deb")
    assert "openimds: /var/lib/private/openimds is /var/lib/openimds now\n" in printed
    assert "/etc/systemd/system/openimds.service takes the place of the package's unit" in printed
    assert "/usr/local/bin/openimds comes before /usr/bin/openimds in PATH" in printed
    upper = bare.folder / "upper"
    assert bodies(upper / "var/lib/openimds") == before
    assert not (upper / "var/lib/private/openimds").exists()
    written = (STATE_OF_0_1_0 / "fleet.yaml").read_bytes()
    assert (upper / "etc/openimds/fleet.yaml").read_bytes() == written
    owners = "find /var/lib/openimds -printf '%u:%g %m\\n' | sort -u"
    assert bare.shell(owners) == "openimds:openimds 600\nopenimds:openimds 700\n"
    bare.shell("rm /usr/local/bin/openimds")
    assert bare.shell(ASK).splitlines()[1] == document["compute"]["vmId"]
    after = bodies(upper / "var/lib/openimds")
    assert {name: body for name, body in after.items() if name.startswith("ca/")} == {
        name: body for name, body in before.items() if name.startswith("ca/")
    }


def boot(system: Chroot) -> str:
    """Put a systemctl there; return the line that makes systemd seem to run."""
    system.write("/usr/bin/systemctl", SYSTEMCTL, 0o755)
    for name, state in UNITS.items():
        system.write(f"/srv/units/{name}", f"{state}\n")
    return "mkdir -p /run/systemd/system\n"


def test_state_moves_while_no_socket_is_open(bare: Chroot) -> None:
    write_state_of_0_1_0(bare)
    bare.shell(f"{boot(bare)}dpkg --install /srv/openimds.deb")
    assert (bare.folder / "upper/srv/calls").read_text().splitlines() == CALLS


def test_upgrade_keeps_state_and_files_of_the_operator(
    system: Chroot, deb: Path, tmp_path: Path
) -> None:
    system.write("/etc/openimds/fleet.yaml", FLEET)
    system.shell("install -d -o openimds -g openimds -m 0700 /var/lib/openimds")
    system.write("/etc/openimds/hooks.env", HOOKS)
    first = system.shell(ASK)
    before = bodies(system.folder / "upper/var/lib/openimds")
    newer = tmp_path / "newer"
    subprocess.run(["dpkg-deb", "--raw-extract", str(deb), str(newer)], check=True)
    control = newer / "DEBIAN/control"
    control.write_text(control.read_text().replace("\nVersion: ", "\nVersion: 9."))
    words = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(newer)]
    subprocess.run([*words, str(tmp_path / "newer.deb")], check=True, capture_output=True)
    system.write("/srv/newer.deb", (tmp_path / "newer.deb").read_bytes())
    printed = system.run("dpkg", "--install", "/srv/newer.deb")
    assert "openimds: nothing is enabled" not in printed
    assert bodies(system.folder / "upper/var/lib/openimds") == before
    assert system.shell("cat /etc/openimds/fleet.yaml /etc/openimds/hooks.env") == FLEET + HOOKS
    assert system.shell(ASK) == first
    assert system.shell("dpkg --verify openimds") == "??5?????? c /etc/openimds/hooks.env\n"


def test_removal_and_purge_leave_the_state_alone(
    installation: Installation, system: Chroot
) -> None:
    system.write("/etc/openimds/fleet.yaml", FLEET)
    system.shell("install -d -o openimds -g openimds -m 0700 /var/lib/openimds")
    system.shell(ASK)
    system.shell("systemctl enable openimds.service openimds-host.service openimds-netns@a.socket")
    assert system.shell("find /etc/systemd -name 'openimds*' | wc -l") == "4\n"
    kept = bodies(system.folder / "upper/var/lib/openimds")
    system.run("dpkg", "--remove", "openimds")
    assert system.shell("find /etc/systemd -name 'openimds*'") == ""
    assert system.shell("cat /etc/openimds/fleet.yaml") == FLEET
    system.run("dpkg", "--purge", "openimds")
    assert left(installation, system, "/var/lib/openimds") == {
        "/etc/openimds",
        "/etc/openimds/fleet.yaml",
    }
    assert bodies(system.folder / "upper/var/lib/openimds") == kept


def test_purge_of_an_unused_package_leaves_nothing(
    installation: Installation, system: Chroot
) -> None:
    system.run("dpkg", "--purge", "openimds")
    assert left(installation, system) == set()


def left(installation: Installation, system: Chroot, but: str = "/none") -> set[str]:
    """Return the files that were not there before, but for a folder and Python's caches."""
    found = system.files(*KEPT, but) - installation.files
    return {name for name in found if "/__pycache__" not in name}


def test_two_builds_are_equal(deb: Path, tmp_path: Path) -> None:
    program = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); os.umask(0o077)\n"
        "from pathlib import Path; from scripts.build_deb import build\n"
        "build(Path(sys.argv[2], 'a longer path'), sys.argv[3], Path(sys.argv[2]))\n"
    )
    subprocess.run(
        [sys.executable, "-c", program, str(ROOT), str(tmp_path), architecture()],
        env={**os.environ, "TZ": "Pacific/Auckland"},
        check=True,
        timeout=200,
    )
    assert (tmp_path / deb.name).read_bytes() == deb.read_bytes()


def test_package_holds_no_place_of_its_build(deb: Path) -> None:
    words = ["dpkg-deb", "--fsys-tarfile", str(deb)]
    files = subprocess.run(words, capture_output=True, check=True).stdout
    assert str(deb.parent).encode() not in files
    assert str(ROOT).encode() not in files
    assert b"direct_url.json" not in files
