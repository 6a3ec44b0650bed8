"""A host whose control is elsewhere: in another process, or on another machine."""

from collections.abc import Awaitable, Callable
from contextlib import ExitStack

from msgspec import Struct

from openimds.protocol.events.document import ScopeActivity
from openimds.protocol.pending import Approved, Failed, PendingApproval
from openimds.server.build_host import HostWorld, build_host
from openimds.server.host import Host
from openimds.server.process_metrics import HOST
from openimds.server.seam.events_follower import EventsFollower
from openimds.server.seam.host_end import HostEnd
from openimds.settings import Settings


class FollowedHost(Struct, frozen=True):
    """A host, the end that does what control asks, and the events that it shows."""

    host: Host
    end: HostEnd
    events: EventsFollower


def build_followed_host(
    settings: Settings,
    world: HostWorld,
    approve: Callable[[PendingApproval], Awaitable[Approved | Failed]],
    resources: ExitStack,
) -> FollowedHost:
    """Make a host as `build_host` does; `approve` has control store an approval.

    Raises:
        ConfigError, KeyFileError: as `build_host`.
    """
    host = build_host(settings, world, resources)
    host.role = HOST
    activity = ScopeActivity() if settings.events_activation else None
    events = EventsFollower(approve, world.clock, world.notify, activity)
    host.pending.events = events
    return FollowedHost(host, HostEnd(host, world.public_url, events), events)
