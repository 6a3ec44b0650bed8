"""A fleet file and the API against a model: edits, patches, removals, restarts and crashes.

The model has the leaves of each VM by their paths. The service merges objects, so that the two have
nothing in common but the rule.
"""

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from openimds.facts.versions import NEWEST, catalog
from openimds.fleet.fleet_files import read_fleet
from openimds.fleet.index import FleetIndex
from openimds.fleet.service import FleetService
from openimds.fleet.store.port import AppliedFile, Change, StoreError, Write
from openimds.fleet.store.sqlite import SqliteStore
from openimds.vm.fleet_file import parse_vm
from openimds.vm.serialize import vm_to_value

T = TypeVar("T")
Leaves = dict[str, Any]
_ID = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
A, B = f"{_ID}/a", f"{_ID}/b"

OF_DEFAULTS: dict[str, list[Any]] = {
    "compute.vmSize": ["S", "T"],
    "compute.tags.env": ["prod", "test"],
    "identities.system": [True],
}
OF_VMS: dict[str, list[Any]] = {
    **OF_DEFAULTS,
    "compute.zone": ["1", "2"],
    "compute.tags.team": ["web", "core"],
    "availabilitySet": ["as-1", "as-2"],
    "identities.user": [[A], [A, B], [B]],
    "identities.details.system.roles": [["r"], ["r", "s"]],
}
OTHER, STAYS = "a", "z"
"""The file always has the second VM: a file without VMs is refused."""
NAMES = st.sampled_from([OTHER, STAYS])


def leaf(paths: dict[str, list[Any]]) -> st.SearchStrategy[tuple[str, Any]]:
    """Return a path with one of its values, or None to take it away."""
    return st.sampled_from(
        [(path, value) for path, values in paths.items() for value in [*values, None]]
    )


def nested(leaves: Leaves) -> dict[str, Any]:
    """Return leaves as members of objects."""
    members: dict[str, Any] = {}
    for path, value in leaves.items():
        *way, last = path.split(".")
        part = members
        for key in way:
            part = part.setdefault(key, {})
        part[last] = value
    return members


def flat(members: dict[str, Any], prefix: str = "") -> Leaves:
    """Return the leaves of an object by their paths."""
    leaves: Leaves = {}
    for key, value in members.items():
        more = flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        leaves |= more
    return leaves


def put_leaf(leaves: Leaves, path: str, value: object) -> None:
    leaves.pop(path, None)
    if value is not None:
        leaves[path] = value


class MortalStore(SqliteStore):
    """Fails before or after the commit of a write when `dies` says so."""

    dies = ""

    def write(
        self, writes: Sequence[Write], who: str, at: str, applied: AppliedFile | None = None
    ) -> list[Change]:
        if self.dies == "before":
            raise StoreError("killed before the commit")
        changes = super().write(writes, who, at, applied)
        if self.dies == "after":
            raise StoreError("killed after the commit")
        return changes


class FleetFileMachine(RuleBasedStateMachine):
    """A server with a state folder, the editor of its file, and its callers."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.loop = asyncio.new_event_loop()
        self.services: list[FleetService] = []
        self.defaults: Leaves = {}
        self.file: dict[str, Leaves] = {STAYS: {}}
        self.taken_out: Leaves = {"compute.zone": "1"}
        self.applied: dict[str, Leaves] = {}
        self.vms: dict[str, Leaves] = {}
        self.origins: dict[str, str] = {}
        self.save()
        self.start()

    @property
    def path(self) -> Path:
        return Path(self.folder.name) / "fleet.json"

    def save(self, *, is_seen: bool = False) -> None:
        """Write the file, and apply it as the watcher does."""
        vms = {name: nested(leaves) for name, leaves in self.file.items()}
        self.path.write_text(json.dumps({"defaults": nested(self.defaults), "vms": vms}))
        if is_seen:
            self.sync()
            self.model_applies()
            assert self.sync() == []

    def run(self, work: Awaitable[T]) -> T:
        return self.loop.run_until_complete(work)

    def open(self) -> None:
        self.index: FleetIndex[Any] = FleetIndex(catalog(NEWEST), 1 << 20)
        self.store = MortalStore(Path(self.folder.name) / "fleet.db")
        self.service = FleetService(self.store, self.index, lambda: 1.7e9, self.open_no_listener)
        self.services.append(self.service)
        self.run(self.service.load(is_last=False))

    async def open_no_listener(self, *_: object) -> None:
        """Open nothing: no VM wants a listener."""

    def start(self) -> None:
        self.open()
        self.sync(is_start=True)
        self.model_applies()

    def sync(self, *, is_start: bool = False) -> list[Change]:
        contents = read_fleet(str(self.path))
        return self.run(
            self.service.sync(contents.vms, "file", "x", is_start=is_start, text=contents.text)
        )

    def model_applies(self) -> None:
        entries = {name: {**self.defaults, **leaves} for name, leaves in self.file.items()}
        for name, entry in entries.items():
            before = self.applied.get(name)
            if entry == before:
                continue
            if name in self.vms:
                for path in OF_VMS:
                    if entry.get(path) != (before or {}).get(path):
                        put_leaf(self.vms[name], path, entry.get(path))
            else:
                self.vms[name], self.origins[name] = dict(entry), "file"
        for name in self.applied.keys() - entries.keys():
            if self.origins.get(name) == "file":
                self.model_removes(name)
        self.applied = entries

    def model_removes(self, name: str) -> None:
        self.vms.pop(name, None)
        self.origins.pop(name, None)

    # The editor of the file.

    @rule(name=NAMES, change=leaf(OF_VMS), is_seen=st.booleans())
    def edit(self, name: str, change: tuple[str, Any], is_seen: bool) -> None:
        put_leaf(self.file.setdefault(name, {}), *change)
        self.save(is_seen=is_seen)

    @rule(change=leaf(OF_DEFAULTS), is_seen=st.booleans())
    def edit_the_defaults(self, change: tuple[str, Any], is_seen: bool) -> None:
        put_leaf(self.defaults, *change)
        self.save(is_seen=is_seen)

    @rule(is_seen=st.booleans())
    def take_out_or_put_back(self, is_seen: bool) -> None:
        if OTHER in self.file:
            self.taken_out = self.file.pop(OTHER)
        else:
            self.file[OTHER] = self.taken_out
        self.save(is_seen=is_seen)

    # The callers of the API.

    @rule(name=NAMES, change=leaf(OF_VMS))
    def patch(self, name: str, change: tuple[str, Any]) -> None:
        stored = self.run(self.service.patch(name, nested(dict([change])), "me"))
        assert (stored is None) == (name not in self.vms)
        if stored:
            put_leaf(self.vms[name], *change)

    @rule(name=NAMES, changes=st.lists(leaf(OF_VMS), max_size=3))
    def put(self, name: str, changes: list[tuple[str, Any]]) -> None:
        leaves: Leaves = {}
        for change in changes:
            put_leaf(leaves, *change)
        self.run(self.service.put(parse_vm(name, nested(leaves)), "me"))
        self.vms[name] = leaves
        self.origins.setdefault(name, "api")

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        assert self.run(self.service.remove(name, "me")) == (name in self.vms)
        self.model_removes(name)

    # The ends of the server.

    @rule(is_killed=st.booleans())
    def restart(self, is_killed: bool) -> None:
        """A killed server closes nothing: every acknowledged change has to be in the file."""
        if not is_killed:
            self.service.close()
            self.services.remove(self.service)
        self.start()

    @rule(name=NAMES, change=leaf(OF_VMS), when=st.sampled_from(["before", "after"]))
    def die_at_a_patch(self, name: str, change: tuple[str, Any], when: str) -> None:
        if name not in self.vms:
            return
        before = self.store.revision()
        self.store.dies = when
        try:
            self.run(self.service.patch(name, nested(dict([change])), "me"))
        except StoreError:
            is_made = when == "after"
        else:  # Nothing had to change and to be written.
            is_made = True
        assert is_made or self.store.revision() == before
        if is_made:
            put_leaf(self.vms[name], *change)
        self.start()

    @rule(when=st.sampled_from(["before", "after"]), is_start=st.booleans())
    def die_at_an_edit(self, when: str, is_start: bool) -> None:
        if is_start:
            self.open()
        self.store.dies = when
        with pytest.raises(StoreError):
            self.sync(is_start=is_start)
        if when == "after":
            self.model_applies()
        self.start()

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "service"):
            return
        served = {name: flat(vm_to_value(entry.vm)) for name, entry in self.index.by_name.items()}
        assert served == self.vms
        rows = self.store.page("", 99)
        assert {row.name: flat(json.loads(row.body)) for row in rows} == self.vms
        assert {row.name: row.origin for row in rows} == self.origins

    def teardown(self) -> None:
        for service in getattr(self, "services", ()):
            service.close()
        if hasattr(self, "loop"):
            self.loop.close()
            self.folder.cleanup()


def test_file_and_api_each_keep_what_they_set() -> None:
    run_state_machine_as_test(
        FleetFileMachine,
        settings=settings(
            max_examples=40,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
