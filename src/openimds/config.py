"""What a server is to be: the settings and the files that they name, read and checked."""

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from msgspec import Struct, structs

from openimds.credentials.entra.client import ENTRA_UNCONFIGURED, FEDERATION
from openimds.dataplane.dispatcher import Bounds
from openimds.errors import ConfigError
from openimds.facts.limits import LIMITS
from openimds.facts.versions import GENERAL, Catalog, catalog
from openimds.fleet.index import Allowance, Allowances
from openimds.parameters import describe
from openimds.protocol.events.input import plans
from openimds.protocol.events.schedule import RecurringEvent
from openimds.protocol.faults.fault import FaultSpec as FaultPlan
from openimds.protocol.faults.input import read_faults as faults
from openimds.vm.decode import decode
from openimds.vm.fleet_file import fleet
from openimds.vm.identities import ENTRA
from openimds.vm.types import Vm

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
    public: str
    public_url: str
    issuer: str
    attest_key: str
    attest_certificates: str
    token_life_s: int
    v2_resources: frozenset[str]
    arc_folder: str
    msi_v2: bool
    forget_tokens: bool
    entra: str
    allowances: Allowances
    bounds: Bounds
    cache_bytes: int
    loop: str
    remarks: list[str]
    scenario: str = ""
    plans: tuple[RecurringEvent, ...] = ()
    faults: tuple[FaultPlan, ...] = ()
    event_hook: str = ""
    events_activation: bool = False
    virtual_clock: bool = False
    record: int = 0

    @property
    def extras(self) -> frozenset[str]:
        """The settings that bring endpoints with them and are given."""
        given = {"arc_folder": self.arc_folder, "msi_v2": self.msi_v2}
        return frozenset(name for name, value in given.items() if value)


def configure(values: Mapping[str, Any]) -> Config:
    """Return the configuration that the values of all settings make.

    Raises:
        ConfigError: files that cannot be read or do not fit, settings that exclude each other.
    """
    print_before = fingerprint(values["fleet"]) if values["fleet"] else b""
    found = read_vms(values["fleet"], values["document"])
    allowances = {
        key: Allowance(values[f"{key}_per_s"], values[f"{key}_burst"], LIMITS[key].concurrent)
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
        admin_hosts=frozenset(_names(values["admin_hosts"].lower())),
        state=values["state"],
        public=values["public"],
        public_url=values["public_url"],
        issuer=values["issuer"],
        attest_key=values["attest_key"],
        attest_certificates=values["attest_certificates"],
        token_life_s=values["token_life"],
        v2_resources=frozenset(_names(values["v2_resources"].lower())),
        arc_folder=values["arc_folder"],
        msi_v2=values["msi_v2"],
        forget_tokens=values["forget_tokens"],
        entra=_entra(values),
        allowances=allowances if values["rate_limit"] else {},
        bounds=Bounds(
            connections=values["max_connections"],
            connections_per_caller=values["max_connections_per_vm"],
        ),
        cache_bytes=values["cache_mib"] * _MIB,
        loop=values["loop"],
        scenario=values["scenario"],
        plans=found.plans + read_scenario(values["scenario"]),
        faults=found.faults,
        event_hook=values["event_hook"],
        events_activation=values["events_activation"],
        virtual_clock=values["virtual_clock"],
        record=values["record"],
        remarks=found.remarks + _unasked(found.vms or [], values["entra"]) + _nowhere(values),
    )


def _entra(values: Mapping[str, Any]) -> str:
    """Return how Entra is asked.

    Raises:
        ConfigError: by tokens of an issuer that Entra could not find.
    """
    way, issuer = str(values["entra"]), values["issuer"]
    is_nowhere = issuer == "public" and values["public"] == "none" and not values["public_url"]
    if is_nowhere and not way:
        raise ConfigError(
            "issuer",
            '"public" with nothing public',
            "a listener, or a URL",
            "Write --public HOST:PORT, --public-url URL, or --issuer URL",
        )
    if way and values["virtual_clock"]:
        raise ConfigError(
            "entra",
            f'"{way}" with a virtual clock',
            "the clock of the wall: Entra's tokens live by it",
            "Leave out --virtual-clock, or --entra",
        )
    if way == FEDERATION and (issuer in ("azure", "") or is_nowhere):
        raise ConfigError(
            "entra",
            f'"{way}" with the issuer {issuer}' + (" and nothing public" if is_nowhere else ""),
            "an issuer whose discovery document and keys Entra can fetch by https",
            "Write --issuer public --public-url https://..., or --issuer https://...",
        )
    return way


def _unasked(vms: list[Vm], way: str) -> list[str]:
    """Say so where VMs want tokens of Entra and nothing says how to get them."""
    return [] if way or not any(map(_wants_entra, vms)) else [ENTRA_UNCONFIGURED]


def _wants_entra(vm: Vm) -> bool:
    held = vm.identities
    return ENTRA in (held.source, *(one.source for one in held.details.values()))


def _nowhere(values: Mapping[str, Any]) -> list[str]:
    """Say so where what is published is said to be at an address that leads guests nowhere."""
    public = values["public"]
    with suppress(ValueError):
        is_any = ip_address(public.rpartition(":")[0].strip("[]")).is_unspecified
        if is_any and not values["public_url"]:
            said = f"certificates and discovery documents name http://{public}"
            hint = "Say with --public-url by which URL they reach this machine"
            return [f"{said}, which leads guests to themselves. {hint}"]
    return []


def _names(text: str) -> list[str]:
    return [name.rstrip("/") for name in text.replace(",", " ").split()]


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


class LoadedVms(Struct, frozen=True):
    """The VMs of a file, who they belong to in the store, and remarks for the operator."""

    vms: list[Vm] | None
    origin: str
    remarks: list[str]
    plans: tuple[RecurringEvent, ...] = ()
    faults: tuple[FaultPlan, ...] = ()


def read_vms(fleet_file: str, document_file: str) -> LoadedVms:
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
            said = read_fleet(fleet_file)
            return LoadedVms(said.vms, "file", [], said.events, said.faults)
    return LoadedVms(None, "default", [])


class FleetFileContents(Struct, frozen=True):
    """What a fleet file says: the VMs, what shall happen to them, and what shall go wrong."""

    vms: list[Vm]
    events: tuple[RecurringEvent, ...]
    faults: tuple[FaultPlan, ...]


def read_fleet(file: str) -> FleetFileContents:
    """Return what a fleet file says, or what all of them in a folder say together.

    Raises:
        ConfigError: a file cannot be read or does not fit, or two name one VM.
    """
    folder = Path(file)
    if not folder.is_dir():
        return _one_fleet(file)
    found: dict[str, tuple[Vm, str]] = {}
    events: tuple[RecurringEvent, ...] = ()
    wrong: tuple[FaultPlan, ...] = ()
    for path in sorted(folder.iterdir()):
        if path.suffix not in FILE_ENDINGS or path.name.startswith("."):
            continue
        said = _one_fleet(str(path))
        events += said.events
        wrong += said.faults
        for vm in said.vms:
            if vm.name in found:
                seen = f"a VM that {found[vm.name][1]} names too"
                raise ConfigError(f"{path}: vms.{vm.name}", seen, "each VM in one file")
            found[vm.name] = (vm, path.name)
    if not found:
        expected = "fleet files ending in " + ", ".join(FILE_ENDINGS)
        raise ConfigError(file, "a folder without any", expected)
    return FleetFileContents([vm for vm, _ in found.values()], events, wrong)


def written(value: object) -> FleetFileContents:
    """Return what the plain value of a fleet file says.

    Raises:
        ConfigError: with the path inside the value.
    """
    read = fleet(value)
    return FleetFileContents(list(read.vms.values()), plans(read.events), faults(read.faults))


def read_scenario(file: str) -> tuple[RecurringEvent, ...]:
    """Return the lines of a scenario file: a list under `events`, as in a fleet file.

    Raises:
        ConfigError: it cannot be read or does not fit.
    """
    if not file:
        return ()
    value = read_file(file)
    if not isinstance(value, dict) or [*value] != ["events"]:
        raise ConfigError(file, describe(value), "a mapping with events, and nothing else")
    try:
        return plans(value["events"])
    except ConfigError as error:
        raise error.inside(file) from None


class FleetFilePaths:
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


def _one_fleet(file: str) -> FleetFileContents:
    value = read_file(file)
    try:
        return written(value)
    except ConfigError as error:
        raise error.inside(file) from None


def _document(file: str) -> LoadedVms:
    try:
        found = shown(read_file(file))
    except ConfigError as error:
        raise error.inside(file) from None
    return structs.replace(found, remarks=[f"{file}: {remark}" for remark in found.remarks])


def shown(value: object) -> LoadedVms:
    """Return the VM of the plain value of a captured document.

    Raises:
        ConfigError: with the path inside the value.
    """
    # Imported on use: most servers never read one.
    from openimds.interop.transcript.to_vm import captured  # noqa: PLC0415 - see above

    found = captured(value, DEFAULT_VM)
    strange = (
        f"{one} is in no api-version known here and is not served" for one in found.set_aside
    )
    return LoadedVms([found.vm], "document", [*strange, *found.remarks])


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
