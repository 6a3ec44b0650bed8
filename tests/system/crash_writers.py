"""Writers of the crash test: each knows its acknowledged state, and the change under way.

Their states have rising numbers, so a reader sees whether an older state has come back.
"""

import json
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import httpx2

from openimds.fleet.store.backup import StoreReport, back_up
from tests.support.waiting import until
from tests.system.process import Server

State = TypeVar("State", bound=Hashable)

ADDRESSES = {
    **{f"api-{number}": f"127.0.0.{20 + number}" for number in range(6)},
    **{f"file-{number}": f"127.0.0.{30 + number}" for number in range(2)},
    "ordered": "127.0.0.41",
    "approved": "127.0.0.42",
    "identified": "127.0.0.43",
    "faulty": "127.0.0.44",
}
"""The address of each VM; those without `api-` are in the fleet file."""
INSTANCE = "/metadata/instance/compute?api-version=2021-02-01"
EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"
VERSIONS = "/metadata/versions"
TOKEN = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://a&msi_res_id="
FAR_S = 30 * 86400
"""A notice and a window that no step of the virtual clock in the test reaches."""


class Round:
    """A server, and the moment at which requests may fail because it is killed."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.may_fail = threading.Event()
        self.is_over = threading.Event()
        self.written = threading.Semaphore(0)

    def api(self) -> httpx2.Client:
        return httpx2.Client(
            base_url=self.server.ready["admin"], headers=self.server.authorization, timeout=30
        )

    def guest(self, name: str) -> httpx2.Client:
        transport = httpx2.HTTPTransport(local_address=ADDRESSES[name])
        return httpx2.Client(
            base_url=self.server.url, headers={"Metadata": "true"}, transport=transport, timeout=30
        )


class Writer(Generic[State]):
    """Makes one change after another; `known` is acknowledged, `pending` is under way."""

    kind = ""

    def __init__(self, start: State, seed: int) -> None:
        self.known, self.pending = start, start
        self.random = random.Random(seed)
        self.number = 0
        self.acknowledged: Counter[str] = Counter()
        self.revision = 0
        self.round: Round
        self.api = httpx2.Client()

    def open(self, now: Round) -> None:
        """Use this server from now on."""
        self.close()
        self.round, self.api = now, now.api()

    def close(self) -> None:
        self.api.close()

    def choose(self) -> tuple[State, str]:
        """Return a next state, and the kind of the change."""
        raise NotImplementedError

    def send(self, after: State) -> None:
        """Change the server's state to this one; return when it is acknowledged."""
        raise NotImplementedError

    def observe(self) -> State:
        """Read the state from the server."""
        raise NotImplementedError

    def write_until_the_end(self) -> None:
        """Make changes until the server ends."""
        try:
            while not self.round.is_over.is_set():
                self.pending, kind = self.choose()
                self.send(self.pending)
                self.known = self.pending
                self.acknowledged[kind] += 1
                self.round.written.release()
        except httpx2.HTTPError:
            assert self.round.may_fail.is_set()
        finally:
            self.round.written.release(1000)

    def check(self) -> None:
        """Compare the server with the acknowledged state, and go on from it."""
        found = self.observe()
        assert found in (self.known, self.pending), (self.kind, found, self.known, self.pending)
        self.known = self.pending = found

    def next_number(self) -> int:
        self.number += 1
        return self.number

    def change(self, method: str, path: str, body: object = None) -> Any:
        """Send a change, and return the decoded answer."""
        found = self.api.request(method, path, json=body).raise_for_status()
        return found.json() if found.content else None

    def vm(self, name: str) -> dict[str, Any] | None:
        """Return a VM of the admin API."""
        found = self.api.get(f"/v1/vms/{name}")
        if found.status_code == 404:
            return None
        vm: dict[str, Any] = found.raise_for_status().json()
        self.revision = max(self.revision, vm["revision"])
        return vm


class ApiVms(Writer[tuple[int, ...]]):
    """Puts, patches and removes VMs by the API: the number of each, or 0."""

    kind = "VM"

    def __init__(self, names: tuple[str, ...], seed: int) -> None:
        super().__init__((0,) * len(names), seed)
        self.names = names

    def choose(self) -> tuple[tuple[int, ...], str]:
        which = self.random.randrange(len(self.names))
        is_removal = self.known[which] and self.random.random() < 0.3
        number = 0 if is_removal else self.next_number()
        kind = "removal" if is_removal else "patch" if self.known[which] else "put"
        if kind == "patch" and self.random.random() < 0.5:
            kind = "put"
        self._method = kind
        return (*self.known[:which], number, *self.known[which + 1 :]), kind

    def send(self, after: tuple[int, ...]) -> None:
        (which,) = (i for i, number in enumerate(after) if number != self.known[i])
        path, address = f"/v1/vms/{self.names[which]}", ADDRESSES[self.names[which]]
        if self._method == "removal":
            self.change("DELETE", path)
            return
        body: dict[str, Any] = {"compute": {"vmSize": f"n{after[which]}"}}
        if self._method == "put":
            body["reach"] = {"address": [address]}
        vm = self.change("PUT" if self._method == "put" else "PATCH", path, body)
        self.revision = vm["revision"]

    def observe(self) -> tuple[int, ...]:
        return tuple(number_of(self.vm(name)) for name in self.names)

    def check(self) -> None:
        super().check()
        for name, number in zip(self.names, self.known, strict=True):
            assert size_of_guest(self.round, name) == (f"n{number}" if number else "")


class FileEdits(Writer[tuple[int, ...]]):
    """Replaces the fleet file: the number of each of its VMs that change."""

    kind = "file"
    names = tuple(name for name in ADDRESSES if name.startswith("file-"))

    def __init__(self, path: Path, seed: int) -> None:
        super().__init__((0,) * len(self.names), seed)
        self.path, self.written = path, self.known
        self._write(self.known)

    def _write(self, numbers: tuple[int, ...]) -> None:
        vms: dict[str, Any] = {
            name: {"reach": {"address": [address]}}
            for name, address in ADDRESSES.items()
            if not name.startswith("api-")
        }
        for name, number in zip(self.names, numbers, strict=True):
            vms[name]["compute"] = {"vmSize": f"n{number}"}
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps({"vms": vms}))
        new.rename(self.path)
        self.written = numbers

    def choose(self) -> tuple[tuple[int, ...], str]:
        which = self.random.randrange(len(self.names))
        return (*self.known[:which], self.next_number(), *self.known[which + 1 :]), "file edit"

    def send(self, after: tuple[int, ...]) -> None:
        self._write(after)
        until(lambda: self.observe() == after or self.round.is_over.is_set())
        if self.observe() != after:
            raise httpx2.ReadError("the server ended first")

    def observe(self) -> tuple[int, ...]:
        return tuple(number_of(self.vm(name)) for name in self.names)

    def check(self) -> None:
        # A file outlives every server: its text is served, acknowledged or not.
        until(lambda: self.observe() == self.written)
        super().check()
        for name, number in zip(self.names, self.known, strict=True):
            assert size_of_guest(self.round, name) == f"n{number}"


class TagsOfFileVms(Writer[tuple[int, ...]]):
    """Patches tags of the VMs of the fleet file by the API."""

    kind = "tags"
    names = FileEdits.names

    def __init__(self, seed: int) -> None:
        super().__init__((0,) * len(self.names), seed)

    def choose(self) -> tuple[tuple[int, ...], str]:
        which = self.random.randrange(len(self.names))
        after = (*self.known[:which], self.next_number(), *self.known[which + 1 :])
        return after, "patch of a VM of the file"

    def send(self, after: tuple[int, ...]) -> None:
        (which,) = (i for i, number in enumerate(after) if number != self.known[i])
        body = {"compute": {"tags": {"number": str(after[which])}}}
        self.revision = self.change("PATCH", f"/v1/vms/{self.names[which]}", body)["revision"]

    def observe(self) -> tuple[int, ...]:
        vms = [self.vm(name) for name in self.names]
        assert all(vms)
        return tuple(int(vm["compute"].get("tags", {}).get("number", 0)) for vm in vms if vm)


class Identities(Writer[int]):
    """Replaces the user-assigned identity of a VM."""

    kind = "identity"

    def choose(self) -> tuple[int, str]:
        return self.next_number(), "identity"

    def send(self, after: int) -> None:
        self.change("PATCH", "/v1/vms/identified", {"identities": {"user": [identity(after)]}})

    def observe(self) -> int:
        vm = self.vm("identified")
        assert vm
        user = vm.get("identities", {}).get("user", [])
        return int(re.findall(r"\d+$", user[0])[0]) if user else 0

    def check(self) -> None:
        super().check()
        with self.round.guest("identified") as guest:
            if self.known:
                guest.get(TOKEN + identity(self.known)).raise_for_status()
            assert guest.get(TOKEN + identity(self.known - 1)).status_code == 400


class Faults(Writer[frozenset[int]]):
    """Sets and clears faults of one VM."""

    kind = "fault"
    most = 20

    def __init__(self, seed: int) -> None:
        super().__init__(frozenset(), seed)

    def choose(self) -> tuple[frozenset[int], str]:
        if self.known and (len(self.known) == self.most or self.random.random() < 0.5):
            return self.known - {self.random.choice(sorted(self.known))}, "fault cleared"
        return self.known | {self.next_number()}, "fault set"

    def send(self, after: frozenset[int]) -> None:
        for number in after - self.known:
            fault = {"effect": "status", "status": 410, "endpoint": "versions", "vms": ["faulty"]}
            self.change("POST", "/v1/faults", {**fault, "until_s": FAR_S + number})
        for number in self.known - after:
            self.change("DELETE", f"/v1/faults/{self._ids()[number]}")

    def _ids(self) -> dict[int, str]:
        items = self.api.get("/v1/faults").raise_for_status().json()["items"]
        return {int(fault["untilS"]) - FAR_S: fault["id"] for fault in items}

    def observe(self) -> frozenset[int]:
        return frozenset(self._ids())

    def check(self) -> None:
        super().check()
        with self.round.guest("faulty") as guest:
            assert guest.get(VERSIONS).status_code == (410 if self.known else 200)


class VirtualClock(Writer[int]):
    """Sets the virtual clock ahead, by whole seconds."""

    kind = "clock"

    def choose(self) -> tuple[int, str]:
        return self.known + 1, "clock"

    def send(self, after: int) -> None:
        self.change("POST", "/v1/clock", {"offset_s": after})

    def observe(self) -> int:
        offset_s: float = self.api.get("/v1/clock").raise_for_status().json()["offsetS"]
        return round(offset_s)


class OrderedEvents(Writer[tuple[tuple[int, str], ...]]):
    """Declares events of one VM, and orders their transitions by the API."""

    kind = "event"
    vm_name = "ordered"
    moves: ClassVar = {"Scheduled": ("start", "cancel"), "Started": ("complete",)}

    def __init__(self, seed: int) -> None:
        super().__init__((), seed)
        self.guest = httpx2.Client()

    def open(self, now: Round) -> None:
        super().open(now)
        self.guest = now.guest(self.vm_name)

    def close(self) -> None:
        super().close()
        self.guest.close()

    def choose(self) -> tuple[tuple[tuple[int, str], ...], str]:
        if not self.known or (len(self.known) < 4 and self.random.random() < 0.4):
            return (*self.known, (self.next_number(), "Scheduled")), "event declared"
        number, status = self.random.choice(self.known)
        self._move = self.random.choice(self.moves[status])
        after = dict(self.known)
        del after[number]
        if self._move in ("start", "approve"):
            after[number] = "Started"
        return tuple(sorted(after.items())), f"event: {self._move}"

    def send(self, after: tuple[tuple[int, str], ...]) -> None:
        new = dict(after).keys() - dict(self.known).keys()
        for number in new:
            body = {"type": "Reboot", "vms": [self.vm_name], "inS": FAR_S, "lifeS": -1}
            self.change("POST", "/v1/events", {**body, "description": f"n{number}"})
        if not new:
            ((number, _),) = set(self.known) - (set(after) & set(self.known))
            self.move(self._ids()[number])

    def move(self, event_id: str) -> None:
        self.change("POST", f"/v1/events/{event_id}/{self._move}")

    def _events(self) -> list[dict[str, Any]]:
        found = self.api.get("/v1/events", params={"vm": self.vm_name, "limit": "1000"})
        items: list[dict[str, Any]] = found.raise_for_status().json()["items"]
        return items

    def _ids(self) -> dict[int, str]:
        return {int(event["description"][1:]): event["id"] for event in self._events()}

    def observe(self) -> tuple[tuple[int, str], ...]:
        events = self._events()
        return tuple(sorted((int(one["description"][1:]), one["status"]) for one in events))

    def check(self) -> None:
        super().check()
        document = self.guest.get(EVENTS).raise_for_status().json()
        shown = ((int(e["Description"][1:]), e["EventStatus"]) for e in document["Events"])
        assert tuple(sorted(shown)) == self.known


class ApprovedEvents(OrderedEvents):
    """Declares events of one VM, which approves them itself."""

    kind = "approval"
    vm_name = "approved"
    moves: ClassVar = {"Scheduled": ("approve",), "Started": ("complete",)}

    def move(self, event_id: str) -> None:
        if self._move != "approve":
            super().move(event_id)
            return
        body = {"StartRequests": [{"EventId": event_id}]}
        self.guest.post(EVENTS, json=body).raise_for_status()


class Guests:
    """Ask for documents all the time; no answer may be older than one before."""

    def __init__(self) -> None:
        self.newest: dict[str, tuple[int, int]] = {}
        self.is_absent: set[str] = set()
        self.events: dict[str, dict[str, Any]] = {}
        self.asked = 0
        self.round: Round

    def ask_until_the_end(self, now: Round) -> None:
        """Ask in turns until the round is over."""
        guests = {name: now.guest(name) for name in ADDRESSES}
        try:
            while not now.is_over.is_set():
                for name, guest in guests.items():
                    if name.startswith(("api-", "file-")):
                        self.look(name, guest.get(INSTANCE))
                    elif name in ("ordered", "approved"):
                        self.look_at_events(name, guest.get(EVENTS).raise_for_status().json())
                    self.asked += 1
        finally:
            for guest in guests.values():
                guest.close()

    def look(self, name: str, answer: httpx2.Response) -> None:
        if answer.status_code != 200:
            assert name.startswith("api-"), (name, answer.text)
            self.is_absent.add(name)
            return
        compute = answer.json()
        tags = {tag["name"]: tag["value"] for tag in compute["tagsList"]}
        seen = (int(compute["vmSize"][1:]), int(tags.get("number", 0)))
        newest = self.newest.get(name, (0, 0))
        assert min(now - before for now, before in zip(seen, newest, strict=True)) >= 0, name
        # A removed VM comes back as a newer one alone.
        assert name not in self.is_absent or seen > newest, (name, seen, newest)
        self.is_absent.discard(name)
        self.newest[name] = seen

    def look_at_events(self, name: str, document: dict[str, Any]) -> None:
        before = self.events.get(name, document)
        assert document["DocumentIncarnation"] >= before["DocumentIncarnation"], name
        if document["DocumentIncarnation"] == before["DocumentIncarnation"]:
            assert document == before
        self.events[name] = document


class Backups:
    """Back up the store while it is written."""

    def __init__(self, store: Path, into: Path) -> None:
        self.store, self.into, self.made = store, into, 0
        self.least = 0
        self.report: StoreReport | None = None

    def back_up(self, revision: Callable[[], int]) -> None:
        """Make a backup; `revision` returns the last acknowledged one."""
        self.into.unlink(missing_ok=True)
        self.least, self.report = revision(), None
        self.report = back_up(self.store, self.into)
        self.made += 1

    def check(self) -> None:
        """Check that the backup has all that was acknowledged before it began."""
        assert self.report
        assert self.report.change >= self.least
        assert not self.report.damage


def number_of(vm: dict[str, Any] | None) -> int:
    """Return the number in the size of a VM, or 0 for none."""
    return int(vm["compute"]["vmSize"][1:]) if vm else 0


def size_of_guest(now: Round, name: str) -> str:
    """Return the size that a VM is shown, or nothing for an unknown caller."""
    with now.guest(name) as guest:
        found = guest.get(INSTANCE)
    return str(found.json()["vmSize"]) if found.status_code == 200 else ""


def identity(number: int) -> str:
    """Return the id of a user-assigned identity."""
    return (
        "/subscriptions/8d10da13-8125-4ba9-a717-bf7490507b3d/resourceGroups/lab/providers/"
        f"Microsoft.ManagedIdentity/userAssignedIdentities/id-{number}"
    )
