"""The RPM package, installed by rpm into a Debian that has its Python.

No distribution with RPM packages can be had here. rpm itself, the scripts of the package and the
program run; dnf, Enterprise Linux's own Python, systemd and SELinux do not.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from scripts.build_rpm import GLIBC, build, pack, spec
from tests.docs.story import Block, expected, script
from tests.docs.test_pages import RPM
from tests.package.chroot import NEEDED, Chroot, base
from tests.package.resolutions import ROOT
from tests.package.test_deb import (
    ASK,
    CALLS,
    FLEET,
    HOOKS,
    STATE_OF_0_1_0,
    architecture,
    bodies,
    boot,
    chroot,
    write_state_of_0_1_0,
)

# The first test makes the package and a Debian.
pytestmark = pytest.mark.timeout(900)

PAGE = ROOT / RPM
MADE = "make -C openimds rpm\n"
"""The command of the page that the fixture `rpm` stands for."""
INSTALL = "rpm --install --force-debian --nodeps /srv/openimds.rpm"
"""Debian's rpm asks for one option, and knows nothing of Debian's packages, which are needed."""
UPGRADE = "rpm --upgrade --force-debian --nodeps /srv/newer.rpm"
ERASE = "rpm --erase --force-debian openimds"
KEPT = ("/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/var/lib/rpm", "/srv/.rpmdb")
"""Files that show each installation, and users who stay."""
LIBRARIES = ("ld-linux", "libc.so.6", "libgcc_s.so.1", "libm.so.6", "libpthread.so.0", "rtld(")
READ_BY_EL9 = {
    "rpmlib(CompressedFileNames)",
    "rpmlib(FileDigests)",
    "rpmlib(PayloadFilesHavePrefix)",
    "rpmlib(PayloadIsZstd)",
}
"""Of the features that a package may ask for, those of rpm 4.16 and older that are needed."""


class Made(NamedTuple):
    """A package and the folder that it was made in."""

    path: Path
    work: Path


@pytest.fixture(scope="module")
def rpm(index: None, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Return the package of this checkout."""
    for program in ("dpkg", "rpmbuild"):
        if not shutil.which(program):
            (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{program} is not installed")
    folder = tmp_path_factory.mktemp("rpm")
    return Made(build(folder / "work", architecture(), folder), folder / "work")


def asked(path: Path, *options: str) -> list[str]:
    """Return the lines that rpm prints about a package file."""
    words = ["rpm", "--query", "--package", *options, str(path)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.fixture(scope="module")
def bare(rpm: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, ...]]:
    """Yield the layers of a system with what the package needs, and its file."""
    with chroot(tmp_path_factory.mktemp("bare"), base()) as layer:
        layer.run("apt-get", "install", "--yes", "--quiet", *NEEDED)
        layer.write("/srv/openimds.rpm", rpm.path.read_bytes())
        layer.shell("mkdir /usr/share/licenses")  # It is of Enterprise Linux's package filesystem.
        yield layer.layers


class Installation(NamedTuple):
    """A system with the package, its files of before, and the output of the installation."""

    layers: tuple[Path, ...]
    files: set[str]
    printed: str


@pytest.fixture(scope="module")
def installation(
    bare: tuple[Path, ...], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """Yield a system with the package."""
    with chroot(tmp_path_factory.mktemp("installed"), *bare) as layer:
        files = layer.files(*KEPT)
        printed = layer.shell(INSTALL)
        yield Installation(layer.layers, files, printed)


@pytest.fixture
def system(installation: Installation, tmp_path: Path) -> Iterator[Chroot]:
    """Yield a system with the package, for one test."""
    with chroot(tmp_path, *installation.layers) as layer:
        yield layer


def is_run(block: Block) -> bool:
    return block.text != MADE


def test_page_reaches_a_first_answer(system: Chroot) -> None:
    assert MADE in PAGE.read_text("utf-8")
    text = script(PAGE, system.folder, is_run).replace("ip link set lo up\n", "cd /srv\n")
    assert "openimds serve" in text
    system.shell(text)
    for number, (block, pattern) in expected(PAGE, is_run).items():
        printed = (system.folder / f"upper/srv/{number}.out").read_text().strip()
        assert pattern.fullmatch(printed), f"line {block.line} prints {printed}"


def test_package_asks_for_what_enterprise_linux_9_has(rpm: Made) -> None:
    required = set(asked(rpm.path, "--requires"))
    named = {row for row in required if not row.startswith((*LIBRARIES, "rpmlib("))}
    own = {row for row in named if row.startswith("config(openimds)")}
    assert named - own == {"/bin/sh", "/usr/bin/kill", "/usr/bin/python3.11", "systemd"}
    assert {row.split()[0] for row in required if row.startswith("rpmlib(")} == READ_BY_EL9
    versions = {row.partition("GLIBC_2.")[2].partition(")")[0] for row in required}
    minors = {int(text.partition(".")[0]) for text in versions if text}
    assert max(minors) <= GLIBC
    assert set(asked(rpm.path, "--recommends")) == {"iproute", "libpq", "nftables"}
    provided = {row.split()[0].partition("(")[0] for row in asked(rpm.path, "--provides")}
    assert provided == {"openimds", "config"}
    assert own <= set(asked(rpm.path, "--provides"))


def test_files_belong_to_root_and_settings_are_marked(rpm: Made) -> None:
    rows = asked(rpm.path, "--queryformat", "[%{FILEUSERNAME}:%{FILEGROUPNAME}\\n]")
    assert set(rows) == {"root:root"}
    settings = {"/etc/libvirt/hooks/qemu.d/openimds", "/etc/openimds/hooks.env"}
    assert set(asked(rpm.path, "--configfiles")) == settings
    assert asked(rpm.path, "--licensefiles") == ["/usr/share/licenses/openimds/copyright"]


def test_installation_enables_and_starts_nothing(
    installation: Installation, system: Chroot
) -> None:
    assert "openimds: nothing is enabled or started; " in installation.printed
    assert system.shell("find /etc/systemd /run /var/lib -name '*openimds*'") == ""
    assert system.shell("rpm --verify --nodeps openimds") == ""
    users = system.shell("getent passwd openimds openimds-control openimds-host").splitlines()
    assert [line.rpartition(":")[2] for line in users] == ["/usr/sbin/nologin"] * 3
    verify = "systemd-analyze verify --man=no /usr/lib/systemd/system/openimds*.*"
    assert system.shell(verify) == ""


def test_command_uses_the_packages_inside_alone(system: Chroot) -> None:
    assert system.shell("openimds --version").startswith("openimds, version ")
    program = "import sys, azure.identity, psycopg; print(psycopg.pq.__impl__, *sys.path)"
    printed = system.run("/usr/lib/openimds/bin/python3", "-I", "-c", program).split()
    assert printed[0] == "python"
    assert printed[-1] == "/usr/lib/openimds/lib/python3.11/site-packages"
    assert not [path for path in printed if "dist-packages" in path]


def test_packages_are_found_where_libraries_are_in_lib64(system: Chroot) -> None:
    place = "/usr/lib/openimds/lib64/python3.11/site-packages"
    program = f"import sys; sys.path.append({place!r}); import openimds; print(openimds.__file__)"
    printed = system.run("/usr/lib/openimds/bin/python3", "-IS", "-c", program)
    assert printed == f"{place}/openimds/__init__.py\n"


def test_modules_are_compiled(system: Chroot) -> None:
    ours = "/usr/lib/openimds/lib/python3.11/site-packages/openimds"
    count = "find {} -name '{}' | wc -l"
    sources, compiled = (system.shell(count.format(ours, name)) for name in ("*.py", "*.pyc"))
    assert sources == compiled != "0\n"


def test_state_of_units_of_0_1_0_goes_to_the_user(bare: tuple[Path, ...], tmp_path: Path) -> None:
    with chroot(tmp_path, *bare) as system:
        before = write_state_of_0_1_0(system)
        printed = system.shell(INSTALL)
        upper = system.folder / "upper"
        assert "openimds: /var/lib/private/openimds is /var/lib/openimds now\n" in printed
        assert "/etc/systemd/system/openimds.service takes the place of" in printed
        assert "/usr/local/bin/openimds comes before /usr/bin/openimds in PATH" in printed
        assert bodies(upper / "var/lib/openimds") == before
        assert not (upper / "var/lib/private/openimds").exists()
        written = (STATE_OF_0_1_0 / "fleet.yaml").read_bytes()
        assert (upper / "etc/openimds/fleet.yaml").read_bytes() == written
        owners = "find /var/lib/openimds -printf '%u:%g %m\\n' | sort -u"
        assert system.shell(owners) == "openimds:openimds 600\nopenimds:openimds 700\n"


def test_state_moves_while_no_socket_is_open(bare: tuple[Path, ...], tmp_path: Path) -> None:
    with chroot(tmp_path, *bare) as system:
        write_state_of_0_1_0(system)
        system.shell(boot(system) + INSTALL)
        assert (system.folder / "upper/srv/calls").read_text().splitlines() == CALLS


def test_upgrade_keeps_state_and_files_of_the_operator(
    rpm: Made, system: Chroot, tmp_path: Path
) -> None:
    system.write("/etc/openimds/fleet.yaml", FLEET)
    system.write("/etc/openimds/hooks.env", HOOKS)
    system.shell("install -d -o openimds -g openimds -m 0700 /var/lib/openimds")
    first = system.shell(ASK)
    before = bodies(system.folder / "upper/var/lib/openimds")
    newer = tmp_path / "newer"
    newer.mkdir()
    shutil.copytree(rpm.work / "root", newer / "root", symlinks=True)
    gone = "usr/lib/openimds/lib/python3.11/site-packages/openimds/__main__.py"
    (newer / "root" / gone).unlink()
    made = pack(newer, spec(newer / "root", "9.0"), architecture())
    system.write("/srv/newer.rpm", made.read_bytes())
    printed = system.shell(UPGRADE)
    assert "openimds: nothing is enabled" not in printed
    assert system.shell("rpm --query openimds").startswith("openimds-9.0-1.")
    assert system.shell(f"find /{Path(gone).parent} -name '__main__*'") == ""
    assert bodies(system.folder / "upper/var/lib/openimds") == before
    assert system.shell("cat /etc/openimds/fleet.yaml /etc/openimds/hooks.env") == FLEET + HOOKS
    assert system.shell(ASK) == first
    test_modules_are_compiled(system)


def test_removal_leaves_state_and_files_of_the_operator_alone(
    installation: Installation, system: Chroot
) -> None:
    system.write("/etc/openimds/fleet.yaml", FLEET)
    system.write("/etc/openimds/hooks.env", HOOKS)
    system.shell("install -d -o openimds -g openimds -m 0700 /var/lib/openimds")
    system.shell(ASK)
    system.shell("systemctl enable openimds.service openimds-host.service openimds-netns@a.socket")
    assert system.shell("find /etc/systemd -name 'openimds*' | wc -l") == "4\n"
    kept = bodies(system.folder / "upper/var/lib/openimds")
    system.shell(ERASE)
    assert left(installation, system, "/var/lib/openimds") == {
        "/etc/openimds",
        "/etc/openimds/fleet.yaml",
        "/etc/openimds/hooks.env.rpmsave",
    }
    assert bodies(system.folder / "upper/var/lib/openimds") == kept


def test_removal_of_an_unused_package_leaves_nothing(
    installation: Installation, system: Chroot
) -> None:
    assert "warning" not in system.shell(ERASE)
    assert left(installation, system) == set()


def test_removal_keeps_the_folders_of_libvirt(system: Chroot) -> None:
    system.write("/etc/libvirt/virtqemud.conf", "")
    system.shell(ERASE)
    assert system.shell("ls /etc/libvirt") == "hooks\nvirtqemud.conf\n"


def left(installation: Installation, system: Chroot, but: str = "/none") -> set[str]:
    """Return the new files, but for a folder and the system's Python."""
    found = system.files(*KEPT, but) - installation.files
    return {name for name in found if not name.startswith("/usr/lib/python3")}


def test_two_builds_are_equal(rpm: Made, tmp_path: Path) -> None:
    program = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); os.umask(0o077)\n"
        "from pathlib import Path; from scripts.build_rpm import build\n"
        "build(Path(sys.argv[2], 'a longer path'), sys.argv[3], Path(sys.argv[2]))\n"
    )
    subprocess.run(
        [sys.executable, "-c", program, str(ROOT), str(tmp_path), architecture()],
        env={**os.environ, "TZ": "Pacific/Auckland"},
        check=True,
        timeout=300,
    )
    assert (tmp_path / rpm.path.name).read_bytes() == rpm.path.read_bytes()


def test_package_holds_no_place_of_its_build(rpm: Made, tmp_path: Path) -> None:
    archive = tmp_path / "files"
    with archive.open("wb") as target:
        subprocess.run(["rpm2cpio", str(rpm.path)], stdout=target, check=True)
    files = archive.read_bytes()
    assert b"openimds" in files
    for place in (str(rpm.work).encode(), str(ROOT).encode(), b"direct_url.json"):
        assert place not in files
        assert place not in rpm.path.read_bytes()
