"""Questions that an IMDS should answer, as rows.

No row asks for a token or for anything else below `/metadata/identity`, and none approves an event.
"""

from openimds.facts.facts import (
    ANY_CASE,
    ATTESTED,
    DECODED,
    ENDPOINT,
    IGNORED,
    NO_NEWLINE,
    NO_NONCE,
    PARAMETER,
    RULE,
    SLASH,
    Fact,
    fact,
)
from openimds.interop.capture.question import (
    BALANCER,
    DOCUMENT,
    EVENTS,
    GENERAL,
    INSTANCE,
    METADATA,
    OF_EVENTS,
    ROOT,
    Question,
    V,
    ask,
    refused,
)
from openimds.interop.transcript.exchange import RecordedRequest

_SWITCHING_ON_S = 130.0
"""The first answer about events takes up to two minutes (S5)."""
_AT = "?api-version={version}"
_SERVED = fact(ENDPOINT, INSTANCE)
_FORMAT = fact(PARAMETER, f"{INSTANCE}: format")


def _each(key: str, why: str, about: Fact, target: str, option: str = "") -> Question:
    return Question(key, why, about, RecordedRequest("GET", target, METADATA), GENERAL, option)


VERSIONS = Question(
    "versions",
    "which api-versions this region knows",
    fact(ENDPOINT, "/metadata/versions"),
    RecordedRequest("GET", "/metadata/versions", METADATA),
)
"""The first question of every plan."""

DOCUMENTS: tuple[Question, ...] = (
    _each("instance", "the instance document", _SERVED, INSTANCE + _AT),
    _each(
        "extended",
        "the members that extended=true adds, and since when",
        fact(PARAMETER, f"{INSTANCE}: extended"),
        f"{INSTANCE}{_AT}&extended=true",
        "extended",
    ),
    _each(
        "attested",
        "the signed document, and since when",
        fact(ENDPOINT, DOCUMENT),
        f"{DOCUMENT}{_AT}&nonce=1234567890",
        "attested",
    ),
    _each("balancer", "load balancers, and since when", fact(ENDPOINT, BALANCER), BALANCER + _AT),
    Question(
        "events",
        "the document of scheduled events",
        fact(ENDPOINT, EVENTS),
        RecordedRequest("GET", EVENTS + _AT, METADATA),
        OF_EVENTS,
        "events",
        _SWITCHING_ON_S,
    ),
)

PARTS: tuple[Question, ...] = (
    *ask(
        "a part of the document",
        _SERVED,
        {
            "part-compute": f"{INSTANCE}/compute?{V}",
            "part-disk": f"{INSTANCE}/compute/storageProfile/osDisk?{V}",
            "part-tags": f"{INSTANCE}/compute/tagsList?{V}",
            "part-network": f"{INSTANCE}/network?{V}",
            "part-interfaces": f"{INSTANCE}/network/interface?{V}",
            "part-interface": f"{INSTANCE}/network/interface/0?{V}",
            "part-newest": f"{INSTANCE}/network/interface/0?api-version={{newest}}",
            "part-json": f"{INSTANCE}/compute?{V}&format=json",
        },
    ),
    *ask(
        "the last byte of a listing",
        fact(RULE, NO_NEWLINE),
        {"text-top": f"{INSTANCE}?{V}&format=text"},
    ),
    *ask(
        "a listing: its names, its order, its last byte",
        _FORMAT,
        {
            "text-compute": f"{INSTANCE}/compute?{V}&format=text",
            "text-newest": f"{INSTANCE}/compute?api-version={{newest}}&format=text",
            "text-network": f"{INSTANCE}/network?{V}&format=text",
            "text-interfaces": f"{INSTANCE}/network/interface?{V}&format=text",
            "text-interface": f"{INSTANCE}/network/interface/0?{V}&format=text",
            "text-tags": f"{INSTANCE}/compute/tagsList?{V}&format=text",
            "text-upper": f"{INSTANCE}/compute?{V}&format=TEXT",
        },
    ),
    *ask(
        "a leaf as text: its media type, its last byte",
        _FORMAT,
        {
            "leaf-location": f"{INSTANCE}/compute/location?{V}&format=text",
            "leaf-tags": f"{INSTANCE}/compute/tags?{V}&format=text",
            "leaf-empty": f"{INSTANCE}/compute/customData?{V}&format=text",
            "leaf-key": f"{INSTANCE}/compute/publicKeys/0/keyData?{V}&format=text",
            "leaf-mac": f"{INSTANCE}/network/interface/0/macAddress?{V}&format=text",
        },
    ),
    *ask(
        "the listing of the root",
        fact(ENDPOINT, ROOT),
        {
            "root": f"{ROOT}?{V}",
            "root-newest": f"{ROOT}?api-version={{newest}}",
            "root-text": f"{ROOT}?{V}&format=text",
            "root-text-newest": f"{ROOT}?api-version={{newest}}&format=text",
        },
    ),
)

LENIENCY: tuple[Question, ...] = (
    *ask(
        "a slash at the end",
        fact(RULE, SLASH),
        {
            "slash-top": f"{INSTANCE}/?{V}",
            "slash-part": f"{INSTANCE}/network/interface/?{V}&format=text",
            "slash-leaf": f"{INSTANCE}/compute/location/?{V}&format=text",
            "slash-versions": "/metadata/versions/",
        },
    ),
    *ask(
        "letter case",
        fact(RULE, ANY_CASE),
        {
            "case-path": f"/Metadata/Instance/compute?{V}",
            "case-route": f"{INSTANCE}/compute/VMSIZE?{V}&format=text",
            "case-parameter": f"{INSTANCE}/compute?API-Version=2021-02-01",
        },
    ),
    *ask(
        "a question mark that is encoded",
        fact(RULE, DECODED),
        {"encoded-query": f"{INSTANCE}/compute%3F{V}"},
    ),
    *ask(
        "an unknown parameter",
        fact(RULE, IGNORED),
        {
            "unknown-parameter": f"{INSTANCE}/compute?{V}&colour=blue",
            "unknown-attested": f"{DOCUMENT}?{V}&nonce=1234567890&format=json",
            "versions-parameter": "/metadata/versions?format=json",
        },
    ),
    *ask(
        "the header's value in another letter case",
        _SERVED,
        {"header-upper": f"{INSTANCE}/compute?{V}"},
        (("Metadata", "True"),),
    ),
    *ask("HEAD", refused("head"), {"head": f"{INSTANCE}/compute?{V}"}, method="HEAD"),
    *ask("a document without a nonce", fact(ATTESTED, NO_NONCE), {"no-nonce": f"{DOCUMENT}?{V}"}),
)
