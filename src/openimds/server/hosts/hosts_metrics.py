"""The metrics of the hosts of a fleet, and of the control that leads.

Only hosts that have joined have series: the register has at most `MAX_HOSTS`, and a mistaken `host`
of a VM makes none.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import get_args

from msgspec import Struct

from openimds.admin.metrics import Samples
from openimds.admin.services import HostStanding
from openimds.credentials.hosts.register import HostState


class LeaseState(Struct, frozen=True):
    """The lease of the control that leads; `age_s` returns the time since it was renewed."""

    epoch: int
    age_s: Callable[[], float]


def samples_of(
    standings: Sequence[HostStanding], unplaced: int, lease: LeaseState
) -> dict[str, Samples]:
    """Return a value for each row of hosts; `unplaced` counts the VMs without a host."""
    joined = [one for one in standings if one.state == "joined"]
    states = Counter(one.state for one in standings)
    return {
        "openimds_control_leads": 1,
        "openimds_control_epoch": lease.epoch,
        "openimds_control_lease_age_seconds": lease.age_s(),
        "openimds_hosts": {state: states[state] for state in get_args(HostState)},
        "openimds_vms_without_host": unplaced
        + sum(one.vms for one in standings if one.state != "joined"),
        "openimds_host_connected": {one.name: one.is_connected for one in joined},
        "openimds_host_vms": {one.name: one.vms for one in joined},
        "openimds_host_vms_refused": _known(joined, _refused),
        "openimds_host_vms_unshown": _known(joined, lambda one: one.unshown_vms),
        "openimds_host_scopes_unshown": _known(joined, lambda one: one.unshown_scopes),
        "openimds_host_unshown_age_seconds": {one.name: one.unshown_age_s for one in joined},
        "openimds_host_revision": _known(joined, _revision),
        "openimds_host_silent_seconds": _known(joined, lambda one: one.silent_s),
        "openimds_host_certificate_expiry_timestamp_seconds": _known(
            joined, lambda one: one.certificate_ends_s
        ),
        "openimds_host_leaf_failure": _known(joined, _leaf_failure),
        "openimds_host_join_token_reuses": {one.name: one.join_token_reuses for one in joined},
    }


def _known(
    hosts: Sequence[HostStanding], value_of: Callable[[HostStanding], float | None]
) -> dict[str, float]:
    """Return the values by host, without those that control does not know now."""
    values = ((one.name, value_of(one)) for one in hosts)
    return {name: value for name, value in values if value is not None}


def _refused(host: HostStanding) -> float | None:
    return len(host.refused) if host.is_connected else None


def _revision(host: HostStanding) -> float | None:
    """Return the shown revision; before the first comparison there is none."""
    return None if host.revision == -1 else host.revision


def _leaf_failure(host: HostStanding) -> float | None:
    return bool(host.leaf_failure) if host.is_connected else None
