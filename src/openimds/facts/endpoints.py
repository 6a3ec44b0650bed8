"""The endpoints and their categories.

A category decides the form of errors, the limiter class and the headers of responses. An endpoint
decides its handler, verbs, versions and parameters.
"""

from msgspec import Struct

from openimds.facts.events import HEADER_SINCE
from openimds.facts.evidence import Evidence, chosen, client, documented, inferred, observed

REQUEST_CHECKS = (
    "HEAD",
    "Metadata header",
    "path",
    "verb",
    "X-Forwarded-For",
    "duplicate parameters",
    "api-version",
    "required parameters",
    "route",
    "format",
)
"""The order of the checks. Behind the header it is assumed."""

CHECKS_EVIDENCE = documented(
    "S60",
    "S77",
    note="HEAD never reaches IMDS, and the header comes first, as SDKs that probe without it rely "
    "on; the rest is assumed: no recording has a request with two mistakes",
)


class Category(Struct, frozen=True):
    """A family of endpoints below one path, with the properties that their responses share.

    With `has_rest` it also takes the paths below its prefix that belong to no endpoint. HEAD is
    answered by the front with `has_front`. `headers` is the header family of its responses,
    `served` that of its successes where they differ.
    """

    key: str
    prefix: str
    limit: str
    headers: str
    evidence: Evidence
    has_rest: bool = True
    has_front: bool = True
    served: str = ""


class EndpointParameter(Struct, frozen=True):
    """A query parameter; a required one has the key of a refusal in `missing`."""

    name: str
    evidence: Evidence
    missing: str = ""


class Endpoint(Struct, frozen=True):
    """One route.

    `versions` names the list that its api-version is checked against: `general`, `events`, `own`
    (the rows of `protocols`), `credential` (`CREDENTIAL_VERSIONS`), or empty for an endpoint
    without versions. `since` is the first version it takes. `handler` is the name of the function
    that answers; `protocol.handle` binds it. An endpoint with a `setting` exists only where that
    setting is given. Versions before `header_since` need no `Metadata` header, and an endpoint that
    is `is_open` never does. `until` is the last version it takes, empty for the newest.
    """

    key: str
    path: str
    category: str
    verbs: tuple[str, ...]
    versions: str
    since: str
    evidence: Evidence
    handler: str
    parameters: tuple[EndpointParameter, ...] = ()
    has_routes: bool = False
    has_formats: bool = False
    has_form: bool = False
    is_secret: bool = True
    """Whether responses hold a secret, so that recorders keep no body. A new row is secret."""
    setting: str = ""
    header_since: str = ""
    is_open: bool = False
    until: str = ""


_ELSEWHERE = chosen("limits and headers as for IMDS's own tokens; the root of the path is assumed")

CATEGORIES: tuple[Category, ...] = (
    Category(
        "identity",
        "/metadata/identity",
        "identity",
        "identity",
        documented("S2", "S6"),
        served="token",
    ),
    Category("loadbalancer", "/metadata/loadbalancer", "general", "general", documented("S7")),
    Category(
        "app_service",
        "/msi",
        "identity",
        "app_service",
        chosen("limits as for IMDS's own tokens"),
        has_rest=False,
        has_front=False,
    ),
    Category("arc", "/arc", "identity", "identity", _ELSEWHERE, has_rest=False, has_front=False),
    Category(
        "cloud_shell",
        "/oauth2",
        "identity",
        "identity",
        _ELSEWHERE,
        has_rest=False,
        has_front=False,
    ),
    Category("general", "/", "general", "general", documented("S1", "S2")),
)
"""Longest prefix first; the last one takes every path."""

CREDENTIAL_VERSIONS = ("2.0",)
"""The values of `cred-api-version`."""

ARC_NEWEST = "2021-02-01"
"""The newest api-version that Arc's agent names (S82)."""
_FORMAT = EndpointParameter("format", documented("S1", "S2"))
_EXTENDED = EndpointParameter("extended", observed("S12", "S26"))
_RESOURCE = EndpointParameter("resource", documented("S4", "S6"), missing="resource_missing")
_SELECTORS = tuple(
    EndpointParameter(name, documented("S4")) for name in ("client_id", "object_id", "msi_res_id")
)
_RESOURCE_ELSEWHERE = EndpointParameter(
    "resource", documented("S40", "S43"), missing="resource_missing"
)
_CREDENTIAL_VERSION = EndpointParameter("cred-api-version", client("S10"))

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "root",
        "/metadata",
        "general",
        ("GET",),
        "general",
        "2017-03-01",
        observed("S22", "S30", "S39", note="its list of today is not known"),
        "root",
        (_FORMAT,),
        has_formats=True,
        is_secret=False,
    ),
    Endpoint(
        "versions",
        "/metadata/versions",
        "general",
        ("GET",),
        "",
        "",
        documented("S1", "S2", "S4", note="no document states whether the header is required here"),
        "versions",
        is_secret=False,
    ),
    Endpoint(
        "instance",
        "/metadata/instance",
        "general",
        ("GET",),
        "general",
        "2017-03-01",
        documented("S1", "S2", "S31"),
        "instance",
        (_FORMAT, _EXTENDED),
        has_routes=True,
        has_formats=True,
        is_secret=False,
    ),
    Endpoint(
        "attested",
        "/metadata/attested/document",
        "general",
        ("GET",),
        "general",
        "2018-10-01",
        documented("S2"),
        "attested_document",
        (EndpointParameter("nonce", documented("S1", "S2", "S4")),),
    ),
    Endpoint(
        "token",
        "/metadata/identity/oauth2/token",
        "identity",
        ("GET",),
        "general",
        "2018-02-01",
        documented("S6"),
        "token",
        (
            _RESOURCE,
            *_SELECTORS,
            EndpointParameter("mi_res_id", observed("S11")),
            EndpointParameter("authority", documented("S4")),
            EndpointParameter("bypass_cache", documented("S4")),
            EndpointParameter(
                "token_sha256_to_refresh",
                inferred(
                    "S10",
                    "S64",
                    note="the hash of a token that a service refused; MSAL sends it to App Service",
                ),
            ),
            EndpointParameter(
                "claims", client("S64", note="SDKs of Go and JavaScript; other keys are refused")
            ),
        ),
    ),
    Endpoint(
        "identity_info",
        "/metadata/identity/info",
        "identity",
        ("GET",),
        "general",
        "2018-02-01",
        documented("S4", note="the response without a system identity is assumed"),
        "identity_info",
        is_secret=False,
    ),
    Endpoint(
        "scheduledevents",
        "/metadata/scheduledevents",
        "general",
        ("GET", "POST"),
        "events",
        "2017-03-01",
        documented("S5"),
        "scheduled_events",
        header_since=HEADER_SINCE,
        is_secret=False,
    ),
    Endpoint(
        "loadbalancer",
        "/metadata/loadbalancer",
        "loadbalancer",
        ("GET",),
        "general",
        "2020-10-01",
        documented("S2", "S7"),
        "load_balancer",
        (
            EndpointParameter(
                "format", client("S16", note="clients send format=json; it has no effect")
            ),
        ),
        is_secret=False,
    ),
    Endpoint(
        "platform_metadata",
        "/metadata/identity/getplatformmetadata",
        "identity",
        ("GET",),
        "credential",
        "2.0",
        client("S10", note="a host with version 1 alone answers 404"),
        "platform_metadata",
        (_CREDENTIAL_VERSION, *_SELECTORS[:2]),
        setting="msi_v2",
        is_secret=False,
    ),
    Endpoint(
        "issue_credential",
        "/metadata/identity/issuecredential",
        "identity",
        ("POST",),
        "credential",
        "2.0",
        client("S10", note="a host with version 1 alone answers 404"),
        "issue_credential",
        (_CREDENTIAL_VERSION, *_SELECTORS, EndpointParameter("bypass_cache", client("S10"))),
        setting="msi_v2",
    ),
    Endpoint(
        "credential",
        "/metadata/identity/credential",
        "identity",
        ("POST",),
        "",
        "",
        observed(
            "S10",
            note="the 400 without the header, for which clients probe; that a host without this "
            "draft of MSI v2 answers 404 with it is assumed",
        ),
        "absent",
        (_CREDENTIAL_VERSION,),
    ),
    Endpoint(
        "reprovisiondata",
        "/metadata/reprovisiondata",
        "general",
        ("GET",),
        "general",
        "2017-04-02",
        client("S12", note="the first version is that of an old client"),
        "reprovision_data",
    ),
    Endpoint(
        "endorsement",
        "/metadata/thim/amd/certification",
        "general",
        ("GET",),
        "",
        "",
        documented("S68", note="a VM of another size gets 404, which is assumed"),
        "endorsement",
        tuple(  # As every name in lower case; clients write tcbVersion, platformId, productName.
            EndpointParameter(name, client("S120"))
            for name in ("tcbversion", "platformid", "productname")
        ),
        is_secret=False,
    ),
    Endpoint(
        "quote",
        "/acc/tdquote",
        "general",
        ("POST",),
        "",
        "",
        client("S68", "S123", note="several clients send no header; other sizes get 404 (assumed)"),
        "quote",
        is_open=True,
    ),
    Endpoint(
        "app_service",
        "/msi/token",
        "app_service",
        ("GET",),
        "own",
        "2017-09-01",
        documented("S40", note="Azure draws the port at random; the path is documented"),
        "token",
        (
            _RESOURCE_ELSEWHERE,
            *(EndpointParameter(name, documented("S40")) for name in ("client_id", "principal_id")),
            *(EndpointParameter(name, documented("S40")) for name in ("mi_res_id", "clientid")),
            EndpointParameter("object_id", client("S41")),
            EndpointParameter("token_sha256_to_refresh", client("S64")),
        ),
    ),
    Endpoint(
        "azure_ml",
        "/msi/ml/token",
        "app_service",
        ("GET",),
        "own",
        "2017-09-01",
        client("S41", note="the path is assumed: clients read it from a variable"),
        "token",
        (
            _RESOURCE_ELSEWHERE,
            *(
                EndpointParameter(name, client("S41"))
                for name in ("clientid", "object_id", "msi_res_id")
            ),
        ),
    ),
    Endpoint(
        "arc",
        "/arc/metadata/identity/oauth2/token",
        "arc",
        ("GET",),
        "own",
        "2019-08-15",
        documented("S45", note="the first segment is added here, to tell the endpoint from IMDS"),
        "token",
        (
            _RESOURCE_ELSEWHERE,
            *(EndpointParameter(name, client("S41", "S44")) for name in ("client_id", "object_id")),
            EndpointParameter("msi_res_id", client("S44", note="Arc ignores mi_res_id")),
        ),
        setting="arc_folder",
    ),
    Endpoint(
        "arc_instance",
        "/arc/metadata/instance",
        "arc",
        ("GET",),
        "general",
        "2017-08-01",
        observed("S67", note="recorded at 2020-06-01; versions after that are assumed"),
        "arc_instance",
        (_FORMAT,),
        has_routes=True,
        has_formats=True,
        is_secret=False,
        setting="arc_folder",
        until=ARC_NEWEST,
    ),
    Endpoint(
        "arc_info",
        "/arc/metadata/identity/info",
        "arc",
        ("GET",),
        "general",
        "2018-02-01",
        documented("S67"),
        "identity_info",
        is_secret=False,
        setting="arc_folder",
        until=ARC_NEWEST,
    ),
    Endpoint(
        "arc_status",
        "/arc/agentstatus",
        "arc",
        ("GET",),
        "",
        "",
        client("S67", "S111", note="without the header; status is its only known member"),
        "arc_status",
        is_secret=False,
        setting="arc_folder",
        is_open=True,
    ),
    Endpoint(
        "cloud_shell",
        "/oauth2/token",
        "cloud_shell",
        ("GET", "POST"),
        "",
        "",
        documented("S43"),
        "token",
        (
            _RESOURCE_ELSEWHERE,
            *(EndpointParameter(name, chosen("as at IMDS")) for name in ("client_id", "object_id")),
            EndpointParameter("msi_res_id", chosen("as at IMDS")),
        ),
        has_form=True,
    ),
)


class AbsentPath(Struct, frozen=True):
    """A path of Azure that is not offered, with all paths below it: 404."""

    path: str
    reason: str
    evidence: Evidence


ABSENT_PATHS: tuple[AbsentPath, ...] = (
    AbsentPath(
        "/metadata/thim/sgx/certification",
        "PCK certificates of SGX enclaves are Intel's",
        client("S68"),
    ),
    AbsentPath(
        "/metadata/thim/endorsement",
        "the endorsements of Azure's firmware are signed by Microsoft",
        client("S68"),
    ),
)
"""Clients request them with reason, so that a 404 there is no mistake of theirs."""

UNKNOWN_PARAMETERS = client("S16", "S21", note="ignored: clients send format=json everywhere")
LETTER_CASE = inferred("S11", "S22", note="paths, routes and parameter names in any letter case")
ENCODED_QUERY = observed("S11", note="the whole target is decoded before it is split at ?")
TRAILING_SLASH = observed("S18", "S66", note="accepted on directories, and on leaves")
NO_LAST_NEWLINE = observed("S66", note="2023-10-03: the listing 0/ is 2 bytes")
ONE_HEADER = chosen(
    "two lines are one field (RFC 9110, 5.3); Azure's answer to Metadata: true, true is not known"
)
