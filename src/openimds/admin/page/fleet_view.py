"""The fleet that all pages share: its table, and its VMs' requests."""

from openimds.admin.page.fleet_table import FleetTable
from openimds.admin.page.vm_traffic import TrafficReader
from openimds.admin.services import AdminServices


class FleetView:
    """The table of a fleet, and the requests of its VMs."""

    def __init__(self, services: AdminServices) -> None:
        """Read from these services."""
        self.table = FleetTable(services.fleet_service)
        self.traffic = TrafficReader(services.recording)
