"""The composition root of the control role, in one function from top to bottom."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from typing import Any, Protocol

from openimds.admin.failed_tokens import FailedTokens
from openimds.events.clock import Clock
from openimds.events.service import EventsService
from openimds.events.webhook import Webhook, delivery
from openimds.events.writer import PublishedScope
from openimds.faults import FaultInjector, FaultService
from openimds.faults.injector import FaultCounts
from openimds.fleet.index import FleetIndex, IndexUpdate
from openimds.fleet.pruner import Pruner
from openimds.fleet.service import FleetService
from openimds.fleet.store.history import HistoryBounds
from openimds.fleet.store.port import Store
from openimds.protocol.events.document import ScopeActivity
from openimds.protocol.faults.fault import FaultSpec
from openimds.server.admin_ports import AdminPorts
from openimds.server.control import Control
from openimds.server.fault_checks import FaultChecks
from openimds.server.host_access import HostAccess
from openimds.server.notify import Notify
from openimds.server.startup import Startup


class HostLink(HostAccess, Protocol):
    """A host, as the parts of control change it: in this process, or in another.

    A call returns once guests are served by the new state.
    """

    fleet_index: FleetIndex[Any]
    """The index of the host, or control's copy of it."""
    clock: Clock
    """The clock of the host, or control's copy of it."""
    injector: FaultInjector
    """The faults of the host, or control's copy of them."""

    @property
    def hides_events(self) -> bool:
        """Whether the host itself hides events from inactive scopes, where settings ask for it."""
        ...

    @property
    def had_keys(self) -> bool:
        """Whether the state folder had keys before this start."""
        ...

    async def want_listeners(self, wanted: dict[str, str], keep: AbstractSet[str]) -> None:
        """Open the missing listeners of single VMs; close those neither wanted nor kept.

        Raises:
            TakenError: a listener cannot be opened.
        """
        ...

    def forget_tokens(self, names: AbstractSet[str]) -> None:
        """Forget the tokens of changed VMs, where the settings ask for it."""
        ...

    async def take_update(self, update: IndexUpdate) -> None:
        """Serve an update that control's copy of the index has taken."""
        ...

    async def take_scopes(self, scopes: Mapping[str, PublishedScope]) -> None:
        """Show the published events of these scopes."""
        ...

    async def take_faults(self) -> None:
        """Play the faults that control's injector has now."""
        ...

    async def take_clock(self) -> None:
        """Show the time of control's clock; drop responses of the old time."""
        ...

    async def fault_counts(self) -> dict[str, FaultCounts]:
        """Return the counts of the faults by key."""
        ...

    def check_faults(self, specs: Iterable[FaultSpec]) -> None:
        """Check that the system of the host can play these faults together.

        Raises:
            ConfigError: it cannot.
        """
        ...


def build_control(  # noqa: PLR0913, PLR0917 - the world around control
    startup: Startup,
    notify: Notify,
    store: Store,
    link: HostLink,
    admin_ports: AdminPorts,
    resources: ExitStack,
) -> Control:
    """Make every part of control for a host, inside a running event loop.

    `resources` closes them, and the store.

    Raises:
        ConfigError: a setting names something unusable.
    """
    settings, clock = startup.settings, link.clock

    def log_entry_written() -> None:
        if webhook:
            webhook.wake()

    fleet_service = FleetService(
        store,
        link.fleet_index,
        clock,
        link.want_listeners,
        link.forget_tokens,
        asyncio.get_running_loop().time,
        unsafe_claims=settings.unsafe_claims,
        notify=notify,
    )
    fleet_service.after_change = link.take_update
    resources.callback(fleet_service.close)
    webhook = (
        Webhook(delivery(settings.event_hook), fleet_service, notify)
        if settings.event_hook
        else None
    )
    events_service = EventsService(
        fleet_service,
        clock,
        notify,
        ScopeActivity() if settings.events_activation and not link.hides_events else None,
        on_clock=link.take_clock,
        on_log_entry=log_entry_written,
    )
    events_service.event_writer.on_scopes = link.take_scopes
    faults = FaultService(fleet_service, clock, link.take_faults, notify, injector=link.injector)
    faults.check_system = FaultChecks(link.check_faults, admin_ports).check
    faults.counts = link.fault_counts
    bounds = HistoryBounds(settings.history_days, settings.history_mib << 20)
    pruner = Pruner(fleet_service, bounds, notify)
    pruner.forget = events_service.event_writer.forget_unused
    return Control(
        startup=startup,
        notify=notify,
        clock=clock,
        fleet_service=fleet_service,
        events_service=events_service,
        webhook=webhook,
        pruner=pruner,
        faults=faults,
        admin_ports=admin_ports,
        host=link,
        had_keys=link.had_keys,
        ports=[admin_ports],
        failed_tokens=FailedTokens(time.monotonic, notify),
    )
