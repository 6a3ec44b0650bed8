"""What one request shows, or one with those that follow it."""

from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address

from openimds.facts.endpoints import ENDPOINTS
from openimds.facts.lint import RULES, SERVED_BY_AZURE, SOON_S
from openimds.facts.versions import GENERAL, SCHEDULED_EVENTS
from openimds.protocol.lint.requests import Example, LintedRequest

_ENDPOINTS = {row.key: row for row in ENDPOINTS}
_PATHS = SERVED_BY_AZURE.union(row.path for row in ENDPOINTS)
_GENERAL = frozenset(row.name for row in GENERAL)
_PREVIEW = SCHEDULED_EVENTS[0].name
_REAL_HOST = "169.254.169.254"
_PROXIES = ("via", "proxy-connection", "forwarded")
_PAGES = ("referer", "origin", "sec-fetch-site")
_ROUTES = {("compute", "customdata"): "custom_data", ("compute", "tags"): "tags_parsed"}
_OK = 200

_Next = dict[tuple[str, str], float]
"""When, after a request, comes what may excuse it: by the rule, and what it is about."""
_Excuse = Callable[[LintedRequest, _Next], bool]
_HEADER, _VERSION = "header_missing", "version_missing"


def refusals(every: Sequence[LintedRequest]) -> Iterator[Example]:
    """See the refusals that are Azure's; those that were played on purpose are nobody's fault."""
    found: list[Example] = []
    following: _Next = {}
    # From the end, so that nobody looks through all that follows each of many requests.
    for one in reversed(every):
        found += _refused(one, following)
        if one.record.reason != _HEADER:
            following[_HEADER, one.path] = one.record.now_s
        if "api-version" in one.parameters:
            following[_VERSION, one.category] = one.record.now_s
    yield from reversed(found)


def _refused(one: LintedRequest, following: _Next) -> Iterator[Example]:
    record = one.record
    if not record.reason or one.is_played:
        return
    for row in RULES:
        if record.reason not in row.reasons:
            continue
        if row.endpoints and record.endpoint not in row.endpoints:
            continue
        excuse = _EXCUSES.get(row.key)
        if not (excuse and excuse(one, following)):
            yield Example(row.key, record)


def _looks_only(one: LintedRequest, following: _Next) -> bool:
    """Tell whether a request without the header was followed by the same one with it."""
    return _is_soon(one, following.get((_HEADER, one.path)))


def _learns(one: LintedRequest, following: _Next) -> bool:
    """Tell whether a request without a version was followed by one that has learnt it."""
    return _is_soon(one, following.get((_VERSION, one.category)))


def _is_soon(one: LintedRequest, at_s: float | None) -> bool:
    return at_s is not None and at_s - one.record.now_s <= SOON_S


def _is_too_new(one: LintedRequest, _: _Next) -> bool:
    """Tell whether a version exists, and only this region has not got it yet."""
    row = _ENDPOINTS.get(one.record.endpoint)
    version = one.parameters.get("api-version", "")
    return bool(row and row.versions == "general" and row.since <= version in _GENERAL)


def _is_served_by_azure(one: LintedRequest, _: _Next) -> bool:
    """Tell whether the path is one that some Azure has: a client may look for it."""
    return one.path in _PATHS


_EXCUSES: dict[str, _Excuse] = {
    "header_missing": _looks_only,
    "path_unknown": _is_served_by_azure,
    "version_missing": _learns,
    "version_unknown": _is_too_new,
}


def ways(every: Sequence[LintedRequest]) -> Iterator[Example]:
    """See requests that came through a proxy, by a redirect, from a page, or by a name."""
    is_real = any(_host(one) == _REAL_HOST for one in every)
    for one in every:
        record = one.record
        names = [name for name in _PROXIES if record.header(name)]
        if names or (record.target and not record.target.startswith(("/", "*"))):
            yield Example("proxy", record, _with(one, names))
        pages = [name for name in _PAGES if record.header(name)]
        if pages:
            yield Example("redirected", record, _with(one, pages))
        if is_real and _is_name(_host(one)):
            yield Example("host_foreign", record, _with(one, ["host"]))


def _with(one: LintedRequest, names: Sequence[str]) -> str:
    said = "".join(f", {name}: {one.record.header(name)}" for name in names)
    return one.record.line + said


def _host(one: LintedRequest) -> str:
    """Return the Host of a request without its port."""
    host = one.record.header("host").lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_name(host: str) -> bool:
    if not host or host == "localhost":
        return False
    try:
        ip_address(host)
    except ValueError:
        return True
    return False


def contents(every: Sequence[LintedRequest]) -> Iterator[Example]:
    """See requests for what Azure's documents say to leave alone."""
    for one in every:
        endpoint = one.record.endpoint
        if endpoint == "instance" and one.route in _ROUTES and one.record.status == _OK:
            yield Example(_ROUTES[one.route], one.record)
        is_preview = one.parameters.get("api-version") == _PREVIEW
        if endpoint == "scheduledevents" and is_preview:
            yield Example("version_preview", one.record)
