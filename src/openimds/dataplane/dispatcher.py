"""The state that all connections share, and the decision which response a request gets."""

from collections.abc import Callable
from math import floor, inf
from typing import Protocol, TypeAlias

from msgspec.structs import replace

from openimds.dataplane.bounds import Bounds
from openimds.dataplane.observer import (
    CallLater,
    FaultSource,
    NoResponse,
    RequestObserver,
    loop_later,
)
from openimds.dataplane.parsed_request import ParsedRequest, WaitingRequest, WireEntry
from openimds.dataplane.response_bytes import (
    CONNECTION_CLOSE,
    CountKey,
    PreparedResponse,
    RequestCount,
    ResponseStamps,
)
from openimds.dataplane.shares import ConnectionTable
from openimds.facts.effects import EffectMode
from openimds.facts.limits import class_of
from openimds.facts.refusals import refusal_row
from openimds.fleet.index import FleetIndex
from openimds.fleet.response_cache import CachedResponses
from openimds.fleet.vm_entry import Allowances
from openimds.protocol.dialect import in_dialect
from openimds.protocol.faults.fault import Fault
from openimds.protocol.faults.substitute import substitute
from openimds.protocol.handle import Subject, handle, resume
from openimds.protocol.pending import Pending, PendingToken, Result, Signature
from openimds.protocol.request import Query, parse_query
from openimds.protocol.response import UNTIL_REPLACED, Refusal, Response, refuse, throttled
from openimds.vm.defaults import secondary_addresses

ResponseIndex: TypeAlias = FleetIndex[PreparedResponse]

_OTHER = "other"
"""The counter of paths that no endpoint row has."""
_MOST_SHARED = 256
"""Prepared 429 responses that VMs share: one for each endpoint and form, with room to spare."""
_NEVER = -1
"""A generation that no fleet index has."""
_ANY_QUERY = parse_query("GET", b"/")
"""The query of every unknown caller: the response does not depend on the path."""


class PendingProvider(Protocol):
    """Does pending work; the data plane itself has neither keys nor a store."""

    def cached(self, need: Pending, now_s: float) -> Result | None:
        """Return the cached result, or None if the work has to be done first."""
        ...

    async def make(self, need: Pending, now_s: float) -> Result:
        """Do the work and return its result, which may be a failure."""
        ...


class Dispatcher:
    """The data plane without its sockets.

    `now` is a steady clock for limits and time-outs, `utc` the wall clock for dates, both in
    seconds. An update of the fleet index takes effect with the next request of each connection.
    `extras` are settings that add endpoints; `listen_hosts` are further host names of this
    server, in lower case; with `checks_hosts` connections from beyond this machine are judged, too,
    and a name without a dot passes (see `arrivals`). `secret_of` returns the secret of a VM by its
    name.
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
        listen_hosts: frozenset[str] = frozenset(),
        checks_hosts: bool = False,
        secret_of: Callable[[str], str] = lambda _: "",
        on_unknown_caller: Callable[[str], None] = lambda _: None,
        on_internal_error: Callable[[BaseException], None] = lambda _: None,
        on_moved_address: Callable[[str, str], None] = lambda _address, _vm: None,
    ) -> None:
        """Serve the VMs of a fleet index under limits."""
        self.extras, self.secret_of = extras, secret_of
        self.listen_hosts = frozenset(name.encode() for name in listen_hosts)
        self.checks_hosts, self.judges_pages = checks_hosts, False
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
        self.unknown_requests = 0
        self._throttled_responses: dict[tuple[object, ...], PreparedResponse] = {}
        self.on_internal_error = on_internal_error
        self.unknown_caller_responses: CachedResponses[PreparedResponse] = CachedResponses()
        self.on_unknown_caller = on_unknown_caller
        self.on_moved_address = on_moved_address
        self.observer: RequestObserver | None = None
        self.faults: FaultSource | None = None
        self.call_later: CallLater = loop_later

    def respond(
        self, entry: WireEntry, request: ParsedRequest, raw: bytes
    ) -> PreparedResponse | WaitingRequest:
        """Return the response to a request of a VM; limits are consulted first.

        `raw` is the request byte for byte, if the same bytes certainly mean the same request: the
        response is then cached by them too, and the next such request is not parsed. A
        `WaitingRequest` is to be handed to `finish`.
        """
        cached = self._cached(entry, request)
        if cached is not None:
            if not entry.grants(cached.limit, self.allowances, self.now()):
                return self.throttle(cached)
            if raw:
                self.fleet_index.response_cache.put(entry.responses, raw, cached, len(raw))
            return cached
        asked = request.query(self.extras)
        if not entry.grants(asked.category.limit, self.allowances, self.now()):
            return self._throttled(asked, request)
        return self._handle(entry, asked, request, raw)

    def _cached(self, entry: WireEntry, request: ParsedRequest) -> PreparedResponse | None:
        """Return the cached response to such a request, if it is current."""
        cached = entry.responses.by_request.get(request.key()) if request.is_cacheable else None
        return cached if cached is not None and self.is_current(cached) else None

    def respond_with_faults(
        self, entry: WireEntry, request: ParsedRequest, peer: str = ""
    ) -> "tuple[PreparedResponse | WaitingRequest, Fault | None]":
        """Return the response to a peer under faults, and the fault or None."""
        asked = request.query(self.extras)
        if not entry.grants(asked.category.limit, self.allowances, self.now()):
            return self._throttled(asked, request), None
        # Behind the limit: it walks the VM's document.
        if peer in secondary_addresses(self._placed(entry, asked)[0].vm):
            asked = replace(asked, is_secondary=True)
        assert self.faults is not None
        fault = self.faults.fault(entry.name, asked, self.utc())
        if fault is None or fault.row.mode is EffectMode.DELIVERY:
            cached = self._cached(entry, request)
            return cached or self._handle(entry, asked, request, b""), fault
        if fault.row.mode is EffectMode.SILENCE:
            return NoResponse(_name(asked), fault), fault
        subject, asked = self._placed(entry, asked)
        outcome = substitute(fault, asked, subject, self.utc())
        return self._resolve(entry, asked, request, outcome, is_cached=False), fault

    def _handle(
        self, entry: WireEntry, asked: Query, request: ParsedRequest, raw: bytes
    ) -> PreparedResponse | WaitingRequest:
        """Return the true response to a query within the limits; `raw` as in `respond`."""
        subject, asked = self._placed(entry, asked)
        outcome = handle(asked, subject, self.utc())
        limit = _limit_of(asked, outcome)
        if limit != asked.category.limit:
            entry.refund(asked.category.limit)
            if not entry.grants(limit, self.allowances, self.now()):
                return self._throttled(asked, request)
        return self._resolve(entry, asked, request, outcome, raw)

    def _placed(self, entry: WireEntry, asked: Query) -> tuple[Subject, Query]:
        """Return the subject of a query, and the query in the subject's dialect."""
        secret = self.secret_of(entry.name) if asked.credentials else ""
        subject = entry.subject(self.fleet_index.catalog, secret)
        return subject, in_dialect(asked, subject.vm)

    def _resolve(  # noqa: PLR0913 - the facts of one response
        self,
        entry: WireEntry,
        asked: Query,
        request: ParsedRequest,
        outcome: Response | Refusal | Pending,
        raw: bytes = b"",
        *,
        is_cached: bool = True,
    ) -> PreparedResponse | WaitingRequest:
        """Prepare the response to an outcome; pending work without a cached result must wait."""
        utc_s, pending, result = self.utc(), None, None
        if not isinstance(outcome, Response | Refusal):
            pending, result = outcome, self.provider.cached(outcome, utc_s)
            if result is None:
                if not entry.begin(asked.category.limit, self.allowances):
                    return self._throttled(asked, request)
                generation = self.fleet_index.generation if is_cached else _NEVER
                return WaitingRequest(entry, asked, request, pending, raw, generation)
            outcome = resume(asked, pending, result, utc_s)
        if not is_cached:
            return self._prepare(outcome, asked, request)
        return self._cache(entry, asked, request, outcome, pending, result, raw)

    async def finish(self, waiting: WaitingRequest) -> PreparedResponse:
        """Return the response once its pending work is done."""
        asked, request, entry = waiting.query, waiting.request, waiting.entry
        result: Result | None = None
        try:
            result = await self.provider.make(waiting.pending, self.utc())
            outcome = resume(asked, waiting.pending, result, self.utc())
        except Exception as error:  # noqa: BLE001 - our own error is reported and answered with 500
            self.on_internal_error(error)
            outcome = refuse("server_error", asked, until_s=0)
        finally:
            entry.end(asked.category.limit)
        if isinstance(waiting.pending, PendingToken) and waiting.pending.is_once:
            # Cached responses may hold the token that this new one replaces.
            self.fleet_index.response_cache.drop(entry.responses)
        if waiting.generation == self.fleet_index.generation:
            return self._cache(entry, asked, request, outcome, waiting.pending, result, waiting.raw)
        # The VM changed while the work was done: send the response, but do not cache it.
        return self._prepare(outcome, asked, request)

    def is_current(self, response: PreparedResponse) -> bool:
        """Tell whether a cached response is current, or could be rendered again at once."""
        utc_s = self.utc()
        if response.since_s <= utc_s < response.until_s:
            return True
        if response.pending is None or response.query is None:
            return False
        result = self.provider.cached(response.pending, utc_s)
        if result is None:
            return False
        if result is response.result and isinstance(result, Signature):
            response.since_s = utc_s
            response.until_s = min(result.until_s, floor(utc_s) + 1)
        elif result is not response.result or response.until_s != UNTIL_REPLACED:
            outcome = resume(response.query, response.pending, result, utc_s)
            response.render(outcome)
            response.since_s = _since(outcome, utc_s)
            response.result = result
            # A condition may have another outcome now: 200 instead of 304, or the other way round.
            response.count = self._count(_name(response.query), outcome.status, reason_of(outcome))
        return response.until_s == UNTIL_REPLACED or utc_s < response.until_s

    def _cache(  # noqa: PLR0913, PLR0917 - the facts of one response
        self,
        entry: WireEntry,
        asked: Query,
        request: ParsedRequest,
        outcome: Response | Refusal,
        pending: Pending | None,
        result: Result | None,
        raw: bytes,
    ) -> PreparedResponse:
        """Prepare the response to a request, and cache it if it may be repeated."""
        response = self._prepare(outcome, asked, request)
        is_over = UNTIL_REPLACED < outcome.until_s <= self.utc()
        is_once = is_over or (pending is not None and pending.is_once)
        if is_once or not request.is_cacheable:
            return response
        response.limit = _limit_of(asked, outcome)
        response.throttled = self._throttled(asked, request, counts=False)
        response.since_s = _since(outcome, self.utc())
        response.pending, response.result = pending, result
        response.query = asked if pending else None
        response_cache, key = self.fleet_index.response_cache, request.key()
        response_cache.put(entry.responses, key, response, response.size_bytes + len(key))
        if raw:
            response_cache.put(entry.responses, raw, response, len(raw))
        return response

    def throttle(self, response: PreparedResponse) -> PreparedResponse:
        """Count and return the 429 that replaces a cached response beyond its limit."""
        self._count_throttled(response.limit)
        assert response.throttled is not None  # Every cached response of a VM has one.
        return response.throttled

    def count_unknown_caller(self, address: str) -> None:
        """Count a request of an unknown caller; report the first ones of a bounded number."""
        self.unknown_requests += 1
        counts = self.unknown_callers
        if address in counts:
            counts[address] += 1
        elif len(counts) < self.bounds.unknown_callers:
            counts[address] = 1
            self.on_unknown_caller(address)

    def respond_unknown_caller(self, request: ParsedRequest, raw: bytes) -> PreparedResponse:
        """Return the response to an unknown caller; `raw` as in `respond`."""
        row = refusal_row("unknown_caller", "")
        refusal = Refusal(row, row.body.encode())
        response = self._prepare(refusal, _ANY_QUERY, request, "unknown_caller")
        if raw:
            self.fleet_index.response_cache.put(
                self.unknown_caller_responses, raw, response, response.size_bytes + len(raw)
            )
        return response

    def refuse(self, key: str) -> PreparedResponse:
        """Return the last response to a connection with unacceptable bytes."""
        row = refusal_row(key, "http")
        return PreparedResponse(
            Refusal(row, row.body.encode()),
            "general",
            self._count("http", row.status, key),
            connection=CONNECTION_CLOSE,
        )

    def judge_pages(self) -> None:
        """Expect connections from now on whose Host and Origin are checked."""
        if not self.judges_pages:
            self.judges_pages = True
            # Requests to other listeners were cached by bytes that such connections refuse.
            self.fleet_index.clear_responses()

    def set_faults(self, faults: FaultSource | None) -> None:
        """Inject the faults of a source from now on, or none."""
        self.faults = faults
        if faults:
            # Requests found by their bytes would bypass the faults.
            self.fleet_index.clear_responses()

    def set_observer(self, observer: RequestObserver | None) -> None:
        """Show every request to an observer from now on, or to none."""
        self.observer = observer
        # Requests found by their bytes would bypass the observer.
        self.fleet_index.clear_responses()
        self.fleet_index.response_cache.drop(self.unknown_caller_responses)

    def send(self, response: PreparedResponse, utc_s: float) -> bytes:
        """Count a response and return its bytes."""
        response.count.untimed += 1
        return self.stamps.stamp(response, utc_s)

    def _throttled(
        self, asked: Query, request: ParsedRequest, *, counts: bool = True
    ) -> PreparedResponse:
        """Return the 429 for a request; VMs share those of equal bytes."""
        if counts:
            self._count_throttled(asked.category.limit)
        refusal, has_body = throttled(asked), request.method != "HEAD"
        row = refusal.row
        key = (_name(asked), row.category, row.key, refusal.body, request.connection, has_body)
        shared = self._throttled_responses.get(key)
        if shared is None:
            shared = self._prepare(refusal, asked, request)
            if len(self._throttled_responses) < _MOST_SHARED:
                self._throttled_responses[key] = shared
        return shared

    def _count_throttled(self, limit: str) -> None:
        self.throttled[limit] = self.throttled.get(limit, 0) + 1

    def _prepare(
        self,
        outcome: Response | Refusal,
        asked: Query,
        request: ParsedRequest,
        counter: str = "",
    ) -> PreparedResponse:
        name = counter or _name(asked)
        served = asked.category.served if isinstance(outcome, Response) else ""
        is_last = isinstance(outcome, Response) and outcome.closes
        return PreparedResponse(
            outcome,
            outcome.family or served or asked.category.headers,
            self._count(name, outcome.status, reason_of(outcome)),
            connection=CONNECTION_CLOSE if is_last else request.connection,
            has_body=request.method != "HEAD",
        )

    def _count(self, endpoint: str, status: int, reason: str) -> RequestCount:
        key = CountKey(endpoint, status, reason)
        return self.counts.setdefault(key, RequestCount(key))


def _name(asked: Query) -> str:
    return asked.endpoint.key if asked.endpoint else _OTHER


def _since(outcome: Response | Refusal, utc_s: float) -> float:
    """Return the earliest time at which a response made now is right."""
    return -inf if outcome.until_s == inf else utc_s


def _limit_of(asked: Query, outcome: Response | Refusal | Pending) -> str:
    """Return the limiter class in which a request counts, by its outcome."""
    return class_of(asked.category.limit, outcome.status if isinstance(outcome, Refusal) else 0)


def reason_of(outcome: Response | Refusal) -> str:
    """Return the key of a refusal's row, or nothing for a success."""
    return outcome.row.key if isinstance(outcome, Refusal) else ""
