"""What all connections share: the picture, the limits, the counters, the clock."""

from collections.abc import Callable
from math import floor
from typing import Protocol, TypeAlias

from msgspec import Struct

from openimds.dataplane.connection_limits import ConnectionTable
from openimds.dataplane.observer import FaultSource, Later, NoResponse, RequestObserver, loop_later
from openimds.dataplane.response_bytes import (
    CLOSE,
    CountKey,
    PreparedResponse,
    RequestCount,
    ResponseStamps,
)
from openimds.facts.faults import EffectMode
from openimds.facts.refusals import refusal_row
from openimds.fleet.index import Allowances, FleetIndex, VmEntry
from openimds.fleet.response_cache import CachedResponses
from openimds.protocol.faults.fault import Fault
from openimds.protocol.faults.substitute import substitute
from openimds.protocol.handle import Subject, handle, resume
from openimds.protocol.pending import Pending, PendingToken, Result, Signature
from openimds.protocol.request import Query, query
from openimds.protocol.response import WHILE_HELD, Refusal, Response, refuse, throttled

WireEntry: TypeAlias = VmEntry[PreparedResponse]
ResponseIndex: TypeAlias = FleetIndex[PreparedResponse]

_OTHER = "other"
"""The counter of paths that no endpoint row has."""
_NEVER = -1
"""An edition that no picture has."""
_NOBODY = query("GET", b"/")
"""What strangers are taken to ask: they get the same words wherever they go."""


class Bounds(Struct, frozen=True):
    """What a guest may cost. Sizes are bytes, times are seconds."""

    target_bytes: int = 4096
    head_bytes: int = 16384
    header_count: int = 64
    body_bytes: int = 65536
    head_s: float = 10.0
    body_s: float = 10.0
    answer_s: float = 60.0
    idle_s: float = 120.0
    close_s: float = 5.0
    connections: int = 20000
    connections_per_caller: int = 1024
    unknown_callers: int = 1024
    write_high_bytes: int = 65536


class ParsedRequest(Struct, frozen=True):
    """What a connection learned of one request; the key of its prepared reply."""

    method: str
    target: bytes
    has_metadata_header: bool
    is_forwarded: bool
    connection: str
    credentials: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    @property
    def is_plain(self) -> bool:
        """Tell whether the same request again may have the same reply: it only reads."""
        return self.method != "POST" and not self.body

    def key(self) -> str:
        """Return text that differs wherever the reply may differ.

        It is text so that no bytes of a guest, which are looked up in the same place, can equal it.
        """
        flags = f"{self.method} {self.has_metadata_header:d}{self.is_forwarded:d}{self.connection} "
        secrets = "".join(f"{name}:{value}\n" for name, value in self.credentials)
        return flags + self.target.decode("latin-1") + (f"\n{secrets}" if secrets else "")

    def query(self, extras: frozenset[str] = frozenset()) -> Query:
        """Return what the request asks where `extras` bring endpoints with them."""
        return query(
            self.method,
            self.target,
            has_metadata_header=self.has_metadata_header,
            is_forwarded=self.is_forwarded,
            credentials=self.credentials,
            body=self.body,
            extras=extras,
        )


class PendingProvider(Protocol):
    """Makes what answers need; the data plane has no key and no store of its own."""

    def cached(self, need: Pending, now_s: float) -> Result | None:
        """Return what is there already, or None if it has to be made."""
        ...

    async def make(self, need: Pending, now_s: float) -> Result:
        """Return it once it is made, or why it could not be."""
        ...


class WaitingRequest(Struct, frozen=True):
    """A reply that waits for something to be made.

    `generation` is the picture's at its beginning; of another one the reply is not kept.
    """

    entry: WireEntry
    asked: Query
    request: ParsedRequest
    need: Pending
    raw: bytes
    generation: int


class Dispatcher:
    """The data plane without its sockets.

    `now` is a steady clock for limits and time-outs, `utc` the clock of the wall for dates. A
    step of the picture changes what every connection answers from its next request on. `extras`
    are the settings that bring endpoints with them, `secret_of` knows the secrets of the VMs.
    """

    def __init__(  # noqa: PLR0913 - all that connections share
        self,
        fleet_index: ResponseIndex,
        *,
        now: Callable[[], float],
        utc: Callable[[], float],
        allowances: Allowances,
        provider: PendingProvider,
        bounds: Bounds = Bounds(),  # noqa: B008 - a frozen value
        extras: frozenset[str] = frozenset(),
        secret_of: Callable[[str], str] = lambda _: "",
        on_unknown_caller: Callable[[str], None] = lambda _: None,
        on_internal_error: Callable[[BaseException], None] = lambda _: None,
    ) -> None:
        """Serve a picture under limits."""
        self.extras, self.secret_of = extras, secret_of
        self.provider = provider
        self.fleet_index = fleet_index
        self.now, self.utc = now, utc
        self.allowances = allowances
        self.bounds = bounds
        self.stamps = ResponseStamps()
        self.connections = ConnectionTable(bounds.connections, bounds.connections_per_caller)
        self.counts: dict[CountKey, RequestCount] = {}
        self.throttled: dict[str, int] = {}
        self.unknown_callers: dict[str, int] = {}
        self.on_internal_error = on_internal_error
        self.unknown_caller_responses: CachedResponses[PreparedResponse] = CachedResponses()
        self.on_unknown_caller = on_unknown_caller
        self.observer: RequestObserver | None = None
        self.faults: FaultSource | None = None
        self.call_later: Later = loop_later

    def reply(
        self, entry: WireEntry, request: ParsedRequest, raw: bytes
    ) -> PreparedResponse | WaitingRequest:
        """Return the reply to a request, prepared before or now; limits are asked first.

        `raw` is the request to the byte if it is certain that the same bytes mean the same again;
        the reply is then found by them the next time, without parsing. Where something has to be
        made first, what comes back is to be handed to `fulfil`.
        """
        known = self._known(entry, request)
        if known is not None:
            if not entry.grants(known.limit, self.allowances, self.now()):
                return self.refused(known)
            if raw:
                self.fleet_index.response_cache.keep(entry.responses, raw, known, len(raw))
            return known
        asked = request.query(self.extras)
        if not entry.grants(asked.category.limit, self.allowances, self.now()):
            return self._too_soon(asked, request)
        return self._answered(entry, asked, request, raw)

    def _known(self, entry: WireEntry, request: ParsedRequest) -> PreparedResponse | None:
        """Return the reply that was prepared for such a request before, if it still holds."""
        found = entry.responses.by_request.get(request.key()) if request.is_plain else None
        return found if found is not None and self.is_good(found) else None

    def troubled(
        self, entry: WireEntry, request: ParsedRequest
    ) -> "tuple[PreparedResponse | WaitingRequest, Fault | None]":
        """Return the reply to a request while faults are set, and the one that is played on it."""
        asked = request.query(self.extras)
        if not entry.grants(asked.category.limit, self.allowances, self.now()):
            return self._too_soon(asked, request), None
        assert self.faults is not None
        fault = self.faults.fault(entry.name, asked, self.utc())
        if fault is None or fault.row.way is EffectMode.DELIVERY:
            return self._known(entry, request) or self._answered(entry, asked, request, b""), fault
        if fault.row.way is EffectMode.SILENCE:
            return NoResponse(_name(asked), fault), fault
        said = substitute(fault, asked, self._subject(entry, asked), self.utc())
        return self._settled(entry, asked, request, said, keeps=False), fault

    def _answered(
        self, entry: WireEntry, asked: Query, request: ParsedRequest, raw: bytes
    ) -> PreparedResponse | WaitingRequest:
        """Return the true reply to what a VM may ask now; `raw` as in `reply`."""
        said = handle(asked, self._subject(entry, asked), self.utc())
        return self._settled(entry, asked, request, said, raw)

    def _subject(self, entry: WireEntry, asked: Query) -> Subject:
        secret = self.secret_of(entry.name) if asked.credentials else ""
        return entry.subject(self.fleet_index.catalog, secret)

    def _settled(  # noqa: PLR0913 - the facts of one reply
        self,
        entry: WireEntry,
        asked: Query,
        request: ParsedRequest,
        said: Response | Refusal | Pending,
        raw: bytes = b"",
        *,
        keeps: bool = True,
    ) -> PreparedResponse | WaitingRequest:
        """Return the reply that says this, with what it needs if that is held already."""
        utc_s, need, made = self.utc(), None, None
        if not isinstance(said, Response | Refusal):
            need, made = said, self.provider.cached(said, utc_s)
            if made is None:
                if not entry.begin(asked.category.limit, self.allowances):
                    return self._too_soon(asked, request)
                generation = self.fleet_index.generation if keeps else _NEVER
                return WaitingRequest(entry, asked, request, need, raw, generation)
            said = resume(asked, need, made, utc_s)
        if not keeps:
            return self._prepare(said, asked, request)
        return self._kept(entry, asked, request, said, need, made, raw)

    async def fulfil(self, waiting: WaitingRequest) -> PreparedResponse:
        """Return a reply once what it needs is made."""
        asked, request, entry = waiting.asked, waiting.request, waiting.entry
        made: Result | None = None
        try:
            made = await self.provider.make(waiting.need, self.utc())
            said = resume(asked, waiting.need, made, self.utc())
        except Exception as error:  # noqa: BLE001 - a mistake of ours is told and answered with 500
            self.on_internal_error(error)
            said = refuse("server_error", asked, until_s=0)
        finally:
            entry.end(asked.category.limit)
        if isinstance(waiting.need, PendingToken) and waiting.need.is_once:
            # What was prepared may say the token that this one has taken the place of.
            self.fleet_index.response_cache.drop(entry.responses)
        if waiting.generation == self.fleet_index.generation:
            return self._kept(entry, asked, request, said, waiting.need, made, waiting.raw)
        # The VM may be another one by now: the reply is right, and not right any more.
        return self._prepare(said, asked, request)

    def is_good(self, reply: PreparedResponse) -> bool:
        """Tell whether a prepared reply still holds, or could be brought up to date at once."""
        utc_s = self.utc()
        if utc_s < reply.until_s:
            return True
        if reply.need is None or reply.asked is None:
            return False
        made = self.provider.cached(reply.need, utc_s)
        if made is None:
            return False
        if made is reply.made and isinstance(made, Signature):
            reply.until_s = min(made.until_s, floor(utc_s) + 1)
        elif made is not reply.made or reply.until_s != WHILE_HELD:
            reply.say(resume(reply.asked, reply.need, made, utc_s))
            reply.made = made
        return reply.until_s == WHILE_HELD or utc_s < reply.until_s

    def _kept(  # noqa: PLR0913, PLR0917 - the facts of one reply
        self,
        entry: WireEntry,
        asked: Query,
        request: ParsedRequest,
        said: Response | Refusal,
        need: Pending | None,
        made: Result | None,
        raw: bytes,
    ) -> PreparedResponse:
        """Return the reply to a request, and keep it unless it is for this one time."""
        reply = self._prepare(said, asked, request)
        is_over = WHILE_HELD < said.until_s <= self.utc()
        is_once = is_over or (need is not None and need.is_once)
        if is_once or not request.is_plain:
            return reply
        reply.limit = asked.category.limit
        reply.instead = self._too_soon(asked, request, counts=False)
        reply.need, reply.asked, reply.made = need, asked if need else None, made
        response_cache, key = self.fleet_index.response_cache, request.key()
        response_cache.keep(entry.responses, key, reply, reply.size_bytes + len(key))
        if raw:
            response_cache.keep(entry.responses, raw, reply, len(raw))
        return reply

    def refused(self, reply: PreparedResponse) -> PreparedResponse:
        """Return what is said instead of a reply when its limiter class says no, and count that."""
        self._count_throttled(reply.limit)
        assert reply.instead is not None  # Every kept reply has one.
        return reply.instead

    def meet(self, address: str) -> None:
        """Remember a caller who is no VM, as long as there are not too many."""
        seen = self.unknown_callers
        if address in seen:
            seen[address] += 1
        elif len(seen) < self.bounds.unknown_callers:
            seen[address] = 1
            self.on_unknown_caller(address)

    def unknown_caller(self, request: ParsedRequest, raw: bytes) -> PreparedResponse:
        """Return the reply to a caller who is no VM; `raw` as in `reply`."""
        row = refusal_row("unknown_caller", "")
        said = Refusal(row, row.body.encode())
        reply = self._prepare(said, _NOBODY, request, "unknown_caller")
        if raw:
            self.fleet_index.response_cache.keep(
                self.unknown_caller_responses, raw, reply, reply.size_bytes + len(raw)
            )
        return reply

    def broken(self, key: str) -> PreparedResponse:
        """Return the last words to a connection whose bytes are no request we take."""
        row = refusal_row(key, "http")
        said = Refusal(row, row.body.encode())
        return PreparedResponse(
            said, "general", self._count("http", row.status, key), connection=CLOSE
        )

    def set_faults(self, faults: FaultSource | None) -> None:
        """Let requests go wrong as this says from now on, or let all go right."""
        self.faults = faults
        if faults:
            # What is known by its bytes would pass untroubled.
            self.fleet_index.clear_responses()

    def set_observer(self, observer: RequestObserver | None) -> None:
        """Have somebody told of every request from now on, or nobody."""
        self.observer = observer
        # What is known by its bytes would pass unseen.
        self.fleet_index.clear_responses()
        self.fleet_index.response_cache.drop(self.unknown_caller_responses)

    def send(self, reply: PreparedResponse, utc_s: float) -> bytes:
        """RequestCount a reply and return its bytes."""
        reply.count.requests += 1
        return self.stamps.stamp(reply, utc_s)

    def _too_soon(
        self, asked: Query, request: ParsedRequest, *, counts: bool = True
    ) -> PreparedResponse:
        if counts:
            self._count_throttled(asked.category.limit)
        return self._prepare(throttled(asked), asked, request)

    def _count_throttled(self, limit: str) -> None:
        self.throttled[limit] = self.throttled.get(limit, 0) + 1

    def _prepare(
        self, said: Response | Refusal, asked: Query, request: ParsedRequest, counter: str = ""
    ) -> PreparedResponse:
        name = counter or _name(asked)
        family = said.problem.family if isinstance(said, Refusal) else ""
        return PreparedResponse(
            said,
            family or asked.category.headers,
            self._count(name, said.status, reason_of(said)),
            connection=request.connection,
            has_body=request.method != "HEAD",
        )

    def _count(self, endpoint: str, status: int, reason: str) -> RequestCount:
        counted = CountKey(endpoint, status, reason)
        return self.counts.setdefault(counted, RequestCount(counted))


def _name(asked: Query) -> str:
    return asked.endpoint.key if asked.endpoint else _OTHER


def reason_of(said: Response | Refusal) -> str:
    """Return the key of a refusal's row, or nothing for an answer."""
    return said.problem.key if isinstance(said, Refusal) else ""
