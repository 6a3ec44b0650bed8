"""Every endpoint and the category it belongs to.

A category decides how errors are wrapped, which limiter class counts and which headers an answer
carries. An endpoint decides which verbs, versions and parameters it takes.
"""

from msgspec import Struct

from openimds.spec.evidence import Evidence, chosen, client, documented, inferred, observed

GATES = (
    "path",
    "verb",
    "Metadata header",
    "X-Forwarded-For",
    "duplicate parameters",
    "api-version",
    "required parameters",
    "route",
    "format",
)
"""The order of the checks. No recording breaks two rules at once, so the order is our choice."""

GATES_EVIDENCE = chosen("the order of the checks")


class Category(Struct, frozen=True):
    """A family of endpoints below one path, and what its answers have in common."""

    key: str
    prefix: str
    limit: str
    headers: str
    evidence: Evidence


class Parameter(Struct, frozen=True):
    """A query parameter; `missing` is the refusal when a required one is not there."""

    name: str
    evidence: Evidence
    missing: str = ""


class Endpoint(Struct, frozen=True):
    """One route.

    `versions` says which list its api-version is checked against (`general`, `events`, or empty
    for an endpoint without versions), `since` the first one it takes. `unserved` is the refusal of
    a VM that has nothing to give there.
    """

    key: str
    path: str
    category: str
    verbs: tuple[str, ...]
    versions: str
    since: str
    evidence: Evidence
    parameters: tuple[Parameter, ...] = ()
    has_routes: bool = False
    has_formats: bool = False
    unserved: str = "not_found"


CATEGORIES: tuple[Category, ...] = (
    Category("identity", "/metadata/identity", "identity", "identity", documented("S2", "S6")),
    Category("loadbalancer", "/metadata/loadbalancer", "general", "general", documented("S7")),
    Category("general", "/", "general", "general", documented("S1", "S2")),
)
"""Longest prefix first; the last one takes everything."""

_READ = ("GET", "HEAD")
_FORMAT = Parameter("format", documented("S1", "S2"))
_EXTENDED = Parameter("extended", observed("S12", "S26"))
_RESOURCE = Parameter("resource", documented("S4", "S6"), missing="resource_missing")
_SELECTORS = tuple(
    Parameter(name, documented("S4")) for name in ("client_id", "object_id", "msi_res_id")
)

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "root",
        "/metadata",
        "general",
        _READ,
        "general",
        "2017-03-01",
        observed("S22", "S30", "S39", note="what it lists today is not known"),
        (_FORMAT,),
        has_formats=True,
    ),
    Endpoint(
        "versions",
        "/metadata/versions",
        "general",
        _READ,
        "",
        "",
        documented("S1", "S2", "S4", note="whether the header is enforced here is not stated"),
    ),
    Endpoint(
        "instance",
        "/metadata/instance",
        "general",
        _READ,
        "general",
        "2017-03-01",
        documented("S1", "S2", "S31"),
        (_FORMAT, _EXTENDED),
        has_routes=True,
        has_formats=True,
    ),
    Endpoint(
        "attested",
        "/metadata/attested/document",
        "general",
        ("GET",),
        "general",
        "2018-10-01",
        documented("S2"),
        (Parameter("nonce", documented("S1", "S2", "S4")),),
    ),
    Endpoint(
        "token",
        "/metadata/identity/oauth2/token",
        "identity",
        ("GET",),
        "general",
        "2018-02-01",
        documented("S6"),
        (
            _RESOURCE,
            *_SELECTORS,
            Parameter("mi_res_id", observed("S11")),
            Parameter("authority", documented("S4")),
            Parameter("bypass_cache", documented("S4")),
        ),
        unserved="identity_not_found",
    ),
    Endpoint(
        "identity_info",
        "/metadata/identity/info",
        "identity",
        ("GET",),
        "general",
        "2018-02-01",
        documented("S4", note="the answer without a system identity is our choice"),
        unserved="identity_not_found",
    ),
    Endpoint(
        "scheduledevents",
        "/metadata/scheduledevents",
        "general",
        ("GET", "POST"),
        "events",
        "2017-03-01",
        documented("S5"),
    ),
    Endpoint(
        "loadbalancer",
        "/metadata/loadbalancer",
        "loadbalancer",
        ("GET",),
        "general",
        "2020-10-01",
        documented("S2", "S7"),
        unserved="no_load_balancer",
    ),
)

UNKNOWN_PARAMETERS = client("S16", "S21", note="ignored: clients send format=json everywhere")
LETTER_CASE = inferred("S11", "S22", note="paths, routes and parameter names in any letter case")
ENCODED_QUERY = observed("S11", note="the whole target is decoded before it is split at ?")
TRAILING_SLASH = client("S18", note="accepted on directories, and on leaves")
