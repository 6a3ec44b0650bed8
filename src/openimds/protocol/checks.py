"""The request checks in the order of `facts.endpoints.REQUEST_CHECKS`; the first refusal wins.

Each check is a function that returns the key of a refusal, or nothing.
Azure has no check of web pages (`rebound`): it is for loopback listeners, behind the verb, so that
such a page learns nothing but the refusals that need no VM.
"""

from collections.abc import Container

import msgspec.json

from openimds.facts.endpoints import CREDENTIAL_VERSIONS, Endpoint
from openimds.facts.versions import SCHEDULED_EVENTS, Catalog
from openimds.protocol import identity_dialects
from openimds.protocol.request import Query
from openimds.protocol.response import Refusal, inside_json, refuse

_EVENT_VERSIONS = frozenset(row.name for row in SCHEDULED_EVENTS)


def check(query: Query, catalog: Catalog, secret: str = "") -> Refusal | None:
    """Return the first refusal of the checks that need no document, or None.

    `secret` is the proof that callers of App Service's endpoints have to send.
    """
    key = _front(query) or _proof(query, secret) or _path(query) or _verb(query)
    key = key or _rebound(query) or _forwarded(query) or _duplicates(query)
    if not key:
        assert query.endpoint is not None
        key = _version(query, query.endpoint, catalog) or _required(query, query.endpoint)
    return refuse(key, query, _blanks(query, catalog)) if key else None


def lacks_header(query: Query) -> bool:
    """Tell whether a query lacks the header that its endpoint requires: `Metadata`, or a secret."""
    return _proof(query, "") == "header_missing"


def _blanks(query: Query, catalog: Catalog) -> dict[str, str]:
    """Return the value of every blank in a refusal row, as JSON text."""
    return {
        "newest": msgspec.json.encode(_newest(query, catalog)).decode(),
        "path": inside_json(query.path),
        "method": inside_json(query.method),
        "supported": " ".join(_newest(query, catalog)),
        "value": inside_json(query.parameters.get("api-version", "")),
    }


def _newest(query: Query, catalog: Catalog) -> tuple[str, ...]:
    if query.category.key == "arc":
        return identity_dialects.versions("arc")
    match query.endpoint.versions if query.endpoint else "":
        case "own":
            assert query.endpoint is not None
            return identity_dialects.versions(query.endpoint.key)
        case _:
            return catalog.newest_first


def _front(query: Query) -> str:
    return "head" if query.method == "HEAD" and query.category.has_front else ""


def _path(query: Query) -> str:
    if query.endpoint:
        return ""
    return "empty_name" if query.path.startswith("//") else "not_found"


def _verb(query: Query) -> str:
    verbs = query.endpoint.verbs if query.endpoint else ()
    return "" if query.method in verbs else "verb_not_allowed"


def _proof(query: Query, secret: str) -> str:
    is_open = query.endpoint is not None and query.endpoint.is_open
    is_free = is_open or _is_before_headers(query)
    return "" if is_free else identity_dialects.guard(query, secret)


def _rebound(query: Query) -> str:
    return "rebound" if query.is_rebound else ""


def _forwarded(query: Query) -> str:
    return "forwarded" if query.is_forwarded else ""


def _is_before_headers(query: Query) -> bool:
    """Tell whether the api-version is older than the `Metadata` header."""
    version = query.parameters.get("api-version", "")
    since = query.endpoint.header_since if query.endpoint else ""
    return version in _EVENT_VERSIONS and version < since


def _duplicates(query: Query) -> str:
    return "duplicate_parameter" if query.has_duplicates else ""


def _version(query: Query, endpoint: Endpoint, catalog: Catalog) -> str:
    version = query.parameters.get("api-version", "")
    match endpoint.versions:
        case "":
            return ""
        case "events":
            if version in _EVENT_VERSIONS:
                return ""
            # A general version there is answered like an unknown element (recorded, S25).
            return "not_found" if version in catalog.known else "version_unknown"
        case "own":
            return _one_of(identity_dialects.versions(endpoint.key), version)
        case "credential":
            key = _one_of(CREDENTIAL_VERSIONS, query.parameters.get("cred-api-version", ""))
            return f"credential_{key}" if key else ""
        case _:
            is_served = endpoint.since <= version <= (endpoint.until or version)
            known = catalog.known if is_served else ()
            return _one_of(known, version)


def _one_of(versions: Container[str], version: str) -> str:
    if version in versions:
        return ""
    return "version_unknown" if version else "version_missing"


def _required(query: Query, endpoint: Endpoint) -> str:
    for row in endpoint.parameters:
        if row.missing and not query.parameters.get(row.name):
            return row.missing
    return ""
