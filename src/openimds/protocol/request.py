"""Parse a request target into a query."""

from urllib.parse import unquote, unquote_plus

from msgspec import Struct

from openimds.facts.endpoints import CATEGORIES, ENDPOINTS, Category, Endpoint

_ENDPOINTS = {row.path: row for row in ENDPOINTS}
_ROUTED = tuple(row for row in ENDPOINTS if row.has_routes)
_CATEGORIES = {row.key: row for row in CATEGORIES}


class Query(Struct, frozen=True):
    """A parsed request, before any check.

    `endpoint` is None for an unknown path. `parameters` has names in lower case and the first value
    of each; a repeated name sets `has_duplicates`. `credentials` are the headers that carry a
    secret, by name in lower case; Azure's other identity protocols have some. `none_match` is the
    value of If-None-Match. `is_secondary` is known while faults are active: whether the source is
    a private address of the VM, but not its primary one. `is_header_exact` is false for a Metadata
    header in other letters than `true`; `is_on_windows` is true for a query to App Service of a VM
    with Windows. `is_rebound` is true where web pages may call, if Host or Origin may be that of
    one (DNS rebinding).
    """

    method: str
    path: str
    category: Category
    endpoint: Endpoint | None
    route: tuple[str, ...]
    parameters: dict[str, str]
    has_duplicates: bool
    has_metadata_header: bool = False
    is_forwarded: bool = False
    credentials: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    none_match: str = ""
    is_secondary: bool = False
    is_header_exact: bool = True
    is_on_windows: bool = False
    is_rebound: bool = False


def parse_query(  # noqa: PLR0913 - the relevant parts of a request
    method: str,
    target: bytes,
    *,
    has_metadata_header: bool = False,
    is_forwarded: bool = False,
    credentials: tuple[tuple[str, str], ...] = (),
    body: bytes = b"",
    extras: frozenset[str] = frozenset(),
    none_match: str = "",
    is_header_exact: bool = True,
    is_rebound: bool = False,
) -> Query:
    """Return the query of a request line, the relevant headers and a body.

    `extras` are the settings that add endpoints. The whole target is decoded before it is split at
    the first question mark, as IMDS does (`facts.endpoints.ENCODED_QUERY`); dot segments and double
    slashes stay.
    """
    path, pieces = _split(target)
    endpoint, route = _find(path, extras)
    if endpoint and endpoint.has_form:
        pieces += _encoded(body.decode("latin-1"))
    parameters = _parameters(pieces)
    return Query(
        method=method,
        path=path,
        category=_CATEGORIES[endpoint.category] if endpoint else category_of(path),
        endpoint=endpoint,
        route=route,
        parameters=parameters,
        has_duplicates=len(parameters) < len(pieces),
        has_metadata_header=has_metadata_header,
        is_forwarded=is_forwarded,
        credentials=credentials,
        body=body,
        none_match=none_match,
        is_header_exact=is_header_exact,
        is_rebound=is_rebound,
    )


def category_of(path: str) -> Category:
    """Return the category of a path, which may be unknown."""
    lower = path.lower()
    for row in CATEGORIES[:-1]:
        if row.has_rest and (lower == row.prefix or lower.startswith(row.prefix + "/")):
            return row
    return CATEGORIES[-1]


def _split(target: bytes) -> tuple[str, list[tuple[str, str]]]:
    """Return the decoded path, and the decoded names and values of the query."""
    text = target.decode("latin-1")
    if not text.startswith("/"):
        # Absolute form (RFC 9112, 3.2.2): the target begins after the authority.
        _, slashes, rest = text.partition("://")
        text = "/" + rest.partition("/")[2] if slashes else text
    raw_path, _, raw_query = text.partition("?")
    path, _, inner = unquote(raw_path).partition("?")
    pieces = _encoded(raw_query)
    if inner:  # The query stands behind an encoded question mark, and is decoded.
        decoded = [piece.partition("=") for piece in inner.split("&") if piece]
        pieces = [*((name, value) for name, _, value in decoded), *pieces]
    return path, pieces


def _encoded(text: str) -> list[tuple[str, str]]:
    pieces = [piece.partition("=") for piece in text.split("&") if piece]
    return [(unquote_plus(name), unquote_plus(value)) for name, _, value in pieces]


def _find(path: str, extras: frozenset[str]) -> tuple[Endpoint | None, tuple[str, ...]]:
    """Return the endpoint of a path and the route below, without one trailing slash."""
    plain = path.removesuffix("/")
    lower = plain.lower()
    exact = _ENDPOINTS.get(lower)
    if exact and (not exact.setting or exact.setting in extras):
        return exact, ()
    for row in _ROUTED:
        if lower.startswith(row.path + "/") and (not row.setting or row.setting in extras):
            return row, tuple(plain[len(row.path) + 1 :].split("/"))
    return None, ()


def _parameters(pieces: list[tuple[str, str]]) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for name, value in pieces:
        parameters.setdefault(name.lower(), value)
    return parameters
