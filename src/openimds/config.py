"""What a server is to be: the settings and the files that they name, read and checked."""

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from msgspec import Struct

from openimds.errors import ConfigError
from openimds.model.capture import capture
from openimds.model.fleet import fleet
from openimds.model.text import decode
from openimds.model.vm import Vm
from openimds.spec.versions import GENERAL, Catalog, catalog
from openimds.view.picture import Allowance, Allowances
from openimds.wire.plane import Bounds

DEFAULT_VM = "vm-1"
"""The name of the VM that is served when nobody names one."""
FILE_ENDINGS = (".yaml", ".yml", ".json", ".toml")
_MIB = 1 << 20
_LARGEST_WINDOW = 10_000


class Config(Struct, frozen=True):
    """Everything that `serve` needs, checked.

    `vms` is None where no file says any. Whoever loads them empties the list: a store and a picture
    hold them packed, and a hundred thousand of them unpacked weigh 200 MB. `fingerprint` is that of
    the fleet file's text before it was read.
    """

    vms: list[Vm] | None
    fingerprint: bytes
    origin: str
    fleet: str
    source: str
    catalog: Catalog
    listen: str
    admin: str
    admin_hosts: frozenset[str]
    state: str
    allowances: Allowances
    bounds: Bounds
    cache_bytes: int
    loop: str
    remarks: list[str]


def configure(values: Mapping[str, Any]) -> Config:
    """Return the configuration that the values of all settings make.

    Raises:
        ConfigError: files that cannot be read or do not fit, settings that exclude each other.
    """
    print_before = fingerprint(values["fleet"]) if values["fleet"] else b""
    found = read_vms(values["fleet"], values["document"])
    allowances = {
        key: Allowance(values[f"{key}_per_s"], values[f"{key}_burst"])
        for key in ("general", "identity")
    }
    for key, allowance in allowances.items():
        window = allowance.burst or allowance.rate_per_s
        if window > _LARGEST_WINDOW:
            raise ConfigError(
                f"{key}_burst",
                f"{window:g}",
                f"at most {_LARGEST_WINDOW}: every VM remembers so many requests",
                "Write --no-rate-limit, or a smaller burst",
            )
    return Config(
        vms=found.vms,
        fingerprint=print_before,
        origin=found.origin,
        fleet=values["fleet"],
        source=values["fleet"] or values["document"],
        catalog=read_catalog(values["newest_version"]),
        listen=values["listen"],
        admin=values["admin"],
        admin_hosts=frozenset(values["admin_hosts"].lower().replace(",", " ").split()),
        state=values["state"],
        allowances=allowances if values["rate_limit"] else {},
        bounds=Bounds(
            connections=values["max_connections"],
            connections_per_caller=values["max_connections_per_vm"],
        ),
        cache_bytes=values["cache_mib"] * _MIB,
        loop=values["loop"],
        remarks=found.remarks,
    )


def read_catalog(newest: str) -> Catalog:
    """Return the catalog up to an api-version.

    Raises:
        ConfigError: there is no such general api-version.
    """
    try:
        return catalog(newest)
    except KeyError:
        known = ", ".join(row.name for row in GENERAL[-5:])
        raise ConfigError(
            "newest_version", f'"{newest}"', f"a general api-version, such as {known}"
        ) from None


class Found(Struct, frozen=True):
    """The VMs of a file, who they belong to in the store, and remarks for the operator."""

    vms: list[Vm] | None
    origin: str
    remarks: list[str]


def read_vms(fleet_file: str, document_file: str) -> Found:
    """Return the VMs of a fleet file (or a folder of them), or of a captured document.

    Raises:
        ConfigError: the file cannot be read or does not fit.
    """
    if fleet_file and document_file:
        seen = f"both {fleet_file} and {document_file}"
        raise ConfigError("--document", seen, "a fleet or a document, not both")
    with without_collector():
        if document_file:
            return _document(document_file)
        if fleet_file:
            vms = read_fleet(fleet_file)
            return Found(vms, "file", _unserved(vms))
    return Found(None, "default", [])


def read_fleet(file: str) -> list[Vm]:
    """Return the VMs of a fleet file, or of all of them in a folder.

    Raises:
        ConfigError: a file cannot be read or does not fit, or two name one VM.
    """
    folder = Path(file)
    if not folder.is_dir():
        return _one_fleet(file)
    found: dict[str, tuple[Vm, str]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix not in FILE_ENDINGS or path.name.startswith("."):
            continue
        for vm in _one_fleet(str(path)):
            if vm.name in found:
                seen = f"a VM that {found[vm.name][1]} names too"
                raise ConfigError(f"{path}: vms.{vm.name}", seen, "each VM in one file")
            found[vm.name] = (vm, path.name)
    if not found:
        expected = "fleet files ending in " + ", ".join(FILE_ENDINGS)
        raise ConfigError(file, "a folder without any", expected)
    return [vm for vm, _ in found.values()]


class Watched:
    """Where edits of a fleet file, or of a folder of them, show."""

    def __init__(self, fleet: str) -> None:
        """Find the folder that is to be watched."""
        self.path = Path(fleet).absolute()
        self.folder = self.path if self.path.is_dir() else self.path.parent
        self.who = f"file {self.path.name}"

    def has(self, _change: object, changed: str) -> bool:
        """Tell whether a changed path may be ours; names with two dots are Kubernetes' swaps."""
        name = Path(changed).name
        if name.startswith(".."):
            return True
        return name.endswith(FILE_ENDINGS) if self.folder == self.path else name == self.path.name


def fingerprint(fleet: str) -> bytes:
    """Return what changes when the text of a fleet file, or of a folder of them, does."""
    path = Path(fleet)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    known = sha256()
    for file in files:
        with suppress(OSError):
            text = file.read_bytes()
            known.update(f"{file.name}\0{len(text)}\0".encode() + text)
    return known.digest()


def _one_fleet(file: str) -> list[Vm]:
    value = read_file(file)
    try:
        return list(fleet(value).vms.values())
    except ConfigError as error:
        raise error.inside(file) from None


def _document(file: str) -> Found:
    try:
        found = capture(read_file(file), DEFAULT_VM)
    except ConfigError as error:
        raise error.inside(file) from None
    remarks = [
        f"{file}: {path} is in no api-version known here and is not served"
        for path in found.set_aside
    ]
    return Found([found.vm], "document", remarks)


def read_file(file: str) -> object:
    """Return the plain value of a file.

    Raises:
        ConfigError: it cannot be read, or is not of its format.
    """
    try:
        text = Path(file).read_bytes()
    except OSError as error:
        said = error.strerror or str(error)
        raise ConfigError(file, said.lower(), "a file that can be read") from None
    return decode(text, file)


def _unserved(vms: list[Vm]) -> list[str]:
    """Name the keys that are kept but that no endpoint of this release serves yet."""
    said = {
        "identities": any(vm.identities.system or vm.identities.user for vm in vms),
        "loadBalancer": any(vm.load_balancer is not None for vm in vms),
        "attested": any(vm.attested is not None for vm in vms),
    }
    return [
        f"{key}: kept, but this release does not serve it yet"
        for key, is_said in said.items()
        if is_said
    ]


@contextmanager
def without_collector() -> Iterator[None]:
    """Load many VMs in half the time: nothing that is read becomes garbage in a circle."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
