"""Faults on request: their effects, and the matchers that select requests.

Each effect has the view of the client, the reason why clients need to meet it, and the evidence
that Azure does the same. A fault of the network alone is marked `chosen`: it is no fact about
Azure.
"""

from enum import StrEnum

from msgspec import Struct

from openimds.facts.endpoints import CATEGORIES, ENDPOINTS
from openimds.facts.evidence import Evidence, chosen, client, documented, observed
from openimds.facts.pages import PAGES
from openimds.facts.versions import GENERAL


class ValueKind(StrEnum):
    """The type of a value, for people."""

    TEXT = "a string"
    NUMBER = "a number"
    WHOLE = "a whole number"
    TEXTS = "a list of strings"
    WORD = "a string or a whole number"
    LINES = "a list of header lines"
    EDITS = "a list of NAME=VALUE"


# The names that `fault describe --json` and the admin API have had since 0.1.0.
_JSON_NAMES = {"kind": "sort", "help": "about", "minimum": "least", "maximum": "most"}


class FaultParameter(Struct, frozen=True, rename=_JSON_NAMES):
    """A parameter of a fault: its type, bounds and default.

    Without a `default` it is absent where it is not given; a `required` one has to be given.
    """

    name: str
    kind: ValueKind
    help: str
    default: str | float | tuple[str, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str | int, ...] = ()
    required: bool = False


class EffectMode(StrEnum):
    """The relation of an effect to the true response, and to the request's own effect."""

    INSTEAD = "instead"
    """Another response is sent, and the request changes nothing."""
    OTHERWISE = "otherwise"
    """The request is answered for a VM or a region that differs from the true one."""
    DELIVERY = "delivery"
    """The true response is sent, and the request has its effect; the delivery suffers."""
    SILENCE = "silence"
    """No response is sent, and the request changes nothing."""


class HeaderMatch(StrEnum):
    """The requests that a fault hits, by the header that their endpoint requires.

    That is `Metadata`, or the secret of App Service. IMDS checks it before all else (S77): a
    fault of IMDS or Entra leaves a request without it the 400 by which SDKs probe; a fault of the
    front or of the network does not.
    """

    PRESENT = "present"
    ABSENT = "absent"
    ANY = "any"


class Effect(Struct, frozen=True):
    """One effect: the view of the client, the reason to test it, and the evidence.

    It applies only to requests of `endpoints` (keys of endpoints or categories; none: to all).
    `header` is the default of the matcher of that name.
    """

    key: str
    mode: EffectMode
    about: str
    why: str
    evidence: Evidence
    parameters: tuple[FaultParameter, ...] = ()
    endpoints: tuple[str, ...] = ()
    ends_connection: bool = False
    """Whether the effect ends the connection."""
    precedes_requests: bool = False
    """Whether the effect concerns connections: no request has been read yet."""
    header: HeaderMatch = HeaderMatch.PRESENT


class FaultStatus(Struct, frozen=True):
    """A status on request, and the refusal whose text it has in each category.

    `header` is the default of the matcher of that name: `any` where the front sends the status.
    """

    status: int
    refusal: str
    evidence: Evidence
    header: HeaderMatch = HeaderMatch.PRESENT


LONGEST_S = 10 * 366 * 86400
"""The longest window: a longer one is a mistake in the unit."""
LONGEST_WAIT_S = 600
MOST_REQUESTS = 10**9
MOST_BYTES = 65536
LOWEST_STATUS, HIGHEST_STATUS = 200, 599
MOST_BODY_BYTES = 65536
"""The largest body of a fault, and of the file that it is read from."""
LONGEST_ENCODED = -(-MOST_BODY_BYTES // 3) * 4
"""The characters of the largest body as base64."""
MOST_HEADERS = 32
LONGEST_HEADER = 1024
"""The longest line of a header, its name included, in characters."""
LONGEST_REASON = 200
LONGEST_MEDIA = 200

MOST_EDITS = 16
"""The most fields that an edit of a token's answer drops, and the most that it sets."""
LONGEST_EDIT = 1024
"""The longest edit of a field, its name included, in characters."""
LONGEST_RETRY = 200
"""The longest value of Retry-After, in characters."""

_STATUSES = (
    FaultStatus(403, "forbidden", documented("S4", note="swagger of 2018 only")),
    FaultStatus(404, "not_found", documented("S6", "S10", note="the endpoint is being updated")),
    FaultStatus(410, "updating", documented("S2", "S6", note="for at most 70 s"), HeaderMatch.ANY),
    FaultStatus(429, "throttled", documented("S1", "S2")),
    FaultStatus(500, "server_error", documented("S1", "S2", "S6")),
    FaultStatus(503, "unavailable", documented("S4", "S7")),
)
STATUSES: dict[int, FaultStatus] = {row.status: row for row in _STATUSES}

EDITED_TOKEN = "edited-token"  # noqa: S105 - the key of an effect
HEADER = "header"
"""The matcher whose default depends on the effect."""
_TARGETS = tuple(dict.fromkeys([*(row.key for row in ENDPOINTS), *(row.key for row in CATEGORIES)]))

SECONDARY = "secondary"
"""A source that Azure does not answer (S1, S2): with `hang`, requests from it time out."""

MATCHERS: tuple[FaultParameter, ...] = (
    FaultParameter("vms", ValueKind.TEXTS, "Names of VMs; without it, all VMs."),
    FaultParameter(
        "endpoint",
        ValueKind.TEXT,
        "One endpoint, or all endpoints of a category.",
        choices=_TARGETS,
    ),
    FaultParameter(
        "path", ValueKind.TEXT, "A path and all paths below it, or a pattern with * and ?."
    ),
    FaultParameter(
        "method", ValueKind.TEXT, "The method of the request.", choices=("GET", "HEAD", "POST")
    ),
    FaultParameter(
        HEADER,
        ValueKind.TEXT,
        "Whether the request has the header that its endpoint requires, such as Metadata.",
        choices=tuple(map(str, HeaderMatch)),
    ),
    FaultParameter(
        "nth",
        ValueKind.WHOLE,
        "Only the request of this number; the matching requests of each VM count from 1.",
        minimum=1,
        maximum=MOST_REQUESTS,
    ),
    FaultParameter(
        "skip", ValueKind.WHOLE, "Not the first N requests.", minimum=0, maximum=MOST_REQUESTS
    ),
    FaultParameter(
        "first",
        ValueKind.WHOLE,
        "Only the first N requests, after `skip`.",
        minimum=1,
        maximum=MOST_REQUESTS,
    ),
    FaultParameter(
        "every",
        ValueKind.WHOLE,
        "Only every N-th request, after `skip`.",
        minimum=1,
        maximum=MOST_REQUESTS,
    ),
    FaultParameter(
        "from_s",
        ValueKind.NUMBER,
        "Only after so many seconds.",
        minimum=0,
        maximum=LONGEST_S,
    ),
    FaultParameter(
        "until_s",
        ValueKind.NUMBER,
        "Only during the first so many seconds.",
        minimum=0,
        maximum=LONGEST_S,
    ),
    FaultParameter(
        "probability", ValueKind.NUMBER, "Each request with this probability.", minimum=0, maximum=1
    ),
    FaultParameter("seed", ValueKind.TEXT, "The seed of the random choice."),
    FaultParameter(
        "source",
        ValueKind.TEXT,
        "Only requests from other private addresses of the VM than its first, its primary one.",
        choices=(SECONDARY,),
    ),
)
"""The matchers of requests. All given ones have to match; seconds count from the fault's start."""

WAIT = FaultParameter(
    "delay_s",
    ValueKind.NUMBER,
    "Delay before any byte is sent, in seconds.",
    minimum=0,
    maximum=LONGEST_WAIT_S,
)
"""The parameter of every effect on an open connection."""

RETRY_AFTER = FaultParameter(
    "retry_after",
    ValueKind.WORD,
    "The value of Retry-After; date+SECONDS and date-SECONDS are a date so far from Date.",
    maximum=LONGEST_RETRY,
)
"""A parameter of refusals. No recording of IMDS has the header; proxies and services send it."""

_IDENTITY = ("identity", "app_service", "arc", "cloud_shell")
FORGERIES = (
    "expired",
    "not-yet-valid",
    "wrong-audience",
    "wrong-issuer",
    "unknown-key",
    "bad-signature",
    "unsigned",
    "missing-claim",
)
"""The defects of a forged token."""
BAD_DOCUMENTS = (
    "expired-leaf",
    "unknown-intermediate",
    "wrong-cloud",
    "stale-nonce",
    "expired-document",
    "tampered-payload",
    "revoked-leaf",
)
"""The defects of an attested document."""
_SIGNED = ("new-intermediate", "new-root", *BAD_DOCUMENTS)
MISSING, EMPTY = "missing", "empty"
CLOSE, RESET = "close", "reset"
BLACKHOLE, DELAY, REFUSED = "blackhole", "delay", "refused"
RESPONSE, STATUS = "response", "status"
_NETWORK = chosen("a fault of the network or of a dying process; no recording of Azure has it")

_ROWS = (
    Effect(
        STATUS,
        EffectMode.INSTEAD,
        "A refusal with Azure's text for the category of the request.",
        "Clients differ most in the statuses that they retry, and in the time that they try.",
        documented("S1", "S2", "S4", "S6", note="each status has its own evidence"),
        (
            FaultParameter(
                "status",
                ValueKind.WHOLE,
                "The status of the response.",
                choices=tuple(STATUSES),
                required=True,
            ),
            RETRY_AFTER,
        ),
    ),
    Effect(
        "proxy-500",
        EffectMode.INSTEAD,
        "500 in plain text with a `Server` that does not name IMDS.",
        "A client that looks for IMDS in `Server` takes a restarting service for an absent one.",
        documented("S10", note="the proxy before IMDS answers while IMDS restarts"),
        (RETRY_AFTER,),
        header=HeaderMatch.ANY,
    ),
    Effect(
        RESPONSE,
        EffectMode.INSTEAD,
        "A response of a server between the client and IMDS: a named page, or your own.",
        "Proxies, portals and other servers answer at this address, and seldom in JSON.",
        client("S90", "S91", note="each page has its own evidence"),
        (
            FaultParameter(
                "page",
                ValueKind.TEXT,
                "A named page; the other parameters replace parts of it.",
                choices=tuple(PAGES),
            ),
            FaultParameter(
                "status",
                ValueKind.WHOLE,
                "The status of the response.",
                minimum=LOWEST_STATUS,
                maximum=HIGHEST_STATUS,
            ),
            FaultParameter(
                "reason",
                ValueKind.TEXT,
                "The words after the status; without them, those of HTTP.",
                maximum=LONGEST_REASON,
            ),
            FaultParameter(
                "content_type",
                ValueKind.TEXT,
                "The value of Content-Type; without it, the response has none.",
                maximum=LONGEST_MEDIA,
            ),
            FaultParameter(
                "headers",
                ValueKind.LINES,
                "More headers, such as `Via: 1.1 proxy`.",
                minimum=1,
                maximum=MOST_HEADERS,
            ),
            FaultParameter(
                "body", ValueKind.TEXT, "The body as text, in UTF-8.", maximum=MOST_BODY_BYTES
            ),
            FaultParameter(
                "body_base64",
                ValueKind.TEXT,
                "The body as base64, for bytes that are no text.",
                maximum=LONGEST_ENCODED,
            ),
            RETRY_AFTER,
        ),
        header=HeaderMatch.ANY,
    ),
    Effect(
        "no-identity",
        EffectMode.OTHERWISE,
        "The VM has no identity (yet): 400 `Identity not found`, in the form of each protocol.",
        "A new identity takes a while to arrive, and most libraries treat this 400 as final.",
        documented("S10", note="the refusal itself was recorded (S29)"),
        endpoints=_IDENTITY,
    ),
    Effect(
        "forged-token",
        EffectMode.OTHERWISE,
        "A token with one defect.",
        "A client passes on any token; the service behind it has to reject the bad ones.",
        chosen("IMDS issues no such token; a wrong clock or a forger does"),
        (
            FaultParameter(
                "forgery", ValueKind.TEXT, "The defect of the token.", "expired", choices=FORGERIES
            ),
        ),
        endpoints=_IDENTITY,
    ),
    Effect(
        EDITED_TOKEN,
        EffectMode.OTHERWISE,
        "The answer with the true token, some of its fields missing, changed or expired.",
        "A client that indexes a field, or trusts a type, fails far from the request.",
        chosen("no recording has such an answer; versions and imitations of IMDS differ in fields"),
        (
            FaultParameter(
                "drop",
                ValueKind.TEXTS,
                "Names of fields that are missing.",
                maximum=MOST_EDITS,
            ),
            FaultParameter(
                "set",
                ValueKind.EDITS,
                "Fields with other values, such as `expires_in=soon`; a value is JSON or a string.",
                minimum=1,
                maximum=MOST_EDITS,
            ),
            FaultParameter(
                "expires_s",
                ValueKind.NUMBER,
                "Seconds from the response to the expiry in its fields; negative: in the past.",
                minimum=-LONGEST_S,
                maximum=LONGEST_S,
            ),
        ),
        endpoints=_IDENTITY,
    ),
    Effect(
        "missing-challenge",
        EffectMode.OTHERWISE,
        "Arc's 401 without `WWW-Authenticate`, which names the file to read.",
        "A proxy that drops the header leaves the client a 401 that it cannot answer.",
        chosen("no recording has it; SDKs have an error of their own for it"),
        endpoints=("arc",),
    ),
    Effect(
        "unknown-version",
        EffectMode.OTHERWISE,
        "A region without the api-versions after `newest`: 400 with its newest ones.",
        "Versions reach regions and clouds months apart; a client has to know an older one.",
        documented("S1", note="a version that was listed and still refused was reported too (S30)"),
        (
            FaultParameter(
                "newest",
                ValueKind.TEXT,
                "The newest general api-version of the region.",
                choices=tuple(row.name for row in GENERAL),
                required=True,
            ),
        ),
    ),
    Effect(
        "stale-document",
        EffectMode.OTHERWISE,
        "The VM as it was when the fault was set, without later changes.",
        "Tags and sizes arrive late; a client that reads them once continues with the old ones.",
        documented(
            "S2", note="tags of a scale set appear only after a reboot or a change of disks"
        ),
        endpoints=("root", "instance", "attested", "loadbalancer"),
    ),
    Effect(
        "missing-fields",
        EffectMode.OTHERWISE,
        "Fields are missing or empty in a 200; with `extended=true` it is 500 instead.",
        "IMDS answers with the rest when one of its sources fails; code that indexes breaks.",
        documented("S14", note="from an engineer of Azure, without the names of the fields"),
        (
            FaultParameter(
                "fields",
                ValueKind.TEXTS,
                "Paths such as `network` or `network.interface.0.ipv6`.",
                required=True,
            ),
            FaultParameter(
                "leave",
                ValueKind.TEXT,
                "Whether the fields are missing or empty.",
                MISSING,
                choices=(MISSING, EMPTY),
            ),
        ),
        endpoints=("instance",),
    ),
    Effect(
        "attested-document",
        EffectMode.OTHERWISE,
        "An attested document under a new intermediate or root, or with a defect.",
        "Verifiers that pin an issuer fail on the day that it changes, without announcement.",
        observed("S18", "S25", note="three issuers from 2020 to 2023; the defects are assumed"),
        (
            FaultParameter(
                "scenario",
                ValueKind.TEXT,
                "The issuer, or the defect of the document.",
                "new-intermediate",
                choices=_SIGNED,
            ),
        ),
        endpoints=("attested",),
    ),
    Effect(
        DELAY,
        EffectMode.DELIVERY,
        "The true response, late.",
        "A slow response is not a missing one: with too short a time-out Azure looks absent.",
        documented("S6", "S10", note="a time-out is among the documented errors"),
        header=HeaderMatch.ANY,
    ),
    Effect(
        "trickle",
        EffectMode.DELIVERY,
        "The true response, a few bytes at a time.",
        "A time-out for each read never fires, and one for the whole response is often missing.",
        _NETWORK,
        (
            FaultParameter(
                "bytes", ValueKind.WHOLE, "Bytes in each piece.", 16, minimum=1, maximum=MOST_BYTES
            ),
            FaultParameter(
                "pause_s",
                ValueKind.NUMBER,
                "Seconds between two pieces.",
                0.1,
                minimum=0.001,
                maximum=60,
            ),
        ),
        header=HeaderMatch.ANY,
    ),
    Effect(
        "cut",
        EffectMode.DELIVERY,
        "The head and some bytes of the body; the connection ends before the rest.",
        "An unnoticed short read is a document that does not parse, or half a token.",
        _NETWORK,
        (
            FaultParameter(
                "keep_bytes",
                ValueKind.WHOLE,
                "Bytes of the body that are sent.",
                10,
                minimum=0,
                maximum=MOST_BYTES,
            ),
            FaultParameter(
                "ends_by",
                ValueKind.TEXT,
                "The end of the connection after these bytes. Default: close.",
                choices=(CLOSE, RESET),
            ),
        ),
        ends_connection=True,
        header=HeaderMatch.ANY,
    ),
    Effect(
        "wrong-length",
        EffectMode.DELIVERY,
        "A `Content-Length` other than the body's; the connection stays open.",
        "A client waits for bytes that never come, or takes the rest for the next response.",
        _NETWORK,
        (
            FaultParameter(
                "by_bytes",
                ValueKind.WHOLE,
                "Bytes that the length is too large by; negative: too small.",
                10,
                minimum=-MOST_BYTES,
                maximum=MOST_BYTES,
            ),
        ),
        header=HeaderMatch.ANY,
    ),
    Effect(
        "hang",
        EffectMode.SILENCE,
        "No response; the connection ends after `hang_s`, or at the server's own time-out.",
        "Nothing else tests the time-out of a client.",
        documented("S6", "S10", note="a time-out means that IMDS is being updated"),
        (
            FaultParameter(
                "hang_s",
                ValueKind.NUMBER,
                "Seconds until the connection ends.",
                minimum=0.001,
                maximum=LONGEST_WAIT_S,
            ),
        ),
        ends_connection=True,
        header=HeaderMatch.ANY,
    ),
    Effect(
        "reset",
        EffectMode.SILENCE,
        "No response; the connection is reset.",
        "On a kept connection a restart looks like this; a client should retry at once.",
        _NETWORK,
        ends_connection=True,
        header=HeaderMatch.ANY,
    ),
    Effect(
        "garbage",
        EffectMode.SILENCE,
        "Bytes that are not HTTP, the same for each seed; then the connection ends.",
        "Clients often retry connection errors, but not the errors of a parser.",
        _NETWORK,
        (
            FaultParameter(
                "bytes", ValueKind.WHOLE, "Number of bytes.", 64, minimum=1, maximum=MOST_BYTES
            ),
        ),
        ends_connection=True,
        header=HeaderMatch.ANY,
    ),
    Effect(
        REFUSED,
        EffectMode.SILENCE,
        "No listener: connections are refused, and open ones are reset.",
        "Early in the boot IMDS is unreachable; a client that gives up never provisions the VM.",
        client(
            "S12", note="cloud-init tolerates some connection errors; which ones is not recorded"
        ),
        ends_connection=True,
        precedes_requests=True,
        header=HeaderMatch.ANY,
    ),
    Effect(
        BLACKHOLE,
        EffectMode.SILENCE,
        "Connections are never answered: their packets are dropped. Open ones get no response.",
        "Outside Azure most networks treat the address so, and each client waits by its own rule.",
        client("S77", note="SDKs probe with a short time-out for connections because of this"),
        ends_connection=True,
        precedes_requests=True,
        header=HeaderMatch.ANY,
    ),
)
EFFECTS: dict[str, Effect] = {row.key: row for row in _ROWS}
"""Every effect by its key."""
