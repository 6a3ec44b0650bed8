"""The entry point of the image: check the state folder, then run `openimds`.

`serve` reports a state folder that does not survive the container, and refuses one that it cannot
write. Every other command runs as it is.
"""

import os
import sys
from pathlib import Path
from typing import NamedTuple, NoReturn

MOUNTS = Path("/proc/self/mountinfo")
VOLUME = "/var/lib/openimds"
_BAD_CONFIGURATION = 2
_GENERAL = {"--help", "-h", "--version"}


class Mount(NamedTuple):
    """A mount of this container.

    `is_memory` tells that it is a memory file system of its own: `--tmpfs`, not a volume that the
    engine keeps in one.
    """

    place: str
    is_memory: bool


def read_mounts(text: str) -> list[Mount]:
    """Return the mounts of a `mountinfo` file, in its order."""
    mounts = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        root, place = before.split()[3:5]
        # Spaces and backslashes of a path are octal escapes.
        place = place.encode().decode("unicode_escape")
        mounts.append(Mount(place, after.split()[0] == "tmpfs" and root == "/"))
    return mounts


def mount_of(folder: Path, mounts: list[Mount]) -> Mount:
    """Return the mount that holds a folder.

    Of several at one place the last one is visible.
    """
    holders = [mount for mount in mounts if folder.is_relative_to(mount.place)]
    return max(reversed(holders), key=lambda mount: len(mount.place))


def state_folder(arguments: list[str]) -> str:
    """Return the state folder of the command line or the environment, or nothing."""
    for index, argument in enumerate(arguments):
        if argument == "--state":
            return "".join(arguments[index + 1 : index + 2])
        if argument.startswith("--state="):
            return argument.removeprefix("--state=")
    return os.environ.get("OPENIMDS_STATE", "")


def forgets(folder: str, mounts: list[Mount]) -> str:
    """Return the message about state that ends with the container, or an empty text."""
    if folder:
        mount = mount_of(Path(folder).absolute(), mounts)
        if mount.place != "/" and not mount.is_memory:
            return ""
        reason = f"{folder} is in memory" if mount.is_memory else f"no volume holds {folder}"
    else:
        reason = "there is no state folder"
    return (
        f"{reason}: this container forgets VMs, keys and tokens when it is removed. "
        f"To keep them, run it with --volume openimds:{VOLUME}"
    )


def unusable(folder: Path) -> str:
    """Return the fault of a state folder with its remedy, or nothing."""
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    status, user = place.stat(), os.getuid()
    if os.statvfs(place).f_flag & os.ST_RDONLY:
        return (
            f"state folder {folder}: {place} is read-only. Run it with --volume openimds:{VOLUME}, "
            f"or with --tmpfs {VOLUME}:mode=1777 to forget everything at the end"
        )
    if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
        return (
            f"state folder {folder}: {place} belongs to user {status.st_uid} (mode "
            f"{status.st_mode & 0o7777:04o}), and this container runs as user {user}. Run it with "
            f"--user {status.st_uid}, or type: chown -R {user} on the folder of the volume"
        )
    return ""


def serve_arguments(arguments: list[str]) -> list[str]:
    """Return the command line of openimds: options alone are those of `serve`."""
    if arguments and (not arguments[0].startswith("-") or arguments[0] in _GENERAL):
        return arguments
    return ["serve", *arguments]


def check(arguments: list[str]) -> None:
    """Refuse a state folder that cannot be used; report one that does not last."""
    folder = state_folder(arguments)
    if folder and (reason := unusable(Path(folder))):
        _exit(reason)
    if notice := forgets(folder, read_mounts(MOUNTS.read_text())):
        print(f"openimds: {notice}.", file=sys.stderr, flush=True)


def _exit(reason: str) -> NoReturn:
    print(f"openimds: {reason}", file=sys.stderr)
    sys.exit(_BAD_CONFIGURATION)


def main() -> None:
    """Run the command line of the container."""
    arguments = serve_arguments(sys.argv[1:])
    if arguments[0] == "serve" and "--help" not in arguments:
        check(arguments)
    sys.argv[1:] = arguments
    from openimds.cli.main import main as run  # noqa: PLC0415 - after the checks

    run()


if __name__ == "__main__":
    main()
