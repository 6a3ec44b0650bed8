"""The cases refused before any look-up, and which error wins when several apply."""

from tests.golden.bodies import (
    BAD_REQUEST,
    HEAD_REFUSED,
    IS_FORWARDED,
    IS_TWICE,
    NO_HEADER,
    NO_IDENTITY_HEADER,
    NO_IDENTITY_VERB,
    NO_NAME,
    NO_VERSION,
    NOT_ALLOWED,
    NOT_FOUND,
    as_text,
)
from tests.golden.case import INSTANCE, METADATA, V2021, Case, Reply, ask

TOKEN = "/metadata/identity/oauth2/token"
IDENTITY = "api-version=2018-02-01"
VAULT = "resource=https%3A%2F%2Fvault.azure.net"

FORWARDED = METADATA | {"X-Forwarded-For": "10.0.0.99"}


def refusal_cases() -> list[Case]:
    """All cases of this file."""
    return [*headers(), *duplicates(), *versions(), *verbs(), *two_at_once()]


def headers() -> list[Case]:
    """The required header and the forbidden one."""
    return [
        *ask(
            "A.0 recorded bodies [O] S30",
            NO_HEADER,
            {
                "no-header": f"{INSTANCE}?{V2021}",
                "no-header-part": f"{INSTANCE}/compute?{V2021}",
            },
            headers={},
        ),
        *ask(
            "A.0 recorded bodies [O] S22, S30",
            as_text(NO_HEADER),
            {"no-header-text": f"{INSTANCE}/compute/vmId?{V2021}&format=text"},
            headers={},
        ),
        *ask(
            "A.0 common to every endpoint, A.3 choice, A.4, H, G.7 [D]",
            NO_HEADER,
            {
                "no-header-versions": "/metadata/versions",
                "no-header-attested": f"/metadata/attested/document?{V2021}",
                "no-header-events": "/metadata/scheduledevents?api-version=2020-07-01",
                "no-header-balancer": f"/metadata/loadbalancer?{V2021}",
            },
            headers={},
        ),
        *ask(
            "A.0 mandatory header [D], body unknown",
            BAD_REQUEST,
            {"header-false": f"{INSTANCE}?{V2021}"},
            headers={"Metadata": "false"},
        ),
        *ask(
            "N1 [O] S40",
            HEAD_REFUSED,
            {
                "no-header-head": f"{INSTANCE}?{V2021}",
                "no-header-head-root": "/",
                "no-header-head-token": TOKEN,
            },
            method="HEAD",
            headers={},
        ),
        *ask(
            "N31, chosen",
            NO_HEADER,
            {"header-listed": f"{INSTANCE}?{V2021}"},
            headers={"Metadata": "true, true"},
        ),
        *ask(
            "A.0 forbidden header [D]; S93",
            IS_FORWARDED,
            {
                "forwarded": f"{INSTANCE}?{V2021}",
                "forwarded-versions": "/metadata/versions",
            },
            headers=FORWARDED,
        ),
        *ask(
            "A.0 forbidden header, whatever the value [D]; S93",  # words: as in imds-wire.md
            IS_FORWARDED,
            {"forwarded-empty": f"{INSTANCE}?{V2021}"},
            headers=METADATA | {"x-forwarded-for": ""},
        ),
        *ask(
            "A.0 forbidden header [D]; S93: a proxy's request for a token, 367 bytes",
            IS_FORWARDED,
            {"forwarded-token": f"{TOKEN}?{IDENTITY}&{VAULT}"},
            headers=FORWARDED,
        ),
    ]


def duplicates() -> list[Case]:
    """Query names given twice."""
    return [
        *ask(
            "A.0 duplicate query names [D], K",
            IS_TWICE,
            {
                "twice-version": f"{INSTANCE}?{V2021}&{V2021}",
                "twice-format": f"{INSTANCE}?{V2021}&format=json&format=json",
                "twice-unknown-name": f"{INSTANCE}?{V2021}&colour=blue&colour=red",
                "twice-attested": f"/metadata/attested/document?{V2021}&nonce=1&nonce=2",
            },
        ),
        *ask(
            "A.0 duplicate query names [D], names without regard to case [I], K",
            IS_TWICE,
            {
                "twice-version-case": f"{INSTANCE}?{V2021}&API-Version=2021-02-01",
                "twice-format-case": f"{INSTANCE}?format=json&{V2021}&Format=json",
            },
        ),
        *ask(
            "A.0 duplicate query names, identity invalid_request [D]",
            Reply(400, json_has={"error": "invalid_request"}),
            {"twice-token": f"{TOKEN}?{IDENTITY}&{VAULT}&{VAULT}"},
        ),
    ]


def versions() -> list[Case]:
    """No api-version, or one that does not exist."""
    return [
        *ask(
            "A.0 recorded bodies [O] S30, M 3; three newest by K",
            NO_VERSION,
            {
                "no-version-root": "/metadata",
                "no-version": INSTANCE,
                "no-version-slash": f"{INSTANCE}/",
                "no-version-part": f"{INSTANCE}/compute",
                "no-version-leaf": f"{INSTANCE}/compute/location",
                "no-version-format": f"{INSTANCE}/compute?format=json",
            },
        ),
        *ask(
            "A.0 api-version mandatory everywhere [D]",
            NO_VERSION,
            {"no-version-attested": "/metadata/attested/document"},
        ),
        *ask(
            "A.0 recorded bodies, no or unknown api-version [D] S2",
            NO_VERSION,
            {
                "empty-version": f"{INSTANCE}?api-version=",
                "old-version": f"{INSTANCE}?api-version=2016-01-01",
                "future-version": f"{INSTANCE}?api-version=2999-12-31",
                "worded-version": f"{INSTANCE}?api-version=latest",
            },
        ),
        *ask(
            "B.1 not real; B.2 scheduledevents only [I]",
            NO_VERSION,
            {
                "made-up-version": f"{INSTANCE}?api-version=2019-07-15",
                "events-version": f"{INSTANCE}?api-version=2020-07-01",
            },
        ),
        *ask(
            "N3, chosen",
            HEAD_REFUSED,
            {"no-version-head": f"{INSTANCE}/compute/vmId"},
            method="HEAD",
        ),
        *ask(
            "F.3 status [I], body not recorded; M 14",
            BAD_REQUEST,
            {"no-version-token": f"{TOKEN}?{VAULT}"},
        ),
        *ask(
            "A.0 status [D], body not recorded",
            BAD_REQUEST,
            {"no-version-events": "/metadata/scheduledevents"},
        ),
    ]


def verbs() -> list[Case]:
    """Anything but GET; the front refuses HEAD."""
    cases = []
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        cases += ask(
            "A.0 verbs [D], K",
            NOT_ALLOWED,
            {f"{method.lower()}-instance": f"{INSTANCE}?{V2021}"},
            method=method,
        )
    return [
        *cases,
        *ask(
            "A.0 verbs [D], K",
            NOT_ALLOWED,
            {
                "post-part": f"{INSTANCE}/compute?{V2021}",
                "post-versions": "/metadata/versions",
                "post-attested": f"/metadata/attested/document?{V2021}",
            },
            method="POST",
        ),
        *ask(
            "A.0 verbs [D], K",
            NOT_ALLOWED,
            {"put-events": "/metadata/scheduledevents?api-version=2020-07-01"},
            method="PUT",
        ),
        *ask(
            "F.3 405 [D], words of a swagger example",
            NO_IDENTITY_VERB,
            {"post-token": f"{TOKEN}?{IDENTITY}&{VAULT}"},
            method="POST",
        ),
        *ask(
            "H 405 [D], words of 2021 [I]; Allow by RFC 9110 15.5.6",
            Reply(
                405,
                r'{"error":"Http method is not allowed: Path = \"/metadata/loadbalancer\", '
                r'Method = \"DELETE\""}',
                has_headers={"Allow": None},
            ),
            {"delete-balancer": f"/metadata/loadbalancer?{V2021}"},
            method="DELETE",
        ),
    ]


def two_at_once() -> list[Case]:
    """Two rules broken at once: K names the order, and nothing else does."""
    order = "K order of checks:"
    forwarded_only = {"X-Forwarded-For": "10.0.0.99"}
    twice = f"{V2021}&{V2021}"
    unknown = "api-version=2999-12-31"
    lost = f"{INSTANCE}/compute/nothing"
    return [
        *ask(
            "N30 [D], [O*] S57: header before all else",
            NO_HEADER,
            {"both-path-header": f"/metadata/nothing?{V2021}"},
            headers={},
        ),
        *ask(
            "S94: an SDK whose URL had two slashes",
            NO_NAME,
            {"path-empty-name": f"/{TOKEN}?{IDENTITY}&{VAULT}"},
        ),
        *ask(f"{order} path, version", NOT_FOUND, {"both-path-version": "/metadata/nothing"}),
        *ask(
            f"{order} path, method",
            NOT_FOUND,
            {"both-path-method": f"/metadata/nothing?{V2021}"},
            method="PUT",
        ),
        *ask(
            "N30 [D], [O*] S57: header before all else",
            NO_HEADER,
            {"both-method-header": f"{INSTANCE}?{V2021}"},
            method="DELETE",
            headers={},
        ),
        *ask(
            "N30 [D], [O*] S57: header before all else",
            NO_IDENTITY_HEADER,
            {"both-identity-path-header": "/metadata/identity/nothing"},
            headers={},
        ),
        *ask(
            f"{order} method, X-Forwarded-For",
            NOT_ALLOWED,
            {"both-method-forwarded": f"{INSTANCE}?{V2021}"},
            method="POST",
            headers=FORWARDED,
        ),
        *ask(
            f"{order} method, route",
            NOT_ALLOWED,
            {"both-method-route": f"{lost}?{V2021}"},
            method="POST",
        ),
        *ask(
            f"{order} header, X-Forwarded-For",
            NO_HEADER,
            {"both-header-forwarded": f"{INSTANCE}?{V2021}"},
            headers=forwarded_only,
        ),
        *ask(
            f"{order} header, later rules",
            NO_HEADER,
            {
                "both-header-twice": f"{INSTANCE}?{twice}",
                "both-header-version": INSTANCE,
                "both-header-route": f"{lost}?{V2021}",
                "both-header-format": f"{INSTANCE}/compute/vmId?{V2021}",
                "both-header-balancer": "/metadata/loadbalancer",
            },
            headers={},
        ),
        *ask(
            f"{order} X-Forwarded-For, later rules",
            IS_FORWARDED,
            {
                "both-forwarded-twice": f"{INSTANCE}?{twice}",
                "both-forwarded-version": INSTANCE,
                "both-forwarded-route": f"{lost}?{V2021}",
            },
            headers=FORWARDED,
        ),
        *ask(
            f"{order} duplicates, later rules",
            IS_TWICE,
            {
                "both-twice-version": f"{INSTANCE}?{unknown}&{unknown}",
                "both-twice-no-version": f"{INSTANCE}?format=json&format=text",
                "both-twice-route": f"{lost}?{twice}",
                "both-twice-format": f"{INSTANCE}/compute/vmId?{twice}",
            },
        ),
        *ask(
            f"{order} version, later rules",
            NO_VERSION,
            {
                "both-version-route": f"{lost}?{unknown}",
                "both-version-leaf": f"{INSTANCE}/compute/vmId?{unknown}",
                "both-version-format": f"{INSTANCE}?{unknown}&format=xml",
            },
        ),
        *ask(
            f"{order} route, format",
            NOT_FOUND,
            {
                "both-route-format": f"{lost}?{V2021}&format=xml",
            },
        ),
        *ask(
            "F.3, M 2", NO_IDENTITY_HEADER, {"both-token-header": f"{TOKEN}?{IDENTITY}"}, headers={}
        ),
    ]
