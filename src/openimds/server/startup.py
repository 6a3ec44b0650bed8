"""The input of a server: checked settings, and the contents of their files."""

from collections.abc import Iterable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from openimds.credentials.entra.client import ENTRA_UNCONFIGURED
from openimds.events.scenario import read_scenario
from openimds.fleet.fleet_files import fingerprint, gc_paused, read_document, read_fleet
from openimds.fleet.store.port import DEFAULT
from openimds.parameters import old_names, old_names_notice
from openimds.protocol.events.schedule import RecurringEvent
from openimds.protocol.faults.fault import FaultSpec
from openimds.server.settings_check import check, notices
from openimds.settings import Settings
from openimds.vm.file_entries import EntryDigests
from openimds.vm.identities import needs_entra
from openimds.vm.types import Vm


class Startup(Struct, frozen=True):
    """Settings and the file contents that a server starts from.

    `vms` is None where no file names any: then the store's VMs are served, else the default VM.
    `Server.start` empties the list, for the store and the index hold VMs packed: 100,000 unpacked
    ones weigh 200 MB. `origin` is their owner in the store, `source` the path of their file, and
    `fingerprint` that of the file's text before it was read, `text` the digest of its contents as
    read, `entries` those of its entries. `homes` are those of the fleet index.
    """

    settings: Settings
    vms: list[Vm] | None = None
    origin: str = DEFAULT
    source: str = ""
    fingerprint: bytes = b""
    events: tuple[RecurringEvent, ...] = ()
    faults: tuple[FaultSpec, ...] = ()
    notices: tuple[str, ...] = ()
    homes: dict[str, str] = {}
    text: bytes = b""
    entries: EntryDigests | None = None


def load(settings: Settings) -> Startup:
    """Check the settings against each other, and read the files that they name.

    Raises:
        ConfigError: settings exclude each other, or a file cannot be read or does not fit.
    """
    check(settings)
    with gc_paused():
        if settings.fleet:
            startup = _from_fleet(settings)
        elif settings.document:
            startup = _from_document(settings)
        else:
            startup = Startup(settings)
        with old_names() as found:
            events = read_scenario(settings.scenario) if settings.scenario else ()
    old = [f"{settings.scenario}: {old_names_notice(found)}"] if found else []
    return replace(
        startup,
        events=startup.events + events,
        notices=(
            *startup.notices,
            *old,
            *_entra_notices(startup.vms or (), settings),
            *notices(settings),
        ),
    )


def with_settings(startup: Startup, **changes: Any) -> Startup:  # noqa: ANN401 - of any setting
    """Return the input with other values of settings; files are not read again."""
    return replace(startup, settings=replace(startup.settings, **changes))


def _from_fleet(settings: Settings) -> Startup:
    seen = fingerprint(settings.fleet)  # Before reading: an edit in between is seen as one.
    contents = read_fleet(settings.fleet)
    return Startup(
        settings,
        contents.vms,
        "file",
        settings.fleet,
        seen,
        contents.events,
        contents.faults,
        notices=(contents.notice,) if contents.notice else (),
        text=contents.text,
        entries=contents.entries,
    )


def _from_document(settings: Settings) -> Startup:
    document = read_document(settings.document)
    return Startup(
        settings,
        [document.vm],
        "document",
        settings.document,
        notices=tuple(f"{settings.document}: {notice}" for notice in document.notices),
    )


def _entra_notices(vms: Iterable[Vm], settings: Settings) -> list[str]:
    """Return a message if VMs need tokens of Entra and none can be had."""
    return [] if settings.entra or not any(map(needs_entra, vms)) else [ENTRA_UNCONFIGURED]
