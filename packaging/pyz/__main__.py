"""The first step of openimds-VERSION.pyz: refuse an unfit machine, choose a private folder.

It has to run on any Python 3.6 or newer, so that an unfit one prints a sentence. Only then it
imports shiv's own start, which unpacks the packages and runs the command.
"""

import json
import os
import platform
import stat
import sys
import sysconfig
import zipfile
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

_REMEDY = "Set XDG_CACHE_HOME to a folder of your own"


def main() -> None:
    """Check this machine, then unpack once and run the command."""
    name = Path(sys.argv[0]).name
    with zipfile.ZipFile(sys.argv[0]) as archive:
        wanted = json.loads(archive.read("platform.json").decode("ascii"))
    here = this_platform()
    if not fits(wanted, here):
        refuse(
            f"{name} is for {describe(wanted)}, and this is {describe(here)}. "
            "Type make pyz in a checkout on this machine"
        )
    root = cache_folder()
    shiv: Any = import_module("_bootstrap")
    # shiv would unpack below ~/.shiv with the modes of the umask, or where a variable points.
    shiv.cache_path = lambda _archive, _root, build_id: root / build_id
    shiv.bootstrap()


def this_platform() -> "dict[str, Any]":
    """Return the interpreter, the platform and the version of glibc."""
    library, version = platform.libc_ver()
    major, minor = sys.version_info[:2]
    return {
        "python": f"{platform.python_implementation()} {major}.{minor}",
        "platform": sysconfig.get_platform(),
        "glibc": [int(part) for part in version.split(".")[:2]] if library == "glibc" else [],
    }


def fits(wanted: "dict[str, Any]", here: "dict[str, Any]") -> bool:
    """Tell whether the packages of this file load here."""
    same = all(wanted[key] == here[key] for key in ("python", "platform"))
    return same and list(wanted["glibc"]) <= list(here["glibc"])


def describe(facts: "dict[str, Any]") -> str:
    """Return the facts of a platform as a phrase."""
    glibc = ".".join(map(str, facts["glibc"]))
    return f"{facts['python']} on {facts['platform']}" + (f" with glibc {glibc}" if glibc else "")


def cache_folder() -> Path:
    """Return the folder of this user's cache; make it with mode 0700 if absent."""
    home = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        home = home if home.is_absolute() else Path("~/.cache").expanduser()
    except RuntimeError:
        refuse(f"there is no home folder to unpack in. {_REMEDY}")
    folder = home / "openimds"
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        status = folder.lstat()
    except OSError as error:
        refuse(f"cannot unpack in {folder} ({(error.strerror or '').lower()}). {_REMEDY}")
    if os.name == "nt":  # Modes and owners differ there; a user's profile is that user's alone.
        return folder
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        refuse(f"{folder} is not a folder of this user. {_REMEDY}")
    if stat.S_IMODE(status.st_mode) & 0o077:
        refuse(f"others can enter {folder}. Type chmod 700 {folder}")
    return folder


def refuse(sentence: str) -> NoReturn:
    """End with a sentence on stderr."""
    sys.stderr.write(f"openimds: {sentence}\n")
    sys.exit(2)


if __name__ == "__main__":
    main()
