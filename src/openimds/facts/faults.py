"""What can go wrong on request: the effects, and by what a request is chosen for one.

Each effect says what a client sees, why clients need to see it, and whether Azure was ever seen to
do it. What only a broken network does is marked `chosen`: it is no fact about Azure.
"""

from enum import StrEnum

from msgspec import Struct

from openimds.facts.endpoints import CATEGORIES, ENDPOINTS
from openimds.facts.evidence import Evidence, chosen, client, documented, observed
from openimds.facts.versions import GENERAL


class ValueKind(StrEnum):
    """What a value may be, in words."""

    TEXT = "a string"
    NUMBER = "a number"
    WHOLE = "a whole number"
    TEXTS = "a list of strings"


class FaultParameter(Struct, frozen=True):
    """Something that is said of a fault: its sort, its bounds, and what it is when not said.

    Without a `default` it stays away; a `required` one has to be said.
    """

    name: str
    sort: ValueKind
    about: str
    default: str | float | tuple[str, ...] | None = None
    least: float | None = None
    most: float | None = None
    choices: tuple[str | int, ...] = ()
    required: bool = False


class EffectMode(StrEnum):
    """How an effect takes the place of the true answer, and whether what was asked is done."""

    INSTEAD = "instead"
    """Another answer is given; nothing of what was asked is done."""
    OTHERWISE = "otherwise"
    """The question is put to a VM or a region that is not as it should be."""
    DELIVERY = "delivery"
    """The true answer is given, and what was asked is done; on the way it suffers."""
    SILENCE = "silence"
    """There is no answer, and nothing of what was asked is done."""


class Effect(Struct, frozen=True):
    """One thing that can go wrong: what is seen, why clients need it, and what it rests on.

    It touches only requests of `endpoints` (keys of endpoints or categories; none: of all).
    """

    key: str
    way: EffectMode
    about: str
    why: str
    evidence: Evidence
    parameters: tuple[FaultParameter, ...] = ()
    endpoints: tuple[str, ...] = ()
    ends: bool = False
    """Whether the connection ends with it."""


class FaultStatus(Struct, frozen=True):
    """A status that can be asked for, and the refusal whose words it has in each category."""

    status: int
    refusal: str
    evidence: Evidence


LONGEST_S = 10 * 366 * 86400
"""No window is longer: a mistake in the unit shall not look like a plan."""
LONGEST_WAIT_S = 600
MOST_REQUESTS = 10**9
MOST_BYTES = 65536

_STATUSES = (
    FaultStatus(403, "forbidden", documented("S4", note="swagger of 2018 only")),
    FaultStatus(404, "not_found", documented("S6", "S10", note="the endpoint is being updated")),
    FaultStatus(410, "updating", documented("S2", "S6", note="for at most 70 s")),
    FaultStatus(429, "throttled", documented("S1", "S2")),
    FaultStatus(500, "server_error", documented("S1", "S2", "S6")),
    FaultStatus(503, "unavailable", documented("S4", "S7")),
)
STATUSES: dict[int, FaultStatus] = {row.status: row for row in _STATUSES}

_TARGETS = tuple(dict.fromkeys([*(row.key for row in ENDPOINTS), *(row.key for row in CATEGORIES)]))

MATCHERS: tuple[FaultParameter, ...] = (
    FaultParameter("vms", ValueKind.TEXTS, "Names of VMs; every VM, if it is left out."),
    FaultParameter(
        "endpoint", ValueKind.TEXT, "One endpoint, or all of a category.", choices=_TARGETS
    ),
    FaultParameter("path", ValueKind.TEXT, "A path with all below it, or a pattern with * and ?."),
    FaultParameter("method", ValueKind.TEXT, "The method.", choices=("GET", "HEAD", "POST")),
    FaultParameter(
        "nth",
        ValueKind.WHOLE,
        "That request alone: each VM's requests that fit are counted from 1.",
        least=1,
        most=MOST_REQUESTS,
    ),
    FaultParameter("skip", ValueKind.WHOLE, "Not the first so many.", least=0, most=MOST_REQUESTS),
    FaultParameter(
        "first", ValueKind.WHOLE, "The first so many, after `skip`.", least=1, most=MOST_REQUESTS
    ),
    FaultParameter(
        "every", ValueKind.WHOLE, "Each one of so many, after `skip`.", least=1, most=MOST_REQUESTS
    ),
    FaultParameter(
        "from_s",
        ValueKind.NUMBER,
        "Not before so many seconds have passed.",
        least=0,
        most=LONGEST_S,
    ),
    FaultParameter(
        "until_s",
        ValueKind.NUMBER,
        "Only until so many seconds have passed.",
        least=0,
        most=LONGEST_S,
    ),
    FaultParameter("probability", ValueKind.NUMBER, "Each with this chance.", least=0, most=1),
    FaultParameter("seed", ValueKind.TEXT, "What the chance is drawn with."),
)
"""By what a request is chosen. All that is said has to fit; seconds count from when it is set."""

WAIT = FaultParameter(
    "delay_s",
    ValueKind.NUMBER,
    "How long nothing goes out, in seconds.",
    least=0,
    most=LONGEST_WAIT_S,
)
"""What every effect takes that happens on an open connection."""

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
"""What can be wrong with a token."""
BAD_DOCUMENTS = (
    "expired-leaf",
    "unknown-intermediate",
    "wrong-cloud",
    "stale-nonce",
    "expired-document",
    "tampered-payload",
)
"""What can be wrong with an attested document."""
_SIGNED = ("new-intermediate", "new-root", *BAD_DOCUMENTS)
MISSING, EMPTY = "missing", "empty"
DELAY, REFUSED = "delay", "refused"
_NETWORK = chosen("a fault of the network or of a dying process; no recording of Azure shows it")

_ROWS = (
    Effect(
        "status",
        EffectMode.INSTEAD,
        "A refusal in Azure's words for the category that is asked.",
        "Which statuses are retried, and for how long, is what clients differ in most.",
        documented("S1", "S2", "S4", "S6", note="each status has its own evidence"),
        (
            FaultParameter(
                "status", ValueKind.WHOLE, "The status.", choices=tuple(STATUSES), required=True
            ),
        ),
    ),
    Effect(
        "proxy-500",
        EffectMode.INSTEAD,
        "500 in plain text with a `Server` that does not name IMDS.",
        "Whoever looks for IMDS in `Server` takes a service that restarts for none at all.",
        documented("S10", note="what stands before IMDS answers while it restarts"),
    ),
    Effect(
        "no-identity",
        EffectMode.OTHERWISE,
        "The VM has no identity (yet): 400 `Identity not found`, in each protocol's words.",
        "A new identity takes a while to arrive, and most libraries take this 400 for final.",
        documented("S10", note="the refusal itself was recorded (S29)"),
        endpoints=_IDENTITY,
    ),
    Effect(
        "forged-token",
        EffectMode.OTHERWISE,
        "A token with one thing wrong with it.",
        "A client hands on any token; the service behind it has to find the bad ones.",
        chosen("IMDS hands out no such token; a clock that is wrong or a forger makes them"),
        (
            FaultParameter(
                "forgery", ValueKind.TEXT, "What is wrong with it.", "expired", choices=FORGERIES
            ),
        ),
        endpoints=_IDENTITY,
    ),
    Effect(
        "unknown-version",
        EffectMode.OTHERWISE,
        "A region that knows no api-version after `newest`: 400 with its newest ones.",
        "Versions reach regions and clouds months apart; a client has to ask for an older one.",
        documented("S1", note="a version that was listed and refused was reported too (S30)"),
        (
            FaultParameter(
                "newest",
                ValueKind.TEXT,
                "The newest general api-version.",
                choices=tuple(row.name for row in GENERAL),
                required=True,
            ),
        ),
    ),
    Effect(
        "stale-document",
        EffectMode.OTHERWISE,
        "The VM as it was when the fault was set, whatever has changed since.",
        "Tags and sizes arrive late, so whoever reads them once goes on with the old ones.",
        documented("S2", note="tags of a scale set show only after a reboot or a change of disks"),
        endpoints=("root", "instance", "attested", "loadbalancer"),
    ),
    Effect(
        "missing-fields",
        EffectMode.OTHERWISE,
        "Fields are missing or empty in a 200; with `extended=true` it is 500 instead.",
        "IMDS answers with what it has when a source of its fails; code that indexes breaks.",
        documented("S14", note="by an engineer of Azure; which fields is not said"),
        (
            FaultParameter(
                "fields",
                ValueKind.TEXTS,
                "Such as `network` or `network.interface.0.ipv6`.",
                required=True,
            ),
            FaultParameter(
                "leave", ValueKind.TEXT, "What becomes of them.", MISSING, choices=(MISSING, EMPTY)
            ),
        ),
        endpoints=("instance",),
    ),
    Effect(
        "attested-document",
        EffectMode.OTHERWISE,
        "An attested document under a new intermediate or root, or one that is bad.",
        "Readers that pin an issuer fail on the day that it changes, which nobody announces.",
        observed("S18", "S25", note="three issuers from 2020 to 2023; the bad ones are our choice"),
        (
            FaultParameter(
                "scenario",
                ValueKind.TEXT,
                "How it is signed, or what is wrong with it.",
                "new-intermediate",
                choices=_SIGNED,
            ),
        ),
        endpoints=("attested",),
    ),
    Effect(
        DELAY,
        EffectMode.DELIVERY,
        "The true answer, late.",
        "A slow answer is no missing one: time-outs that are too short find no IMDS on Azure.",
        documented("S6", "S10", note="a time-out is among the documented errors"),
    ),
    Effect(
        "trickle",
        EffectMode.DELIVERY,
        "The true answer, a few bytes at a time.",
        "A time-out for each read never fires, and one for the whole is often not there.",
        _NETWORK,
        (
            FaultParameter(
                "bytes", ValueKind.WHOLE, "How many at a time.", 16, least=1, most=MOST_BYTES
            ),
            FaultParameter(
                "pause_s",
                ValueKind.NUMBER,
                "Seconds between two pieces.",
                0.1,
                least=0.001,
                most=60,
            ),
        ),
    ),
    Effect(
        "cut",
        EffectMode.DELIVERY,
        "The head and some bytes of the body; the connection ends before the rest.",
        "A short read that is not noticed is a document that does not parse, or half a token.",
        _NETWORK,
        (
            FaultParameter(
                "keep_bytes",
                ValueKind.WHOLE,
                "How much of the body comes.",
                10,
                least=0,
                most=MOST_BYTES,
            ),
        ),
        ends=True,
    ),
    Effect(
        "wrong-length",
        EffectMode.DELIVERY,
        "A `Content-Length` that is not that of the body; the connection stays open.",
        "A client waits for bytes that never come, or takes the rest for the next answer.",
        _NETWORK,
        (
            FaultParameter(
                "by_bytes",
                ValueKind.WHOLE,
                "How much too long; negative: too short.",
                10,
                least=-MOST_BYTES,
                most=MOST_BYTES,
            ),
        ),
    ),
    Effect(
        "hang",
        EffectMode.SILENCE,
        "No answer; the connection ends after `hang_s`, or when the server loses patience.",
        "The time-out of a client is tested by nothing else.",
        documented("S6", "S10", note="a time-out means that IMDS is being updated"),
        (
            FaultParameter(
                "hang_s",
                ValueKind.NUMBER,
                "Seconds until it ends.",
                least=0.001,
                most=LONGEST_WAIT_S,
            ),
        ),
        ends=True,
    ),
    Effect(
        "reset",
        EffectMode.SILENCE,
        "No answer; the connection is reset.",
        "On a connection that was kept this is what a restart looks like; retry it at once.",
        _NETWORK,
        ends=True,
    ),
    Effect(
        "garbage",
        EffectMode.SILENCE,
        "Bytes that are no HTTP, always the same ones for one seed; then the connection ends.",
        "A parser's error is often none of those that a client retries.",
        _NETWORK,
        (FaultParameter("bytes", ValueKind.WHOLE, "How many.", 64, least=1, most=MOST_BYTES),),
        ends=True,
    ),
    Effect(
        REFUSED,
        EffectMode.SILENCE,
        "Nobody listens: connections are refused; those that are open are reset.",
        "Early in the boot IMDS cannot be reached; giving up then leaves a machine unprovisioned.",
        client("S12", note="it bears some connection errors; nobody recorded which"),
        ends=True,
    ),
)
EFFECTS: dict[str, Effect] = {row.key: row for row in _ROWS}
"""Every effect by its key."""
