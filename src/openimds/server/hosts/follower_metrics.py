"""The values that a host of a fleet counts about its control."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from openimds.server.hosts.follower import HostFollower
from openimds.server.process_metrics import HOST_CERTIFICATE, LEAF

if TYPE_CHECKING:
    from openimds.admin.metrics import Samples


def follower_samples(follower: HostFollower) -> "Mapping[str, Samples]":
    """Return the values at this moment by the name of the metric."""
    state = follower.state
    samples: dict[str, Samples] = {
        "openimds_feed_connected": follower.is_following,
        "openimds_feed_connections": state.connections,
        "openimds_feed_store_age_seconds": state.store_age_s,
        "openimds_feed_vms_refused": len(state.refused),
    }
    if state.revision >= 0:
        samples["openimds_feed_revision"] = state.revision
    if state.connections:
        samples["openimds_feed_age_seconds"] = follower.silent_s()
    return samples


def certificate_ends(host_ends_s: float, leaves_end_s: float | None) -> dict[str, float]:
    """Return the ends of the certificates that control made for this host."""
    ends = {HOST_CERTIFICATE: host_ends_s}
    if leaves_end_s is not None:
        ends[LEAF] = leaves_end_s
    return ends
