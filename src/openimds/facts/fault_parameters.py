"""The parameters of faults: their types and bounds, and the matchers that select requests."""

from enum import StrEnum

from msgspec import Struct, structs

from openimds.facts.endpoints import CATEGORIES, ENDPOINTS


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


class HeaderMatch(StrEnum):
    """The requests that a fault hits, by the header that their endpoint requires.

    That is `Metadata`, or the secret of App Service. IMDS checks it before all else (S77): a
    fault of IMDS or Entra leaves a request without it the 400 by which SDKs probe; a fault of the
    front or of the network does not.
    """

    PRESENT = "present"
    ABSENT = "absent"
    ANY = "any"


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

ADDRESS = "address"
"""The matcher that tells the two addresses of a certificate or a list apart."""
FIRST, SECOND = "first", "second"
GUESTS_ALONE = ("vms", "endpoint", HEADER, "source")
"""The matchers that a request at the public listener cannot have: it comes from no VM."""
_BY_ADDRESS = FaultParameter(
    ADDRESS,
    ValueKind.TEXT,
    "Only the first or the second address in certificates; without it, both.",
    choices=(FIRST, SECOND),
)
_OF_PUBLIC = {
    "nth": "Only the request of this number; the matching requests of all verifiers count from 1.",
    "path": "A path below the public URL and all paths below it, or a pattern with * and ?.",
}
PUBLIC_MATCHERS: tuple[FaultParameter, ...] = (
    _BY_ADDRESS,
    *(
        structs.replace(row, help=_OF_PUBLIC.get(row.name, row.help))
        for row in MATCHERS
        if row.name not in GUESTS_ALONE
    ),
)
"""The matchers of requests at the public listener; a path is the same at both addresses."""

WAIT = FaultParameter(
    "delay_s",
    ValueKind.NUMBER,
    "Delay before any byte is sent, in seconds.",
    minimum=0,
    maximum=LONGEST_WAIT_S,
)
"""The parameter of every effect on an open connection."""

HANG = FaultParameter(
    "hang_s",
    ValueKind.NUMBER,
    "Seconds until the connection ends.",
    minimum=0.001,
    maximum=LONGEST_WAIT_S,
)
"""The parameter of a hang."""

RETRY_AFTER = FaultParameter(
    "retry_after",
    ValueKind.WORD,
    "The value of Retry-After; date+SECONDS and date-SECONDS are a date so far from Date.",
    maximum=LONGEST_RETRY,
)
"""A parameter of refusals. No recording of IMDS has the header; proxies and services send it."""
