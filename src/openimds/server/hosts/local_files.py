"""The files by which a host shows its VMs and its standing on its machine.

Both lie in the state folder, and are whole or absent. `vms.json` is a fleet file with the
interfaces and addresses of the VMs alone, for `openimds host up` and `host follow`: these run as
another user, who may change the network. `follow.json` is for `openimds host status`.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Protocol

import msgspec.json
from msgspec import Struct, field
from msgspec.structs import replace

from openimds import private_files
from openimds.errors import ConfigError
from openimds.linux.host.bindings import binding_of
from openimds.linux.host.bound_file import bound_digest, fleet_digest
from openimds.log.events import LOCAL_FILES_TROUBLE
from openimds.server.notify import Notify
from openimds.vm.names import is_name
from openimds.vm.types import Vm

VMS_NAME = "vms.json"
FOLLOW_NAME = "follow.json"
WRITE_S = 1.0
"""The shortest time between two writes of a file."""
REFRESH_S = 5.0
"""The longest time between two writes of the standing, which has the time of the last message."""
STALE_S = 15.0
"""A standing that is older is that of a host that has ended, or cannot write."""
_UNBOUND = "the host rules do not bind it yet; openimds host follow does within seconds"
MOST_REFUSED = 100
"""So many refused VMs stand in the file; the next ones are left out."""


class LocalVms:
    """The VMs of a host that have an interface, as entries of a fleet file."""

    def __init__(self) -> None:
        """Begin without VMs."""
        self._entries: dict[str, bytes] = {}
        """The members of the file in JSON, each with its name."""
        self._unbound: dict[str, int] = {}
        """The VMs that the rules may not bind yet, with the number of their last change."""
        self.changes = 0
        """Grows with each change."""
        self.bound: Callable[[], str | None] = lambda: None
        """Returns the digest of the file that host rules bind, or None if none bind it."""

    def put(self, vms: Iterable[Vm]) -> None:
        """Put VMs; one whose interface or addresses cannot be bound is left out."""
        for vm in vms:
            entry = _entry(vm)
            if entry != self._entries.get(vm.name):
                self._forget(vm.name)
                self.changes += 1
                if entry:
                    self._entries[vm.name] = entry
                    self._unbound[vm.name] = self.changes

    def leave(self, names: Collection[str]) -> None:
        """Leave out VMs."""
        for name in names:
            self.changes += self._forget(name)

    def _forget(self, name: str) -> bool:
        self._unbound.pop(name, None)
        return self._entries.pop(name, None) is not None

    def note_bound(self, changes: int) -> None:
        """Note that the host rules bind the VMs as they were after so many changes."""
        self._unbound = {name: last for name, last in self._unbound.items() if last > changes}

    def unbound(self) -> dict[str, str]:
        """Return the VMs that the host rules do not bind yet, with the reason.

        Where no rules bind the file, nobody waits for them.
        """
        has_rules = bool(self._unbound) and self.bound() is not None
        return dict.fromkeys(self._unbound, _UNBOUND) if has_rules else {}

    def to_bytes(self) -> bytes:
        """Return the VMs as a fleet file in JSON.

        Each was encoded when it was put: one encoding of 10,000 VMs would delay guests by 12 ms.
        """
        members = [self._entries[name] for name in sorted(self._entries)]
        return b'{"vms":{' + b",".join(members) + b"}}"


def _entry(vm: Vm) -> bytes | None:
    """Return the member of a VM in JSON; None without a usable interface or name."""
    if not vm.reach.interface or not is_name(vm.name):
        return None
    try:
        bound = binding_of(vm)
    except ConfigError:
        return None
    reach = {"interface": bound.interface, "mac": bound.mac, "address": list(bound.addresses)}
    entry = msgspec.json.encode({"kind": vm.kind, "reach": reach}, order="sorted")
    return msgspec.json.encode(vm.name) + b":" + entry


NO_VMS = LocalVms().to_bytes()
"""The file of a host without VMs that have an interface."""


class FollowState(Struct):
    """The standing of a host: what it follows, and when it last had a message.

    Times are those of the steady clock; `revision` is -1 before the first comparison has ended.
    `epoch` is the highest one of the lease of `store` by which a control has led that this host
    followed. `refused` are the VMs that the host could not take, with the reasons.
    """

    control: str = ""
    store: str = ""
    epoch: int = 0
    revision: int = -1
    store_age_s: float = 0.0
    last_s: float = float("-inf")
    connections: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    reason: str = "control was not reached yet"


class FollowReport(Struct, frozen=True, rename="camel"):
    """The standing of a host; times in seconds since 1970.

    `reason` tells why no control is followed, or is empty. `refused` are the VMs that the host
    could not take, with the reasons. `leaves_end_s` is the first end of a leaf that signs attested
    documents, None without one; `leaf_failure` tells why control certified none at the last
    request, or is empty. `store` and `epoch` are as in `FollowState`.
    """

    name: str
    control: str
    reason: str
    store: str
    revision: int
    vms: int
    refused: dict[str, str]
    certificate_ends_s: float
    last_message_s: float | None
    written_s: float
    leaves_end_s: float | None = None
    leaf_failure: str = ""
    epoch: int = 0

    def state(self) -> FollowState:
        """Return the state with which a host begins that wrote this before it ended."""
        return FollowState(store=self.store, epoch=self.epoch)


def read_report(folder: Path) -> FollowReport | None:
    """Return the standing in a state folder, or None where no host has written one.

    Raises:
        ConfigError: the file cannot be read.
    """
    path = folder / FOLLOW_NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=FollowReport)
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(str(path), reason, "a file that can be read") from None
    except msgspec.MsgspecError as error:
        hint = "openimds host run writes it anew"
        raise ConfigError(str(path), str(error), "the standing of a host", hint) from None


class FollowingHost(Protocol):
    """A host as its files show it."""

    state: FollowState
    local_vms: LocalVms
    caught_up: asyncio.Event

    @property
    def vm_count(self) -> int:
        """The number of VMs that it shows."""
        ...

    def silent_s(self) -> float:
        """Return the time since the last message of a control."""
        ...

    def note_bound(self) -> None:
        """Tell control which VMs the host rules do not bind yet, where that has changed."""
        ...


class DocumentLeaves(Protocol):
    """The leaves that sign a host's attested documents."""

    failure: str

    def ends_s(self) -> float | None:
        """Return the first end of a leaf in seconds since 1970; None without one."""
        ...


class LocalFiles:
    """Writes both files where they have changed."""

    def __init__(  # noqa: PLR0913, PLR0917 - a host, and the world around it
        self,
        folder: Path,
        name: str,
        follower: FollowingHost,
        leaves: DocumentLeaves,
        ends_s: Callable[[], float],
        utc: Callable[[], float],
        notify: Notify,
    ) -> None:
        """Write the standing of a follower; `ends_s` is the end of the host's certificate."""
        self._folder, self._name, self._follower = folder, name, follower
        self._leaves = leaves
        self._ends_s, self._utc, self._notify = ends_s, utc, notify
        self._changes, self._digest = -1, ""
        follower.local_vms.bound = lambda: bound_digest(folder / VMS_NAME)
        self._report: FollowReport | None = None
        self._failure = ""

    async def run(self) -> None:
        """Write for ever, each file at most once a second."""
        while True:
            await self.write()
            await asyncio.sleep(WRITE_S)

    async def write(self) -> None:
        """Write what has changed; a failure is reported when it begins.

        Guests are served on, also after an internal error.
        """
        try:
            try:
                await self._write_changed()
            finally:
                self._look_at_rules()
        except OSError as error:
            failure = f"{self._folder}: {(error.strerror or str(error)).lower()}"
        except Exception as error:  # noqa: BLE001 - the next round tries again
            failure = f"internal error: {error!r}; please report it"
        else:
            failure = ""
        if failure and failure != self._failure:
            self._notify(
                LOCAL_FILES_TROUBLE.message(
                    f"the files for openimds host are not written ({failure})"
                )
            )
        self._failure = failure

    async def _write_changed(self) -> None:
        report = self.report()
        if self._is_due(report):
            await self._save(FOLLOW_NAME, msgspec.json.encode(report))
            self._report = report
        vms = self._follower.local_vms
        # Before the first comparison it does not know its VMs: that is not none.
        if self._follower.caught_up.is_set() and vms.changes != self._changes:
            changes, text = vms.changes, vms.to_bytes()
            await self._save(VMS_NAME, text)
            self._changes, self._digest = changes, fleet_digest(text)

    def _look_at_rules(self) -> None:
        """Compare the file of the VMs with the one that the host rules bind."""
        vms = self._follower.local_vms
        if vms.bound() == self._digest:
            vms.note_bound(self._changes)
        self._follower.note_bound()

    def report(self) -> FollowReport:
        """Return the standing at this moment."""
        state, now_s = self._follower.state, self._utc()
        last_message_s = now_s - self._follower.silent_s() if state.connections else None
        refused = dict(sorted(state.refused.items())[:MOST_REFUSED])
        return FollowReport(
            name=self._name,
            control=state.control,
            reason=state.reason,
            store=state.store,
            epoch=state.epoch,
            revision=state.revision,
            vms=self._follower.vm_count,
            refused=refused,
            certificate_ends_s=self._ends_s(),
            last_message_s=last_message_s,
            written_s=now_s,
            leaves_end_s=self._leaves.ends_s(),
            leaf_failure=self._leaves.failure,
        )

    def _is_due(self, report: FollowReport) -> bool:
        before = self._report
        if before is None or report.written_s - before.written_s >= REFRESH_S:
            return True
        return before != replace(
            report, last_message_s=before.last_message_s, written_s=before.written_s
        )

    async def _save(self, name: str, text: bytes) -> None:
        await asyncio.to_thread(private_files.write, self._folder / name, text)
