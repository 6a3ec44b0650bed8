"""The scheduled events of a test: schedule, start, complete, await, read the document."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Literal, TypeAlias

import msgspec.json

from openimds.errors import ConfigError, Error
from openimds.events.service import EventsService
from openimds.events.writer import PublishedScope
from openimds.facts.events import ANY, EventStatus, Trigger
from openimds.facts.versions import SCHEDULED_EVENTS
from openimds.protocol.events.event import Event, place_of
from openimds.protocol.events.request import EventRequest
from openimds.protocol.events.schedule import read_lines
from openimds.protocol.events.state_machine import TransitionRefusal
from openimds.testing.calls import Facade, awaited, blocking
from openimds.testing.server_thread import RunningServer
from openimds.testing.vms import ACTOR, HasName, entry_of

Which: TypeAlias = Event | str
"""An event, or its id."""
Wanted: TypeAlias = Literal["approved", "started", "gone"]


class EventStateError(Error, AssertionError):
    """An event that has not reached the wanted state."""


class EventJobs:
    """The changes of a server's events, on the server's loop."""

    def __init__(self, running: RunningServer, under_test: str) -> None:
        """Take a running server, and the name of the VM under test."""
        self._running, self._under_test = running, under_test

    async def schedule(  # noqa: PLR0913 - the members of an event
        self,
        event_type: str,
        *vms: HasName | str,
        in_s: float | None = None,
        not_before: datetime | None = None,
        duration_s: int | None = None,
        life_s: float | None = None,
        description: str | None = None,
        source: str | None = None,
        needs: str = ANY,
        is_failure: bool = False,
    ) -> Event:
        """Schedule an event for VMs of one scope, by default for the VM under test.

        Args:
            event_type: Freeze, Reboot, Redeploy, Preempt or Terminate.
            vms: the VMs that it impacts.
            in_s: notice before NotBefore, in seconds; by default Azure's notice for the type.
            not_before: NotBefore itself, with a time zone, instead of `in_s`.
            duration_s: DurationInSeconds shown to guests; -1 is unknown.
            life_s: seconds that it stays listed after its start; -1 is until it is completed.
            description: by default Azure's text for the type.
            source: Platform or User.
            needs: whose approval starts it: `any` VM of the scope, or `all` that it impacts.
            is_failure: the hardware failed: it is Started at once.

        Raises:
            ConfigError: a value that no event can have, an unknown VM, or VMs of two scopes.
        """
        names = tuple(vm if isinstance(vm, str) else vm.name for vm in vms)
        request = EventRequest(
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
        scopes = {place_of(entry_of(self._running, name).vm)[0] for name in request.vms}
        if len(scopes) > 1:
            seen = "VMs of the scopes " + ", ".join(sorted(scopes))
            raise ConfigError("vms", seen, "VMs of one scope", "Schedule an event for each scope")
        return (await self._service.declare(request, ACTOR))[0]

    async def start(self, event: Which) -> Event:
        """Start an event without waiting for approval or NotBefore; return the started event.

        Raises:
            ConfigError: it is already started, cannot be started, or is completed.
        """
        return await self._order(Trigger.START, event)

    async def complete(self, event: Which) -> Event:
        """Complete a started event; as `start`."""
        return await self._order(Trigger.COMPLETE, event)

    async def cancel(self, event: Which) -> Event:
        """Cancel an event that has not started; as `start`."""
        return await self._order(Trigger.CANCEL, event)

    async def approve(self, event: Which) -> Event:
        """Approve an event in the name of the VMs that it impacts; as `start`."""
        return await self._order(Trigger.APPROVED, event)

    async def wait(
        self, event: Which, wanted: Wanted = "approved", timeout_s: float = 10.0
    ) -> None:
        """Wait until an event is approved, started or gone (completed or canceled).

        It waits for changes, without polling. On a virtual clock use `imds.clock.advance` to let
        time pass.

        Raises:
            EventStateError: an AssertionError: the state is not reached in `timeout_s`, or no
                longer reachable.
        """
        problem = await self._await(_id(event), wanted, timeout_s)
        if problem:
            raise EventStateError(problem)

    async def begin(self, lines: list[dict[str, object]], name: str = ACTOR) -> None:
        """Begin a scenario now; a running one of the same name ends.

        Args:
            lines: its events, as under `events` in a fleet file.
            name: its name.

        Raises:
            ConfigError: a malformed line, or an unknown VM.
        """
        await self._service.begin(name, read_lines(lines))

    @property
    def _service(self) -> EventsService:
        return self._running.server.events_service

    async def _order(self, trigger: Trigger, event: Which) -> Event:
        result = await self._service.order(trigger, _id(event), ACTOR)
        if isinstance(result, TransitionRefusal):
            raise ConfigError("imds.events", result.text, "an event in a state that allows this")
        return result

    async def _await(self, event_id: str, wanted: Wanted, timeout_s: float) -> str:
        """Wait for a state; return the problem, or nothing once it is reached."""
        fleet_service, get = self._running.server.fleet_service, self._service.get
        if get(event_id) is None:
            return f"there is no event {event_id}, or it is gone"
        feed = fleet_service.feeds.subscribe()
        try:
            async with asyncio.timeout(timeout_s):
                while (problem := _problem(get(event_id), wanted)) is None:
                    await feed.get()
        except TimeoutError:
            event = get(event_id)
            status = event.status if event else EventStatus.COMPLETED
            return f"{event_id} is not {wanted} after {timeout_s:g} s, it is {status}"
        finally:
            fleet_service.feeds.unsubscribe(feed)
        return problem


class EventReads(Facade[EventJobs]):
    """The events that are not completed; iterating gives the oldest first."""

    def __init__(self, running: RunningServer, under_test: str) -> None:
        """Take a running server, and the name of the VM under test."""
        super().__init__(running, EventJobs(running, under_test))
        self._under_test = under_test

    def get(self, event: Which) -> Event | None:
        """Return the present state of an event, or None if it is completed."""
        return self._running.server.events_service.get(_id(event))

    def __iter__(self) -> Iterator[Event]:
        """Return the events that are not completed."""
        return iter(self._running.server.events_service.events())

    def __len__(self) -> int:
        """Return the number of events that are not completed."""
        return len(self._running.server.events_service.events())

    def document(self, version: str = "2020-07-01", vm: HasName | str = "") -> dict[str, Any]:
        """Return the document that a VM sees now, by default the VM under test.

        Unlike a request, it is not counted and does not activate scheduled events.

        Raises:
            ConfigError: there is no such VM, or no such version.
        """
        versions = [row.name for row in SCHEDULED_EVENTS]
        if version not in versions:
            raise ConfigError("version", f'"{version}"', "one of " + ", ".join(versions))
        name = vm if isinstance(vm, str) else vm.name
        scope, _ = place_of(entry_of(self._running, name or self._under_test).vm)
        writer = self._running.server.events_service.event_writer
        published = writer.scopes.get(scope, PublishedScope())
        document: dict[str, Any] = msgspec.json.decode(published.document(version).body)
        return document


class Events(EventReads):
    """The events that are not completed; iterating gives the oldest first."""

    schedule = blocking(EventJobs.schedule)
    start = blocking(EventJobs.start)
    complete = blocking(EventJobs.complete)
    cancel = blocking(EventJobs.cancel)
    approve = blocking(EventJobs.approve)
    wait = blocking(EventJobs.wait)
    begin = blocking(EventJobs.begin)


class AsyncEvents(EventReads):
    """The events of `AsyncImds`: as `Events`, with changes and waits that are awaited."""

    schedule = awaited(EventJobs.schedule)
    start = awaited(EventJobs.start)
    complete = awaited(EventJobs.complete)
    cancel = awaited(EventJobs.cancel)
    approve = awaited(EventJobs.approve)
    wait = awaited(EventJobs.wait)
    begin = awaited(EventJobs.begin)


def _problem(event: Event | None, wanted: Wanted) -> str | None:
    """Return why a state is unreachable, "" once reached, None while pending."""
    if event is None:
        return "" if wanted == "gone" else f"the event is gone, and was not seen {wanted}"
    has_started = event.status is EventStatus.STARTED
    reached: dict[str, Callable[[], bool]] = {
        "approved": lambda: event.is_approved,
        "started": lambda: has_started,
        "gone": lambda: False,
    }
    if reached[wanted]():
        return ""
    if wanted == "approved" and has_started:
        return f"{event.event_id} has started without approval"
    return None


def _id(event: Which) -> str:
    return event if isinstance(event, str) else event.event_id


def seconds_of(when: datetime) -> float:
    """Return a time in seconds since 1970.

    Raises:
        ConfigError: it has no time zone.
    """
    if when.tzinfo is None:
        raise ConfigError(
            "time", f"{when} without a zone", "a time with its zone", "Write tzinfo=UTC"
        )
    return when.timestamp()
