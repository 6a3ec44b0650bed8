"""The values that the control role counts in its own process."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

from openimds.admin.failed_tokens import FailedTokens
from openimds.admin.request_counts import RequestCounts
from openimds.events.service import EventsService
from openimds.events.webhook import Webhook
from openimds.fleet.pruner import Pruner
from openimds.fleet.service import FleetService
from openimds.server.admin_ports import AdminPorts
from openimds.server.host_access import HostAccess
from openimds.server.metrics_source import ServerMetrics
from openimds.server.process_metrics import merged
from openimds.server.reload_record import ReloadRecord

if TYPE_CHECKING:  # It loads the Prometheus client, which only a scrape needs.
    from openimds.admin.metrics import Samples
    from openimds.admin.services import HostsAdmin


class ControlFigures(Protocol):
    """The parts of control that count."""

    host: HostAccess
    fleet_service: FleetService
    events_service: EventsService
    webhook: Webhook | None
    pruner: Pruner
    failed_tokens: FailedTokens
    request_counts: RequestCounts
    loop_lag_s: float

    @property
    def ports(self) -> Sequence[AdminPorts]:
        """The ports of operators and verifiers."""
        ...

    @property
    def reloads(self) -> ReloadRecord | None:
        """The record of the fleet file's edits; None without a file."""
        ...


def control_samples(control: ControlFigures) -> "dict[str, Samples]":
    """Return the values at this moment by the name of the metric. It may block."""
    samples: dict[str, Samples] = {
        "openimds_control_loop_lag_seconds": control.loop_lag_s,
        **control.request_counts.samples(),
    }
    for ports in control.ports:
        for name, values in ports.samples().items():
            samples[name] = merged(samples.get(name, {}), values)
    if control.reloads:
        samples |= control.reloads.samples()
    if control.pruner.pruned_s is not None:
        samples["openimds_history_pruned_timestamp_seconds"] = control.pruner.pruned_s
    return samples


def metrics_source(control: ControlFigures, hosts: "HostsAdmin | None" = None) -> ServerMetrics:
    """Return the source of all metrics of a control and of its hosts."""
    return ServerMetrics(
        control.host.samples,
        control.fleet_service,
        control.events_service,
        control.webhook,
        control.pruner.pruned,
        control.failed_tokens.counts,
        hosts.samples if hosts else dict,
        partial(control_samples, control),
    )
