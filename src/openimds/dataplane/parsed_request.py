"""A request as values: parsed from bytes, and waiting for pending work."""

from typing import TypeAlias

from msgspec import Struct

from openimds.dataplane.response_bytes import PreparedResponse
from openimds.fleet.vm_entry import VmEntry
from openimds.protocol.pending import Pending
from openimds.protocol.request import Query, parse_query

WireEntry: TypeAlias = VmEntry[PreparedResponse]
"""The entry of a VM, whose cached responses are prepared ones."""


class ParsedRequest(Struct, frozen=True):
    """The parts of a request that its response can depend on."""

    method: str
    target: bytes
    has_metadata_header: bool
    is_forwarded: bool
    connection: str
    credentials: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    none_match: str = ""
    is_header_exact: bool = True
    is_rebound: bool = False

    @property
    def is_cacheable(self) -> bool:
        """Whether the same request may get the same response again: it only reads."""
        return self.method != "POST" and not self.body

    def key(self) -> str:
        """Return the cache key: text that differs wherever the response may differ.

        The cache is also keyed by the bytes of requests; text never equals the bytes of a guest.
        """
        header = f"{self.has_metadata_header:d}{self.is_header_exact:d}{self.is_forwarded:d}"
        flags = f"{self.method} {header}{self.connection} "
        rest = "".join(f"{name}:{value}\n" for name, value in self.credentials)
        if self.none_match:
            rest += f"none-match:{self.none_match}\n"
        if self.is_rebound:
            rest += "rebound\n"
        return flags + self.target.decode("latin-1") + (f"\n{rest}" if rest else "")

    def query(self, extras: frozenset[str] = frozenset()) -> Query:
        """Return the query of the request; `extras` are settings that add endpoints."""
        return parse_query(
            self.method,
            self.target,
            has_metadata_header=self.has_metadata_header,
            is_forwarded=self.is_forwarded,
            credentials=self.credentials,
            body=self.body,
            extras=extras,
            none_match=self.none_match,
            is_header_exact=self.is_header_exact,
            is_rebound=self.is_rebound,
        )


class WaitingRequest(Struct, frozen=True):
    """A request whose response waits for pending work.

    `generation` is that of the fleet index when the wait began; the response is cached only if it
    has not changed since.
    """

    entry: WireEntry
    query: Query
    request: ParsedRequest
    pending: Pending
    raw: bytes
    generation: int
