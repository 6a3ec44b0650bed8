"""The services behind the admin API of a control; importing it loads much."""

from typing import Protocol

from openimds.admin.services import AdminServices, HostsAdmin
from openimds.admin.token import AdminToken
from openimds.admin.token_registry import TokenRegistry
from openimds.events.clock import Clock
from openimds.faults import FaultService
from openimds.server.control_metrics import ControlFigures, metrics_source
from openimds.server.notify import Notify


class AdministeredControl(ControlFigures, Protocol):
    """The parts of control that the admin API shows and changes."""

    clock: Clock
    faults: FaultService

    @property
    def notify(self) -> Notify:
        """Takes the messages of the log."""
        ...


def admin_services(
    control: AdministeredControl, token: AdminToken, hosts: HostsAdmin | None = None
) -> AdminServices:
    """Return the services of a control; `hosts` are those of a control of many hosts."""
    host = control.host
    return AdminServices(
        fleet_service=control.fleet_service,
        events_service=control.events_service,
        faults=control.faults,
        recording=host.recording,
        credentials=host.credentials,
        endpoint_variables=host.endpoint_variables,
        get_as=host.get_as,
        check_host=host.check,
        metrics=metrics_source(control, hosts),
        token=token,
        tokens=TokenRegistry(control.fleet_service, control.clock.wall),
        failed_tokens=control.failed_tokens,
        hosts=hosts,
        request_counts=control.request_counts,
        notify=control.notify,
    )
