"""The lint rules for clients: requests that Azure refuses or its documents advise against.

Each rule has Azure's behaviour or advice with its evidence, and the detection of a breach in the
recorded requests. Where Azure's documents are silent the mark is `chosen`, as everywhere.
"""

from enum import StrEnum

from msgspec import Struct

from openimds.facts.evidence import Evidence, chosen, documented, inferred, observed


class Verdict(StrEnum):
    """The consequence of a breach on Azure."""

    REFUSED = "refused"
    """Azure answers such a request with an error."""
    ADVISED = "advised against"
    """Azure answers, but its documents or good sense advise otherwise."""


class Rule(Struct, frozen=True):
    """One rule: Azure's behaviour or advice, and the detection of a breach.

    A response with a refusal of the keys `reasons` is a breach; with `endpoints`, only at those. A
    rule without reasons has code of its own in `protocol.lint`.
    """

    key: str
    verdict: Verdict
    says: str
    detection: str
    evidence: Evidence
    reasons: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    is_optional: bool = False
    """Whether it is judged on demand alone."""


POLLS = ((1.0, 3), (10.0, 11))
"""Seconds, and the most polls in them that count as one a second: one more surrounds an approval,
one more comes from an early timer."""
RETRY_S = 1.0
"""The shortest wait before the second and later retries; the first may come at once."""
SLACK_S = 0.05
"""The tolerance for early timers and different clocks: a second is over this much earlier."""
UNDER_WAY_S = 0.05
"""A request this soon after a response was sent before the client read that response."""
OUTAGE_S = 70.0
"""The longest update of IMDS."""
EARLY_S = 300.0
"""A token may be renewed this long before its end: clients treat it as expired then."""
MOST_IN_VAIN = 2
"""The most equal wrong requests: each member of a credential chain tries once."""
SOON_S = 60.0
"""Requests within a minute belong together."""

_REFUSED, _ADVISED = Verdict.REFUSED, Verdict.ADVISED
_BY_ROW = "the response was this refusal"

RULES: tuple[Rule, ...] = (
    Rule(
        "header_missing",
        _REFUSED,
        "A request without the header Metadata: true gets 400",
        f"{_BY_ROW}; a client that repeats the request with the header within a minute only probed "
        "for IMDS, as SDKs do",
        observed("S29", "S30", note="documented too (S1, S2, S6); the probes of SDKs: S10"),
        ("header_missing",),
    ),
    Rule(
        "forwarded",
        _REFUSED,
        "A request with X-Forwarded-For, of any value, is rejected",
        _BY_ROW,
        documented("S1", "S2"),
        ("forwarded",),
    ),
    Rule(
        "version_missing",
        _REFUSED,
        "A request without an api-version gets 400 with the newest versions",
        f"{_BY_ROW}; a request with a version within a minute is a documented way to learn them",
        observed("S30", note="learning the versions this way is documented (S1, S2)"),
        ("version_missing",),
    ),
    Rule(
        "version_unknown",
        _REFUSED,
        "An api-version that does not exist, or that the endpoint lacks, is refused",
        f"{_BY_ROW}, and no region has the version there: one that is only too new is no mistake",
        observed("S30", note="documented too (S2)"),
        ("version_unknown",),
    ),
    Rule(
        "version_foreign",
        _REFUSED,
        "Scheduled events have api-versions of their own; a general one gets 404 there",
        _BY_ROW,
        observed("S25"),
        ("not_found",),
        ("scheduledevents",),
    ),
    Rule(
        "version_preview",
        _ADVISED,
        "2017-03-01 of scheduled events is a preview",
        "the api-version of a request for scheduled events",
        documented("S5", note="{latest}, of earlier previews, is refused as unknown"),
    ),
    Rule(
        "duplicate_parameter",
        _REFUSED,
        "A request that names a parameter twice is rejected",
        _BY_ROW,
        documented("S1", "S2", "S6"),
        ("duplicate_parameter",),
    ),
    Rule(
        "parameter_unfit",
        _REFUSED,
        "A parameter that is missing, superfluous or has an impossible value is refused",
        _BY_ROW,
        documented("S4", "S6", "S7", note="resource_missing and identity_ambiguous: S30"),
        (
            "resource_missing",
            "resource_unknown",
            "selectors_exclude",
            "identity_ambiguous",
            "nonce_unfit",
            "unexpected_request",
        ),
    ),
    Rule(
        "leaf_needs_text",
        _REFUSED,
        "A single value is served as text only; without format=text it is 400",
        _BY_ROW,
        documented("S1", "S2", note="recorded in S30"),
        ("leaf_needs_text",),
    ),
    Rule(
        "format_unknown",
        _REFUSED,
        "The formats are json and text",
        _BY_ROW,
        chosen("the two formats are documented (S1, S2); that others are refused is assumed"),
        ("format_unknown",),
    ),
    Rule(
        "verb_not_allowed",
        _REFUSED,
        "A verb that the endpoint does not take gets 405, and HEAD 400",
        _BY_ROW,
        observed("S60", note="the answer to HEAD; the others are documented (S1, S2, S5)"),
        ("verb_not_allowed", "head"),
    ),
    Rule(
        "path_unknown",
        _REFUSED,
        "Azure serves nothing at this path",
        f"{_BY_ROW}, and Azure is not known to serve the path either",
        inferred(
            "S22", note="clients of many clouds try the paths of other clouds; it does no harm"
        ),
        ("not_found", "empty_name"),
        ("other",),
    ),
    Rule(
        "element_unknown",
        _REFUSED,
        "An element that the document lacks at that api-version gets 404",
        f"{_BY_ROW}, below the instance document",
        documented("S1", "S2"),
        ("not_found",),
        ("instance",),
    ),
    Rule(
        "approval_malformed",
        _REFUSED,
        "An approval is JSON with a list of StartRequests; anything else gets 400",
        f"{_BY_ROW}, and the body is malformed",
        documented("S5"),
    ),
    Rule(
        "approval_unknown",
        _REFUSED,
        "An approval of an event that the document does not list is refused",
        f"{_BY_ROW}, and the body is well-formed",
        chosen("200 is documented for valid ids (S5), and nothing for other ids"),
    ),
    Rule(
        "approval_again",
        _ADVISED,
        "One approval is enough: the event proceeds for all its resources",
        "a VM approves an id that it approved before with success",
        documented("S5", note="a second approval gets 200 and changes nothing"),
    ),
    Rule(
        "not_http",
        _REFUSED,
        "IMDS speaks only plain HTTP",
        "the bytes were no request: usually TLS",
        observed("S30", note="documented too (S2); the bounds are assumed"),
        (
            "malformed",
            "line_malformed",
            "target_malformed",
            "header_malformed",
            "host_malformed",
            "length_malformed",
            "body_malformed",
            "coding_unknown",
            "host_missing",
            "target_too_long",
            "headers_too_large",
            "body_too_large",
            "expectation_unknown",
        ),
    ),
    Rule(
        "proxy",
        _ADVISED,
        "Proxies are not supported: clients have to bypass them",
        "Via, Proxy-Connection or Forwarded, an absolute URL as target, or CONNECT",
        documented("S2", "S6"),
    ),
    Rule(
        "redirected",
        _ADVISED,
        "The header proves that a request is meant for IMDS, and not redirected to it",
        "Referer, Origin or Sec-Fetch-Site: a followed redirect, or a page in a browser",
        inferred("S2", note="the purpose of the header is documented; the detection is assumed"),
    ),
    Rule(
        "host_foreign",
        _ADVISED,
        "IMDS is requested by its address; a host name may resolve elsewhere",
        "Host is a name, and the same VM also sent requests to 169.254.169.254",
        chosen("whether Azure checks Host is not known; DNS rebinding looks like this"),
    ),
    Rule(
        "address_secondary",
        _REFUSED,
        "Only the primary address of the primary interface gets answers; other requests time out",
        "on demand alone: the source is another private address of the VM than its first",
        documented("S1", "S2"),
        is_optional=True,
    ),
    Rule(
        "over_limit",
        _REFUSED,
        "Above 5 requests a second, for identity 20 and 5 at once, a request gets 429",
        "a 429 of this server after 5 others in a second, or more requests in one than the limit",
        documented("S1", "S2", note="the window that Azure uses is unknown; here it slides"),
    ),
    Rule(
        "polled_often",
        _ADVISED,
        "Polling the scheduled events once a second is recommended",
        "more than 3 polls in a second, or 11 in ten seconds",
        documented("S5", note="S5 also allows polling at any rate"),
    ),
    Rule(
        "throttle_ignored",
        _ADVISED,
        "After 429 a client has to back off: only the first retry may come at once",
        "two more equal requests within a second of a 429, beside those in flight",
        documented("S6"),
    ),
    Rule(
        "retried_soon",
        _ADVISED,
        "After 404 of identity, 410, 5xx or silence, waits have to grow, from a second on",
        "a second or later retry came within a second of such a response",
        documented("S6", note="MSAL waits 1, 2 and 4 seconds, and 10 after a 410 (S10)"),
    ),
    Rule(
        "given_up",
        _ADVISED,
        "404 of identity, 410, 429, 5xx and silence pass; an update ends within 70 seconds",
        "the VM was observed for 70 more seconds and did not retry",
        documented("S2", "S6", note="5 tries in about a minute are recommended"),
    ),
    Rule(
        "retried_in_vain",
        _ADVISED,
        "400 means that the request is wrong: a repeated request gets the same response",
        "the third equal identity request with 400 within a minute",
        documented("S6", note="S6 calls 4xx errors design errors"),
    ),
    Rule(
        "token_not_kept",
        _ADVISED,
        "Clients should cache tokens, although IMDS caches them too",
        "a token is requested again in the first half of its life, with 5 minutes or more left; "
        "another process without access to the first one's cache looks the same",
        documented(
            "S6", note="half of the lifetime, and five minutes, come from MSAL and azure-identity"
        ),
    ),
    Rule(
        "cache_bypassed",
        _ADVISED,
        "bypass_cache=true makes Azure call Entra, which has limits of its own",
        "bypass_cache while the VM's token is valid and no service has refused it "
        "(token_sha256_to_refresh), or with a value other than true",
        documented("S4", note="that it is for exceptions is our reading"),
    ),
    Rule(
        "custom_data",
        _ADVISED,
        "customData is deprecated and always empty; userData replaces it",
        "the route of the request",
        documented("S2", note="recorded empty (S15, S18)"),
    ),
    Rule(
        "tags_parsed",
        _ADVISED,
        "tags escapes nothing: a program should read tagsList",
        "the route of the request",
        documented("S1", "S2"),
    ),
)

_ROWS = {row.key: row for row in RULES}


def rule(key: str) -> Rule:
    """Return the row of a rule.

    Raises:
        KeyError: no row has the key.
    """
    return _ROWS[key]
