"""The standing of a host of many, as commands print it."""

from collections.abc import Iterator
from datetime import UTC, datetime

from openimds.server.hosts.local_files import STALE_S, FollowReport


def standing_lines(standing: FollowReport, now_s: float) -> Iterator[str]:
    """Yield lines about a host at a time in seconds since 1970."""
    age_s = now_s - standing.written_s
    if age_s > STALE_S:
        yield f"{standing.name} has written nothing for {age_s:.0f} s: is openimds host run ended?"
    if standing.reason:
        yield f"{standing.name} follows no control: {standing.reason}"
    else:
        yield f"{standing.name} follows control at {standing.control}"
    if standing.last_message_s is not None:
        age_s = max(0, now_s - standing.last_message_s)
        vms = f"{standing.vms} VMs of revision {standing.revision}"
        yield f"it shows {vms}; the last message came {age_s:.0f} s ago"
    yield f"its certificate ends at {_moment(standing.certificate_ends_s)}"
    if standing.leaves_end_s is not None:
        yield f"it signs attested documents until {_moment(standing.leaves_end_s)}"
    if standing.leaf_failure:
        yield f"control certified no leaves for attested documents: {standing.leaf_failure}"
    for name, reason in standing.refused.items():
        yield f"{name} could not be taken: {reason}"


def _moment(at_s: float) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%F %R} UTC"
