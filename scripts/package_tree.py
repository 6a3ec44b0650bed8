"""The files of OpenIMDS in a package for a Linux distribution, below a root folder.

Python packages lie in a virtual environment of their own, /usr/lib/openimds, which takes the
system's interpreter and none of the system's packages. Units are those of packaging/systemd, with
the path of the command, and with users of the package in the place of dynamic ones.
"""

import gzip
import os
import shutil
from pathlib import Path

from click.shell_completion import get_completion_class

from openimds.cli.main import command
from scripts.build_steps import ROOT, epoch
from scripts.bundled_packages import PYTHON, stage_packages
from scripts.man_pages import NAME, pages

LOCK = ROOT / "requirements-packages.lock"
OPTIONAL = ("azure-identity", "psycopg")
"""What the extras need; psycopg calls the libpq of the system."""
HOME = "usr/lib/openimds"
SITE = f"{HOME}/lib/python{PYTHON}/site-packages"
UNITS = "usr/lib/systemd/system"
DOC = "usr/share/doc/openimds"
USERS = {
    "openimds.service": "openimds",
    "openimds-control.service": "openimds-control",
    "openimds-fleet-host.service": "openimds-host",
}
"""The user of each service, who has the name of its state folder."""
COMMAND = f"#!/{HOME}/bin/python3 -I\nfrom openimds.cli.main import main\n\nmain()\n"
_COMPLETIONS = {
    "bash": "usr/share/bash-completion/completions/openimds",
    "zsh": "usr/share/zsh/vendor-completions/_openimds",
    "fish": "usr/share/fish/vendor_completions.d/openimds.fish",
}
_HOOKS = {
    "hooks.env": ("etc/openimds/hooks.env", 0o644),
    "libvirt.sh": ("etc/libvirt/hooks/qemu.d/openimds", 0o755),
    "proxmox.sh": ("usr/share/openimds/proxmox-hook", 0o755),
    "guest_started.py": (f"{HOME}/guest-started", 0o755),
}


def make_tree(work: Path, architecture: str) -> Path:
    """Make the files in a folder; return the root folder of the package."""
    root = work / "root"
    shutil.rmtree(root, ignore_errors=True)
    stage_packages(work / "site", LOCK, architecture, OPTIONAL)
    shutil.copytree(work / "site", root / SITE)
    binaries = root / HOME / "bin"
    binaries.mkdir()
    (binaries / "python3").symlink_to(f"/usr/bin/python{PYTHON}")
    settings = f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {PYTHON}\n"
    (root / HOME / "pyvenv.cfg").write_text(settings)
    _write(root / "usr/bin/openimds", COMMAND, mode=0o755)
    for unit in (ROOT / "packaging/systemd").iterdir():
        _write(root / UNITS / unit.name, packaged(unit.name, unit.read_text()))
    _write(root / "usr/lib/sysusers.d/openimds.conf", sysusers())
    for name, text in pages().items():
        _write(root / f"usr/share/man/man1/{name}.gz", compressed(text))
    for shell, path in _COMPLETIONS.items():
        _write(root / path, completion(shell))
    _write(root / DOC / "changelog.gz", compressed((ROOT / "CHANGELOG.md").read_text("utf-8")))
    _write(root / DOC / "NOTICE", (ROOT / "NOTICE").read_text())
    for example in (ROOT / "packaging/examples").iterdir():
        _write(root / DOC / "examples" / example.name, example.read_text())
    for name, (place, mode) in _HOOKS.items():
        text = (ROOT / "packaging/hooks" / name).read_text()
        # The system's own Python may be older.
        text = text.replace("#!/usr/bin/python3 ", f"#!/{HOME}/bin/python3 ")
        _write(root / place, text, mode)
    return root


def packaged(name: str, text: str) -> str:
    """Return a unit with the path of the command and the user of the package."""
    text = text.replace("=openimds ", "=/usr/bin/openimds ")
    if user := USERS.get(name):
        lines = [line for line in text.splitlines() if line != f"User={user}"]
        at = lines.index("DynamicUser=yes")
        lines[at : at + 1] = [f"User={user}", f"Group={user}"]
        text = "\n".join(lines) + "\n"
    return text


def sysusers() -> str:
    """Return the users of the services in the form of sysusers.d."""
    rows = [f'u {user} - "OpenIMDS" /var/lib/{user}' for user in USERS.values()]
    return "\n".join(("# The services' users, who own the state folders.", *rows, ""))


def completion(shell: str) -> str:
    """Return the completion script of a shell, as `openimds completion` prints it."""
    kind = get_completion_class(shell)
    assert kind is not None, f"click knows {shell}"
    return kind(command, {}, NAME, f"_{NAME.upper()}_COMPLETE").source()


def compressed(text: str) -> bytes:
    """Return a text compressed, without the time of the compression."""
    return gzip.compress(text.encode(), compresslevel=9, mtime=0)


def date_and_open(root: Path) -> None:
    """Give every file the time of the build, and a mode without the umask."""
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if executable else 0o644)
        os.utime(path, (epoch(), epoch()), follow_symlinks=False)


def _write(path: Path, body: str | bytes, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body.encode() if isinstance(body, str) else body)
    path.chmod(mode)
