"""Faults on request: their effects on the requests of guests.

Each effect has the view of the client, the reason why clients need to meet it, and the evidence
that Azure does the same. A fault of the network alone is marked `chosen`: it is no fact about
Azure.
"""

from msgspec import Struct

from openimds.facts.effects import Effect, EffectMode
from openimds.facts.evidence import Evidence, chosen, client, documented, observed
from openimds.facts.fault_parameters import (
    HANG,
    HIGHEST_STATUS,
    LONGEST_ENCODED,
    LONGEST_MEDIA,
    LONGEST_REASON,
    LONGEST_S,
    LOWEST_STATUS,
    MOST_BODY_BYTES,
    MOST_BYTES,
    MOST_EDITS,
    MOST_HEADERS,
    RETRY_AFTER,
    FaultParameter,
    HeaderMatch,
    ValueKind,
)
from openimds.facts.pages import PAGES
from openimds.facts.public_faults import PUBLIC_EFFECTS
from openimds.facts.versions import GENERAL


class FaultStatus(Struct, frozen=True):
    """A status on request, and the refusal whose text it has in each category.

    `header` is the default of the matcher of that name: `any` where the front sends the status.
    """

    status: int
    refusal: str
    evidence: Evidence
    header: HeaderMatch = HeaderMatch.PRESENT


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
        (HANG,),
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
EFFECTS: dict[str, Effect] = {row.key: row for row in (*_ROWS, *PUBLIC_EFFECTS)}
"""Every effect by its key: those on requests of guests, then those at the public listener."""
