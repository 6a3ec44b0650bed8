"""The scheduled events of a test: declared, moved on, waited for, and as guests see them."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Literal, TypeAlias

import msgspec.json

from openimds.errors import ConfigError
from openimds.events.writer import PublishedScope
from openimds.facts.events import ANY, EventStatus, Trigger
from openimds.facts.versions import SCHEDULED_EVENTS
from openimds.protocol.events.event import Event, place_of
from openimds.protocol.events.request import EventRequest
from openimds.protocol.events.schedule import read_lines
from openimds.protocol.events.state_machine import TransitionRefusal
from openimds.server.server import Server
from openimds.testing.server_thread import ServerThread
from openimds.testing.vms import WHO, Subject, Vms

Which: TypeAlias = Event | str
"""An event, or its id."""
Wanted: TypeAlias = Literal["approved", "started", "gone"]


class Events:
    """The events that are not gone, by id. Iterating gives them, oldest declaration first."""

    def __init__(self, stage: ServerThread, server: Server, vms: Vms, under_test: str) -> None:
        """Stand before the agenda of a server."""
        self._stage, self._server = stage, server
        self._vms, self._under_test = vms, under_test

    def schedule(  # noqa: PLR0913 - what can be said of an event
        self,
        event_type: str,
        *vms: Subject | str,
        in_s: float | None = None,
        not_before: datetime | None = None,
        duration_s: int | None = None,
        life_s: float | None = None,
        description: str | None = None,
        source: str | None = None,
        needs: str = ANY,
        is_failure: bool = False,
    ) -> Event:
        """Declare an event for VMs of one scope, by default for the VM under test.

        Args:
            event_type: Freeze, Reboot, Redeploy, Preempt or Terminate.
            vms: those that it hits.
            in_s: seconds until NotBefore; by default Azure's notice for the type.
            not_before: NotBefore itself, with a time zone, instead of `in_s`.
            duration_s: what is announced; -1 is unknown.
            life_s: from Started until it is gone; -1 is until it is completed.
            description: by default what Azure says of the type.
            source: Platform or User.
            needs: whose approval starts it: `any` VM of the scope, or `all` that it hits.
            is_failure: the hardware failed: it is Started at once.

        Raises:
            ConfigError: what cannot be an event, a VM that is not there, or VMs of two scopes.
        """
        __tracebackhide__ = True
        names = tuple(one if isinstance(one, str) else one.name for one in vms)
        wish = EventRequest(
            event_type,
            names or (self._under_test,),
            in_s,
            None if not_before is None else seconds_of(not_before),
            duration_s,
            life_s,
            description,
            source,
            needs,
            is_failure,
        )
        scopes = {place_of(self._vms.entry(name).vm)[0] for name in wish.vms}
        if len(scopes) > 1:
            seen = "VMs of the scopes " + ", ".join(sorted(scopes))
            raise ConfigError("vms", seen, "VMs of one scope", "Schedule an event for each scope")
        return self._stage.do(self._server.events_service.declare(wish, WHO))[0]

    def start(self, event: Which) -> Event:
        """Start an event without waiting for approval or NotBefore; return it as it is then.

        Raises:
            ConfigError: it has started before, only advises, or is gone.
        """
        __tracebackhide__ = True
        return self._order(Trigger.START, event)

    def complete(self, event: Which) -> Event:
        """End an event that has started; as `start`."""
        __tracebackhide__ = True
        return self._order(Trigger.COMPLETE, event)

    def cancel(self, event: Which) -> Event:
        """Take back an event that has not started; as `start`."""
        __tracebackhide__ = True
        return self._order(Trigger.CANCEL, event)

    def approve(self, event: Which) -> Event:
        """Approve an event in the name of the VMs that it hits; as `start`."""
        __tracebackhide__ = True
        return self._order(Trigger.APPROVED, event)

    def get(self, event: Which) -> Event | None:
        """Return an event as it is now, or None if it is gone."""
        return self._server.events_service.get(_id(event))

    def __iter__(self) -> Iterator[Event]:
        """Return the events that are not gone."""
        return iter(self._server.events_service.events())

    def __len__(self) -> int:
        """Return how many are not gone."""
        return len(self._server.events_service.events())

    def wait(self, event: Which, wanted: Wanted = "approved", timeout_s: float = 10.0) -> None:
        """Wait until an event is approved, has started or is gone; it is told, nothing is polled.

        Time that has to pass on a virtual clock is for `imds.clock.advance`.

        Raises:
            AssertionError: it has not come in `timeout_s`, or cannot come any more.
        """
        __tracebackhide__ = True
        said = self._stage.do(self._await(_id(event), wanted, timeout_s))
        if said:
            raise AssertionError(said)

    def document(self, version: str = "2020-07-01", vm: Subject | str = "") -> dict[str, Any]:
        """Return the document that a VM sees now, by default the VM under test.

        Unlike a request it counts nowhere and activates nothing.

        Raises:
            ConfigError: there is no such VM, or no such version.
        """
        known = [row.name for row in SCHEDULED_EVENTS]
        if version not in known:
            raise ConfigError("version", f'"{version}"', "one of " + ", ".join(known))
        name = vm if isinstance(vm, str) else vm.name
        scope, _ = place_of(self._vms.entry(name or self._under_test).vm)
        shown = self._server.events_service.event_writer.scopes.get(scope, PublishedScope())
        found: dict[str, Any] = msgspec.json.decode(shown.document(version).body)
        return found

    def begin(self, lines: list[dict[str, object]], name: str = WHO) -> None:
        """Begin a scenario now: lines as under `events` in a fleet file; one of its name ends.

        Raises:
            ConfigError: a line that does not fit, or names a VM that is not there.
        """
        __tracebackhide__ = True
        self._stage.do(self._server.events_service.begin(name, read_lines(lines)))

    def _order(self, trigger: Trigger, event: Which) -> Event:
        __tracebackhide__ = True
        found = self._stage.do(self._server.events_service.order(trigger, _id(event), WHO))
        if isinstance(found, TransitionRefusal):
            raise ConfigError("imds.events", found.text, "an event that can be moved so")
        return found

    async def _await(self, event_id: str, wanted: Wanted, timeout_s: float) -> str:
        """Wait, and return what is wrong, if anything."""
        fleet_service, get = self._server.fleet_service, self._server.events_service.get
        if get(event_id) is None:
            return f"there is no event {event_id}, or not any more"
        feed = fleet_service.subscribe()
        try:
            async with asyncio.timeout(timeout_s):
                while (said := _still(get(event_id), wanted)) is None:
                    await feed.get()
        except TimeoutError:
            now = get(event_id)
            status = now.status if now else EventStatus.COMPLETED
            return f"{event_id} is not {wanted} after {timeout_s:g} s, it is {status}"
        finally:
            fleet_service.unsubscribe(feed)
        return said


def _still(event: Event | None, wanted: Wanted) -> str | None:
    """Return nothing to say once it has come, why it cannot come, or None while it may."""
    if event is None:
        return "" if wanted == "gone" else f"the event is gone, and was not seen {wanted}"
    has_started = event.status is EventStatus.STARTED
    come: dict[str, Callable[[], bool]] = {
        "approved": lambda: event.is_approved,
        "started": lambda: has_started,
        "gone": lambda: False,
    }
    if come[wanted]():
        return ""
    if wanted == "approved" and has_started:
        return f"{event.event_id} has started without approval"
    return None


def _id(event: Which) -> str:
    return event if isinstance(event, str) else event.event_id


def seconds_of(when: datetime) -> float:
    """Return a time in seconds since 1970.

    Raises:
        ConfigError: it has no time zone, so nobody knows when it is.
    """
    if when.tzinfo is None:
        raise ConfigError(
            "time", f"{when} without a zone", "a time with its zone", "Write tzinfo=UTC"
        )
    return when.timestamp()
