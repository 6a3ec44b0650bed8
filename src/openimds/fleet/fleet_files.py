"""Read files that describe VMs: fleet files, folders of them, captured documents.

The formats and their checks are `vm`'s, `protocol`'s and `interop`'s; here are paths and reading.
"""

import errno
import gc
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from msgspec import Struct
from msgspec.structs import replace

from openimds.errors import ConfigError, shortage
from openimds.fleet.fault_bodies import with_bodies
from openimds.parameters import old_names, old_names_notice
from openimds.protocol.events.schedule import RecurringEvent, read_lines
from openimds.protocol.faults.fault import FaultSpec
from openimds.protocol.faults.input import read_faults
from openimds.vm.file_entries import EntryDigests, split
from openimds.vm.fleet_file import parse_fleet
from openimds.vm.types import Identities, Vm

if TYPE_CHECKING:
    from openimds.interop.transcript.to_vm import CapturedVm

DEFAULT_VM = "vm-1"
"""The name of the VM that is served when no file names one."""
MOST_BYTES = 512 << 20
"""The size limit of a file; a fleet of 100,000 VMs has some 30 MB."""
_LARGE = 1000
"""From so many VMs on, an edit is found by its entries."""
_MOST_EDITED = 5000
"""An edit of more entries is read and compared as a whole."""
FILE_ENDINGS = (".yaml", ".yml", ".json", ".toml")


def default_vm(*, has_identity: bool = True) -> Vm:
    """Return the VM that is served when no file names one.

    Its system-assigned identity has local tokens, so that a bare server has something to give.
    """
    return Vm(DEFAULT_VM, identities=Identities(system=has_identity))


class FleetFileContents(Struct, frozen=True):
    """The VMs, scheduled events and faults of a fleet file or folder.

    `text` is a digest of what was read, empty for contents that no file has. `entries` has digests
    of the entries of a large file. Where `gone` is not None, `vms` are only those whose entries
    differ from a known text, and `gone` the names that are no longer in the file. `notice` is a
    warning about old names in it, or empty.
    """

    vms: list[Vm]
    events: tuple[RecurringEvent, ...] = ()
    faults: tuple[FaultSpec, ...] = ()
    text: bytes = b""
    entries: EntryDigests | None = None
    gone: frozenset[str] | None = None
    notice: str = ""

    @property
    def names(self) -> Collection[str]:
        """The names of all VMs of the file."""
        if self.gone is not None and self.entries:
            return self.entries.by_name
        return [vm.name for vm in self.vms]


def read_file(path: str) -> object:
    """Read a YAML, TOML or JSON file into plain values.

    Raises:
        ConfigError: the file cannot be read, or is not of its format.
    """
    with _naming(path), open_plain(path) as file:
        text = file.read(MOST_BYTES)
    from openimds.vm.decode import decode  # noqa: PLC0415 - a server without a file needs no parser

    return decode(text, path)


def open_plain(path: str | Path) -> BinaryIO:
    """Open a plain file to read; a pipe or device is an error at once.

    Read at most `MOST_BYTES` of it, for it may grow.

    Raises:
        OSError: it cannot be opened, is no plain file, or is larger.
    """
    flags = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    file = os.fdopen(os.open(path, os.O_RDONLY | flags), "rb")
    status = os.fstat(file.fileno())
    error = None
    if not stat.S_ISREG(status.st_mode):
        error = OSError(errno.EINVAL, "a pipe, a device or a folder")
    elif status.st_size > MOST_BYTES:
        error = OSError(errno.EFBIG, f"more than {MOST_BYTES >> 20} MiB")
    if error:
        file.close()
        raise error
    return file


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Turn a failure to read a file into a ConfigError with its path."""
    try:
        yield
    except OSError as error:
        raise _unreadable(path, "file", error) from None


def _unreadable(path: str, kind: str, error: OSError) -> ConfigError:
    reason = (error.strerror or str(error)).lower()
    return ConfigError(path, reason, f"a {kind} that can be read")


def _files_of(folder: Path) -> list[Path]:
    """Return the files of a folder in their order.

    Raises:
        ConfigError: the folder cannot be read.
    """
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise _unreadable(str(folder), "folder", error) from None


def read_fleet(path: str, known: EntryDigests | None = None) -> FleetFileContents:
    """Read a fleet file, or all fleet files of a folder together.

    With `known`, the entries of a file that was read before, only the VMs of others may be read.

    Raises:
        ConfigError: a file cannot be read or does not fit, or two files name one VM.
    """
    from openimds.vm.decode import decode  # noqa: PLC0415 - as in `read_file`

    files, folder = [path], Path(path)
    if folder.is_dir():
        files = [str(file) for file in _files_of(folder) if _is_fleet_file(file)]
    file_of: dict[str, str] = {}
    vms: list[Vm] = []
    events: tuple[RecurringEvent, ...] = ()
    faults: tuple[FaultSpec, ...] = ()
    notices: list[str] = []
    digest = sha256()
    for file in files:
        with _naming(file), open_plain(file) as opened:
            body = opened.read(MOST_BYTES)
        digest.update(_label(file, len(body)))
        digest.update(body)
        if known and not folder.is_dir() and (edit := _read_edit(body, file, known)):
            return replace(edit, text=digest.digest())
        value = decode(body, file)
        try:
            with old_names() as found:
                contents = fleet_contents(value, Path(file).parent)
        except ConfigError as error:
            raise error.inside(file) from None
        if found:
            notices.append(f"{file}: {old_names_notice(found)}")
        for vm in contents.vms:
            if vm.name in file_of:
                seen = f"a VM that {file_of[vm.name]} names too"
                raise ConfigError(f"{file}: vms.{vm.name}", seen, "each VM in one file")
            file_of[vm.name] = Path(file).name
        vms += contents.vms
        events += contents.events
        faults += contents.faults
    if not vms:
        expected = "fleet files ending in " + ", ".join(FILE_ENDINGS)
        raise ConfigError(path, "a folder without any", expected)
    entries = None
    if not folder.is_dir() and len(vms) >= _LARGE:
        entries = _entries_of(body, path, [vm.name for vm in vms])
    notice = "; ".join(notices)
    return FleetFileContents(vms, events, faults, digest.digest(), entries, notice=notice)


def _entries_of(body: bytes, path: str, names: list[str]) -> EntryDigests | None:
    """Return the digests of the entries of a text with these VMs."""
    parts = split(body, path)
    return parts.digests() if parts and [*parts.entries] == names else None


def _read_edit(body: bytes, path: str, known: EntryDigests) -> FleetFileContents | None:
    """Read the entries that are not known; None asks for the whole text."""
    from openimds.vm.decode import decode  # noqa: PLC0415 - as in `read_file`

    parts = split(body, path)
    entries = parts.digests() if parts else None
    if not parts or not entries or entries.around != known.around:
        return None
    before = known.by_name
    changed = [name for name, one in entries.by_name.items() if before.get(name) != one]
    gone = before.keys() - entries.by_name.keys()
    if len(changed) + len(gone) > _MOST_EDITED:
        return None
    # A fleet has a VM: if all edits are removals, one that has not changed.
    names = changed or [*entries.by_name][:1]
    try:
        contents = fleet_contents(decode(parts.with_only({*names}), path), Path(path).parent)
    except ConfigError:
        return None  # Reading the whole gives the right line and column.
    if [vm.name for vm in contents.vms] != names:
        return None
    return replace(contents, entries=entries, gone=frozenset(gone))


def fleet_contents(value: object, folder: Path = Path()) -> FleetFileContents:
    """Return the contents of a fleet file in a folder from its plain value.

    Raises:
        ConfigError: with the path inside the value.
    """
    parts = parse_fleet(value)
    faults = read_faults(with_bodies(parts.faults, folder))
    return FleetFileContents([*parts.vms.values()], read_lines(parts.events), faults)


def read_document(path: str) -> "CapturedVm":
    """Read a file of `openimds capture`, or a captured body of /metadata/instance.

    Raises:
        ConfigError: the file cannot be read or does not fit.
    """
    # Imported on use: most servers never read one.
    from openimds.interop.transcript.to_vm import captured_vm  # noqa: PLC0415 - see above

    value = read_file(path)
    try:
        return captured_vm(value, DEFAULT_VM)
    except ConfigError as error:
        raise error.inside(path) from None


def fingerprint(path: str) -> bytes:
    """Return a digest of a fleet file or folder, without unreadable files.

    Raises:
        ConfigError: the folder cannot be read, or the system has no descriptor for a file.
    """
    fleet_path = Path(path)
    files = _files_of(fleet_path) if fleet_path.is_dir() else [fleet_path]
    digest = sha256()
    for file in files:
        try:
            with open_plain(file) as opened:
                text = opened.read(MOST_BYTES)
        except OSError as error:
            if shortage(error):
                raise _unreadable(str(file), "file", error) from None
            continue
        digest.update(_label(file.name, len(text)))
        digest.update(text)
    return digest.digest()


def _label(path: str, length: int) -> bytes:
    """Return the bytes before a text in a digest of several."""
    return f"{Path(path).name}\0{length}\0".encode()


@contextmanager
def gc_paused() -> Iterator[None]:
    """Pause the garbage collector: VMs have no cycles, and load twice as fast."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _is_fleet_file(file: Path) -> bool:
    return file.suffix in FILE_ENDINGS and not file.name.startswith(".")
