"""What a client may do wrong: what Azure refuses, and what its documents say not to do.

Each rule names the evidence for what Azure does or says, and how the recorded requests tell that a
client broke it. Where Azure's documents are silent the mark is `chosen`, as everywhere.
"""

from enum import StrEnum

from msgspec import Struct

from openimds.facts.evidence import Evidence, chosen, documented, inferred, observed


class Verdict(StrEnum):
    """What comes of it on Azure."""

    REFUSED = "refused"
    """Azure answers such a request with an error."""
    ADVISED = "advised against"
    """Azure answers, and the documents, or good sense, say to do otherwise."""


class Rule(Struct, frozen=True):
    """One rule: its key, what Azure says or does, and how a breach is told from the requests.

    `reasons` are the keys of the refusals that tell it; with `endpoints`, at these alone. A rule
    without reasons is told by code of its own.
    """

    key: str
    verdict: Verdict
    says: str
    told: str
    evidence: Evidence
    reasons: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()


POLLS = ((1.0, 3), (10.0, 11))
"""Seconds, and how many looks within them are still once a second: one around an approval, one by
a timer that came early."""
RETRY_S = 1.0
"""The least wait before the second retry and those after it; the first may come at once."""
SLACK_S = 0.05
"""By so much timers are early, and clocks apart: a second is taken as over then."""
UNDER_WAY_S = 0.05
"""What comes so soon after an answer was sent before that was read."""
OUTAGE_S = 70.0
"""Within so many seconds IMDS is back from an update."""
EARLY_S = 300.0
"""So long before its end a token may be asked for anew: clients take it as over then."""
MOST_IN_VAIN = 2
"""How often a request that is wrong may come: a chain of credentials tries it once each."""
SOON_S = 60.0
"""Within a minute requests belong together."""
SERVED_BY_AZURE = frozenset({"/metadata/identity/credential", "/metadata/reprovisiondata"})
"""Paths that clients ask with reason (S10, S12), though nothing is served at them here."""

_REFUSED, _ADVISED = Verdict.REFUSED, Verdict.ADVISED
_BY_ROW = "its answer was the refusal"

RULES: tuple[Rule, ...] = (
    Rule(
        "header_missing",
        _REFUSED,
        "A request without the header Metadata: true gets 400",
        f"{_BY_ROW}; a client that asks the same with the header within a minute only looked "
        "whether IMDS is there, as SDKs do",
        observed("S29", "S30", note="documented too (S1, S2, S6); the looking of SDKs: S10"),
        ("header_missing",),
    ),
    Rule(
        "forwarded",
        _REFUSED,
        "A request with X-Forwarded-For is rejected, whatever its value",
        _BY_ROW,
        documented("S1", "S2"),
        ("forwarded",),
    ),
    Rule(
        "version_missing",
        _REFUSED,
        "A request without an api-version gets 400 with the newest versions",
        f"{_BY_ROW}; to ask with a version within a minute is a documented way to learn them",
        observed("S30", note="that versions can be learnt so is documented (S1, S2)"),
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
        "Scheduled events have api-versions of their own; a general one is not found there",
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
        "A parameter that is missing, too much, or has a value that cannot be, is refused",
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
        "A single value is given as text only; without format=text it is 400",
        _BY_ROW,
        documented("S1", "S2", note="recorded in S30"),
        ("leaf_needs_text",),
    ),
    Rule(
        "format_unknown",
        _REFUSED,
        "The formats are json and text",
        _BY_ROW,
        chosen("the two formats are documented (S1, S2); that others are refused is our choice"),
        ("format_unknown",),
    ),
    Rule(
        "verb_not_allowed",
        _REFUSED,
        "A verb that an endpoint does not take gets 405",
        _BY_ROW,
        documented("S1", "S2", "S5"),
        ("verb_not_allowed",),
    ),
    Rule(
        "path_unknown",
        _REFUSED,
        "Azure serves nothing at this path",
        f"{_BY_ROW}, and no Azure is known to have the path, whatever this server serves",
        inferred("S22", note="clients of many clouds try the paths of others; it does no harm"),
        ("not_found",),
        ("other",),
    ),
    Rule(
        "element_unknown",
        _REFUSED,
        "An element that the document lacks at that api-version is 404",
        f"{_BY_ROW}, below the instance document",
        documented("S1", "S2"),
        ("not_found",),
        ("instance",),
    ),
    Rule(
        "approval_malformed",
        _REFUSED,
        "An approval is JSON with a list of StartRequests; anything else gets 400",
        f"{_BY_ROW}, and the body cannot be read",
        documented("S5"),
    ),
    Rule(
        "approval_unknown",
        _REFUSED,
        "An approval of an event that the document does not list is refused",
        f"{_BY_ROW}, and the body can be read",
        chosen("200 is documented for ids that are valid (S5), and nothing for others"),
    ),
    Rule(
        "approval_again",
        _ADVISED,
        "One approval is enough: the event proceeds for all its resources",
        "one VM approves an id that it has approved with success",
        documented("S5", note="a second one is answered with 200, and changes nothing"),
    ),
    Rule(
        "not_http",
        _REFUSED,
        "IMDS speaks plain HTTP and nothing else",
        "the bytes were no request: TLS, as a rule",
        observed("S30", note="documented too (S2); the bounds are ours"),
        (
            "malformed",
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
        "A proxy is not supported: clients have to bypass it",
        "Via, Proxy-Connection or Forwarded, a target that is a whole URL, or CONNECT",
        documented("S2", "S6"),
    ),
    Rule(
        "redirected",
        _ADVISED,
        "The header is there so that a request is meant for IMDS, and not led to it",
        "Referer, Origin or Sec-Fetch-Site: a redirect that was followed, or a page in a browser",
        inferred("S2", note="what the header is for is documented; how to tell is our choice"),
    ),
    Rule(
        "host_foreign",
        _ADVISED,
        "IMDS is asked by its address; a name that leads to it may be somebody else's",
        "Host is a name, and the same VM has asked by 169.254.169.254 too",
        chosen("whether Azure looks at Host is not known; this is how DNS is rebound"),
    ),
    Rule(
        "over_limit",
        _REFUSED,
        "5 requests a second, 20 and 5 at once for identity: what is over gets 429",
        "a 429 of ours with 5 others in the second before it, or more in one second than the limit",
        documented("S1", "S2", note="which window Azure uses is unknown; ours slides"),
    ),
    Rule(
        "polled_often",
        _ADVISED,
        "To look at the scheduled events once a second is what is recommended",
        "more than 3 looks in a second, or 11 in ten",
        documented("S5", note="it says, too, that one may look as often as one likes"),
    ),
    Rule(
        "throttle_ignored",
        _ADVISED,
        "After 429 a client has to back off: the first retry may come at once, no other",
        "two more of the same within a second of a 429, but those that were under way",
        documented("S6"),
    ),
    Rule(
        "retried_soon",
        _ADVISED,
        "404 of identity, 410, 5xx and silence call for growing waits, of a second at least",
        "a retry that was no first one came within a second of an answer of that kind",
        documented("S6", note="MSAL waits 1, 2, 4 seconds, 10 after a 410 (S10)"),
    ),
    Rule(
        "given_up",
        _ADVISED,
        "404 of identity, 410, 429, 5xx and silence pass; an update is over within 70 seconds",
        "the VM was watched for 70 seconds more, and did not ask again",
        documented("S2", "S6", note="5 tries in about a minute are recommended"),
    ),
    Rule(
        "retried_in_vain",
        _ADVISED,
        "400 means that the request is wrong: the same again is answered the same",
        "the third of the same requests of identity with 400 within a minute",
        documented("S6", note="4xx errors are of the design, it says"),
    ),
    Rule(
        "token_not_kept",
        _ADVISED,
        "Clients should keep tokens, though IMDS keeps them too",
        "a token is asked for again in the first half of its life, with 5 minutes left or more; "
        "another process that cannot see what the first one keeps looks the same",
        documented(
            "S6", note="half of its life, and five minutes, are MSAL's and azure-identity's"
        ),
    ),
    Rule(
        "cache_bypassed",
        _ADVISED,
        "bypass_cache=true makes Azure ask Entra, which has limits of its own",
        "bypass_cache while the token that the VM had is good, and no service has refused it "
        "(token_sha256_to_refresh), or with a value that is not true",
        documented("S4", note="that it is for exceptions is our reading"),
    ),
    Rule(
        "custom_data",
        _ADVISED,
        "customData is deprecated and always empty; userData has taken its place",
        "the route of the request",
        documented("S2", note="it was recorded empty (S15, S18)"),
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
        KeyError: there is none.
    """
    return _ROWS[key]
