"""Kubernetes: a small client of its API, for the few calls that OpenIMDS makes.

Rules of the room. One request is one connection, so that threads share a client and nothing has to
be mended after a break. The token and the CA are read anew for each, because Kubernetes rotates
both in place. A call is not repeated: its caller decides when to try again. All has a bound: the
time of an answer, its bytes, and the bytes of a line of a watch.

Theory. `api` sends a request and returns decoded JSON, or raises the `Status` of the API; a watch
is an iterator of its events, and `lines` cuts the lines of its stream. Calls block: an asyncio
program runs them in a thread. `list_watch` keeps the objects of one resource as the API has them,
through breaks and 410.

What the room refuses to know: fleets, VMs, the resources it asks for, and the command line.
"""

from openimds.interop.kubernetes.api import (
    SERVICE_ACCOUNT,
    ApiStatusError,
    ApiUnreachableError,
    KubernetesApi,
    KubernetesError,
    WatchEvent,
)

__all__ = [
    "SERVICE_ACCOUNT",
    "ApiStatusError",
    "ApiUnreachableError",
    "KubernetesApi",
    "KubernetesError",
    "WatchEvent",
]
