"""Rules of single requests, some of them excused by a later request."""

from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address

from openimds.facts.endpoints import ABSENT_PATHS, ENDPOINTS
from openimds.facts.lint import RULES, SOON_S
from openimds.facts.versions import GENERAL, SCHEDULED_EVENTS
from openimds.protocol.lint.requests import Example, LintedRequest

_ENDPOINTS = {row.key: row for row in ENDPOINTS}
_PATHS = frozenset(row.path for row in ENDPOINTS)
_ABSENT = tuple(f"{row.path}/" for row in ABSENT_PATHS)
_GENERAL = frozenset(row.name for row in GENERAL)
_PREVIEW = SCHEDULED_EVENTS[0].name
_REAL_HOST = "169.254.169.254"
_PROXIES = ("via", "proxy-connection", "forwarded")
_PAGES = ("referer", "origin", "sec-fetch-site")
_ROUTES = {("compute", "customdata"): "custom_data", ("compute", "tags"): "tags_parsed"}
_OK = 200

_Next = dict[tuple[str, str], float]
"""The time of the next request that may excuse this request, by rule and by path or category."""
_Excuse = Callable[[LintedRequest, _Next], bool]
_HEADER, _VERSION = "header_missing", "version_missing"


def refusals(requests: Sequence[LintedRequest]) -> Iterator[Example]:
    """Find requests that Azure refuses; a refusal by an injected fault is no mistake."""
    examples: list[Example] = []
    following: _Next = {}
    # From the end, so that many refusals do not each scan all later requests.
    for request in reversed(requests):
        examples += _refused(request, following)
        if request.record.reason != _HEADER:
            following[_HEADER, request.path] = request.record.now_s
        if "api-version" in request.parameters:
            following[_VERSION, request.category] = request.record.now_s
    yield from reversed(examples)


def _refused(request: LintedRequest, following: _Next) -> Iterator[Example]:
    record = request.record
    if not record.reason or request.is_substituted:
        return
    for row in RULES:
        if record.reason not in row.reasons:
            continue
        if row.endpoints and record.endpoint not in row.endpoints:
            continue
        excuse = _EXCUSES.get(row.key)
        if not (excuse and excuse(request, following)):
            yield Example(row.key, record)


def _is_probe(request: LintedRequest, following: _Next) -> bool:
    """Tell whether the same request followed with the header."""
    return _is_soon(request, following.get((_HEADER, request.path)))


def _is_discovery(request: LintedRequest, following: _Next) -> bool:
    """Tell whether a request with a version followed."""
    return _is_soon(request, following.get((_VERSION, request.category)))


def _is_soon(request: LintedRequest, at_s: float | None) -> bool:
    return at_s is not None and at_s - request.record.now_s <= SOON_S


def _is_too_new(request: LintedRequest, _: _Next) -> bool:
    """Tell whether a version exists that this region does not have yet."""
    row = _ENDPOINTS.get(request.record.endpoint)
    version = request.parameters.get("api-version", "")
    return bool(row and row.versions == "general" and row.since <= version in _GENERAL)


def _is_served_by_azure(request: LintedRequest, _: _Next) -> bool:
    """Tell whether some part of Azure has the path: a client may probe for it."""
    return request.path in _PATHS or f"{request.path}/".startswith(_ABSENT)


_EXCUSES: dict[str, _Excuse] = {
    "header_missing": _is_probe,
    "path_unknown": _is_served_by_azure,
    "version_missing": _is_discovery,
    "version_unknown": _is_too_new,
}


def detours(requests: Sequence[LintedRequest]) -> Iterator[Example]:
    """Find requests through a proxy or a redirect, from a page, or to a name."""
    is_real = any(_host(request) == _REAL_HOST for request in requests)
    for request in requests:
        record = request.record
        names = [name for name in _PROXIES if record.header(name)]
        if names or (record.target and not record.target.startswith(("/", "*"))):
            yield Example("proxy", record, _with(request, names))
        pages = [name for name in _PAGES if record.header(name)]
        if pages:
            yield Example("redirected", record, _with(request, pages))
        if is_real and _is_name(_host(request)):
            yield Example("host_foreign", record, _with(request, ["host"]))


def _with(request: LintedRequest, names: Sequence[str]) -> str:
    headers = "".join(f", {name}: {request.record.header(name)}" for name in names)
    return request.record.line + headers


def _host(request: LintedRequest) -> str:
    """Return the Host of a request without its port."""
    host = request.record.header("host").lower()
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


def discouraged(requests: Sequence[LintedRequest]) -> Iterator[Example]:
    """Find requests for data and versions that Azure's documents advise against."""
    for request in requests:
        endpoint = request.record.endpoint
        if endpoint == "instance" and request.route in _ROUTES and request.record.status == _OK:
            yield Example(_ROUTES[request.route], request.record)
        is_preview = request.parameters.get("api-version") == _PREVIEW
        if endpoint == "scheduledevents" and is_preview:
            yield Example("version_preview", request.record)
