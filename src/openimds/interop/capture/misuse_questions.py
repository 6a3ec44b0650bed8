"""Questions that an IMDS should refuse, as rows about its refusals."""

from openimds.facts.facts import ATTESTED, NO_NONCE, NONCE, ONE_VALUE, ORDER_OF_CHECKS, RULE, fact
from openimds.interop.capture.question import (
    BALANCER,
    DOCUMENT,
    EVENTS,
    INSTANCE,
    METADATA,
    ROOT,
    Question,
    V,
    ask,
    refused,
)
from openimds.interop.transcript.exchange import RecordedRequest

_FORWARDED = (*METADATA, ("X-Forwarded-For", "10.0.0.99"))
_LATER = "api-version=2999-12-31"
_ORDER = fact(RULE, ORDER_OF_CHECKS)

HEADERS: tuple[Question, ...] = (
    *ask(
        "the header that must be there",
        refused("header_missing"),
        {
            "no-header": f"{INSTANCE}?{V}",
            "no-header-text": f"{INSTANCE}/compute/vmSize?{V}&format=text",
            "no-header-root": f"{ROOT}?{V}",
            "no-header-versions": "/metadata/versions",
            "no-header-attested": f"{DOCUMENT}?{V}",
            "no-header-balancer": f"{BALANCER}?{V}",
            "no-header-events": f"{EVENTS}?api-version=2020-07-01",
            "no-header-events-2017": f"{EVENTS}?api-version=2017-03-01",
        },
        headers=(),
    ),
    *ask(
        "the header with another value",
        refused("header_missing"),
        {"header-false": f"{INSTANCE}?{V}"},
        (("Metadata", "false"),),
    ),
    *ask(
        "the header with two values",
        fact(RULE, ONE_VALUE),
        {"header-listed": f"{INSTANCE}?{V}"},
        (("Metadata", "true, true"),),
    ),
    *ask(
        "the header that must not be there",
        refused("forwarded"),
        {"forwarded": f"{INSTANCE}?{V}", "forwarded-versions": "/metadata/versions"},
        _FORWARDED,
    ),
    *ask(
        "the header that must not be there, empty",
        refused("forwarded"),
        {"forwarded-empty": f"{INSTANCE}?{V}"},
        (*METADATA, ("X-Forwarded-For", "")),
    ),
    Question(
        "no-host",
        "HTTP/1.1 without a Host",
        refused("host_missing", "http"),
        RecordedRequest("GET", f"{INSTANCE}?{V}", METADATA, has_host=False),
    ),
)

PARAMETERS: tuple[Question, ...] = (
    *ask(
        "a parameter twice",
        refused("duplicate_parameter"),
        {
            "twice-version": f"{INSTANCE}?{V}&{V}",
            "twice-format": f"{INSTANCE}?{V}&format=json&format=json",
            "twice-unknown-name": f"{INSTANCE}?{V}&colour=blue&colour=red",
            "twice-version-case": f"{INSTANCE}?{V}&API-Version=2021-02-01",
            "twice-attested": f"{DOCUMENT}?{V}&nonce=1&nonce=2",
        },
    ),
    *ask(
        "no api-version",
        refused("version_missing"),
        {
            "no-version": INSTANCE,
            "no-version-root": ROOT,
            "no-version-part": f"{INSTANCE}/compute",
            "no-version-leaf": f"{INSTANCE}/compute/location",
            "no-version-format": f"{INSTANCE}/compute?format=json",
            "no-version-attested": DOCUMENT,
            "no-version-events": EVENTS,
        },
    ),
    *ask(
        "an api-version that there is not",
        refused("version_unknown"),
        {
            "empty-version": f"{INSTANCE}?api-version=",
            "old-version": f"{INSTANCE}?api-version=2016-01-01",
            "made-up-version": f"{INSTANCE}?api-version=2019-07-15",
            "future-version": f"{INSTANCE}?{_LATER}",
            "worded-version": f"{INSTANCE}?api-version=latest",
            "events-version": f"{INSTANCE}?api-version=2020-07-01",
            "unknown-version-root": f"{ROOT}?{_LATER}",
        },
    ),
    *ask(
        "a leaf without format=text",
        refused("leaf_needs_text"),
        {
            "json-leaf": f"{INSTANCE}/compute/vmSize?{V}",
            "json-leaf-format": f"{INSTANCE}/compute/vmSize?{V}&format=json",
            "json-leaf-empty": f"{INSTANCE}/compute/customData?{V}",
        },
    ),
    *ask(
        "a format that there is not",
        refused("format_unknown"),
        {
            "format-xml": f"{INSTANCE}?{V}&format=xml",
            "format-xml-leaf": f"{INSTANCE}/compute/vmSize?{V}&format=xml",
        },
    ),
    *ask(
        "a malformed nonce",
        refused("nonce_unfit"),
        {"nonce-odd": f"{DOCUMENT}?{V}&nonce=a.b"},
    ),
    *ask(
        "an empty nonce, which counts as none here",
        fact(ATTESTED, NO_NONCE),
        {"nonce-empty": f"{DOCUMENT}?{V}&nonce="},
    ),
    *ask(
        "the longest nonce, and a longer one",
        fact(ATTESTED, NONCE),
        {
            "nonce-longest": f"{DOCUMENT}?{V}&nonce=12345678901234567890123456789012",
            "nonce-longer": f"{DOCUMENT}?{V}&nonce=123456789012345678901234567890123",
        },
    ),
)

PATHS: tuple[Question, ...] = (
    *ask(
        "a path that leads nowhere",
        refused("not_found"),
        {
            "unknown-category": f"/metadata/nothing?{V}",
            "unknown-below-attested": f"{DOCUMENT}/signature?{V}",
            "unknown-below-versions": "/metadata/versions/0",
            "dots-in-route": f"{INSTANCE}/compute/../network?{V}",
            "double-slash": f"{INSTANCE}//compute?{V}",
            "route-top": f"{INSTANCE}/nothing?{V}",
            "route-key": f"{INSTANCE}/compute/nothing?{V}",
            "route-key-text": f"{INSTANCE}/compute/nothing?{V}&format=text",
            "route-index-high": f"{INSTANCE}/network/interface/99?{V}",
            "route-index-negative": f"{INSTANCE}/network/interface/-1?{V}",
            "route-index-of-object": f"{INSTANCE}/compute/0?{V}",
            "route-through-leaf": f"{INSTANCE}/compute/vmSize/value?{V}",
            "route-of-later": f"{INSTANCE}/compute/physicalZone?{V}",
        },
    ),
    *ask(
        "a path of another cloud",
        refused("not_found"),
        {"foreign-root": "/", "foreign-latest": "/latest/meta-data"},
        headers=(),
    ),
    *ask(
        "scheduled events at a general api-version",
        refused("not_found"),
        {"events-general-version": f"{EVENTS}?api-version=2021-12-13"},
    ),
)

VERBS: tuple[Question, ...] = (
    *(
        question
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS")
        for question in ask(
            "a verb that there is not",
            refused("verb_not_allowed"),
            {f"{method.lower()}-instance": f"{INSTANCE}?{V}"},
            method=method,
        )
    ),
    *ask(
        "a verb that there is not, elsewhere",
        refused("verb_not_allowed"),
        {"post-versions": "/metadata/versions", "post-attested": f"{DOCUMENT}?{V}"},
        method="POST",
    ),
    *ask(
        "HEAD without the header",
        refused("head"),
        {"no-header-head": f"{INSTANCE}?{V}"},
        (),
        "HEAD",
    ),
    *ask(
        "a verb that there is not, of the load balancer",
        refused("verb_not_allowed", "loadbalancer"),
        {"delete-balancer": f"{BALANCER}?{V}"},
        method="DELETE",
    ),
)

OF_BALANCER: tuple[Question, ...] = (
    *ask(
        "no api-version, of the load balancer",
        refused("version_missing", "loadbalancer"),
        {"balancer-no-version": BALANCER},
    ),
    *ask(
        "an api-version that there is not, of the load balancer",
        refused("version_unknown", "loadbalancer"),
        {"balancer-unknown-version": f"{BALANCER}?{_LATER}"},
    ),
    *ask(
        "an unknown parameter, of the load balancer",
        refused("unexpected_request", "loadbalancer"),
        {
            "balancer-parameter": f"{BALANCER}?{V}&colour=blue",
            "balancer-format": f"{BALANCER}?{V}&format=json",
        },
    ),
    *ask(
        "a path below the load balancer",
        refused("not_found", "loadbalancer"),
        {"balancer-below": f"{BALANCER}/nothing?{V}"},
    ),
)

ORDER: tuple[Question, ...] = (
    *ask(
        "which refusal comes first, without the header",
        _ORDER,
        {
            "both-path-header": f"/metadata/nothing?{V}",
            "both-header-version": INSTANCE,
            "both-header-twice": f"{INSTANCE}?{V}&{V}",
            "both-header-route": f"{INSTANCE}/compute/nothing?{V}",
            "both-header-format": f"{INSTANCE}/compute/vmSize?{V}",
            "both-header-balancer": BALANCER,
        },
        headers=(),
    ),
    *ask(
        "which refusal comes first, with the header alone that must not be there",
        _ORDER,
        {"both-header-forwarded": f"{INSTANCE}?{V}"},
        _FORWARDED[1:],
    ),
    *ask(
        "which refusal comes first, with the header that must not be there",
        _ORDER,
        {
            "both-forwarded-version": INSTANCE,
            "both-forwarded-twice": f"{INSTANCE}?{V}&{V}",
            "both-forwarded-route": f"{INSTANCE}/compute/nothing?{V}",
        },
        _FORWARDED,
    ),
    *ask(
        "which refusal comes first",
        _ORDER,
        {
            "both-path-version": "/metadata/nothing",
            "both-twice-version": f"{INSTANCE}?{_LATER}&{_LATER}",
            "both-twice-route": f"{INSTANCE}/compute/nothing?{V}&{V}",
            "both-twice-format": f"{INSTANCE}/compute/vmSize?{V}&{V}",
            "both-version-route": f"{INSTANCE}/compute/nothing?{_LATER}",
            "both-version-format": f"{INSTANCE}?{_LATER}&format=xml",
            "both-route-format": f"{INSTANCE}/compute/nothing?{V}&format=xml",
        },
    ),
    *ask(
        "which refusal comes first, with a verb that there is not",
        _ORDER,
        {"both-verb-version": INSTANCE, "both-verb-route": f"{INSTANCE}/compute/nothing?{V}"},
        method="POST",
    ),
    *ask(
        "which refusal comes first, with such a verb and without the header",
        _ORDER,
        {"both-verb-header": f"{INSTANCE}?{V}"},
        (),
        "POST",
    ),
)
