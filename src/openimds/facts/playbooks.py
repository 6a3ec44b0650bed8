"""Bad days with a name: faults that belong together, and why a client needs to live through them.

A line of a playbook is a fault as it stands in a fleet file; `ParameterValue` is what the
parameter of that name says.
"""

from msgspec import Struct

from openimds.facts.evidence import Evidence, documented, observed
from openimds.facts.faults import (
    DELAY,
    EFFECTS,
    LONGEST_S,
    LONGEST_WAIT_S,
    MISSING,
    MOST_REQUESTS,
    REFUSED,
    FaultParameter,
    ValueKind,
)


class ParameterValue(Struct, frozen=True):
    """The value of a parameter."""

    name: str


Line = dict[str, object]


class Playbook(Struct, frozen=True):
    """One bad day: what happens, why clients need it, what it rests on."""

    key: str
    about: str
    why: str
    evidence: Evidence
    parameters: tuple[FaultParameter, ...]
    lines: tuple[Line, ...]


def _seconds(name: str, about: str, default: float) -> FaultParameter:
    return FaultParameter(name, ValueKind.NUMBER, about, default, least=0.001, most=LONGEST_S)


def _of(effect: str, name: str, default: str | tuple[str, ...]) -> FaultParameter:
    """Return a parameter of an effect as a playbook has it: with a default of its own."""
    (row,) = [one for one in EFFECTS[effect].parameters if one.name == name]
    return FaultParameter(row.name, row.sort, row.about, default, choices=row.choices)


_ROWS = (
    Playbook(
        "service-update",
        "Everything is 410 for 70 seconds, then well.",
        "Azure updates IMDS under a running VM and says: retry, it takes at most 70 s. Clients "
        "that retry 5xx alone fail for good, and one did until 2024.",
        documented("S2", "S6", "S48", note="the words of the 410 are not recorded"),
        (_seconds("for_s", "How long, in seconds.", 70),),
        ({"effect": "status", "status": 410, "until_s": ParameterValue("for_s")},),
    ),
    Playbook(
        "boot-race",
        "The first requests for the document are 404, the identity is not there yet; then well.",
        "A VM boots faster than its data reach the host. Agents that take the first 404 for an "
        "answer, or the first `Identity not found`, come up without name, tags or tokens.",
        documented("S6", "S10", "S48", note="cloud-init retries 404 for this (S12)"),
        (
            FaultParameter(
                "first",
                ValueKind.WHOLE,
                "How many requests of each.",
                3,
                least=1,
                most=MOST_REQUESTS,
            ),
        ),
        (
            {
                "effect": "status",
                "status": 404,
                "endpoint": "instance",
                "first": ParameterValue("first"),
            },
            {"effect": "no-identity", "first": ParameterValue("first")},
        ),
    ),
    Playbook(
        "throttled",
        "Everything is 429 for some seconds, whatever the limits are.",
        "Azure sends no Retry-After, so each client waits by its own rule; those that wait too "
        "little keep themselves throttled.",
        documented("S1", "S2", "S48", note="the words are those of the category"),
        (_seconds("for_s", "How long, in seconds.", 10),),
        ({"effect": "status", "status": 429, "until_s": ParameterValue("for_s")},),
    ),
    Playbook(
        "noisy-neighbour",
        "Some requests are 429, the others are slow.",
        "The limits are those of the VM, not of the process: an agent that polls too fast takes "
        "the answers of all others on the machine.",
        documented("S1", "S2", "S48", note="that the rest is slow is our choice"),
        (
            FaultParameter("share", ValueKind.NUMBER, "The share of 429.", 0.5, least=0, most=1),
            FaultParameter("seed", ValueKind.TEXT, "What the chance is drawn with.", ""),
            FaultParameter(
                "delay_s",
                ValueKind.NUMBER,
                "How slow, in seconds.",
                0.5,
                least=0.001,
                most=LONGEST_WAIT_S,
            ),
        ),
        (
            {
                "effect": "status",
                "status": 429,
                "probability": ParameterValue("share"),
                "seed": ParameterValue("seed"),
            },
            {"effect": DELAY, "delay_s": ParameterValue("delay_s")},
        ),
    ),
    Playbook(
        "restart",
        "Connections are refused, then what stands before IMDS says 500, then well.",
        "The host restarts its service. A client that looks for IMDS only once, at its own start, "
        "decides for its whole life that it is not on Azure.",
        documented("S10", note="the 500; that connections are refused before it is S12's"),
        (
            _seconds("refused_s", "Until when connections are refused, in seconds.", 3),
            _seconds("errors_s", "Until when there are errors, in seconds.", 10),
        ),
        (
            {"effect": REFUSED, "until_s": ParameterValue("refused_s")},
            {
                "effect": "proxy-500",
                "from_s": ParameterValue("refused_s"),
                "until_s": ParameterValue("errors_s"),
            },
        ),
    ),
    Playbook(
        "old-region",
        "Api-versions after `newest` are unknown, and `/metadata/versions` does not list them.",
        "Versions are rolled out region by region and cloud by cloud. A client has to read "
        "`newest-versions`, or to know an older version that is everywhere.",
        documented("S1", note="400 with these newest versions is what S1 shows"),
        (_of("unknown-version", "newest", "2020-10-01"),),
        ({"effect": "unknown-version", "newest": ParameterValue("newest")},),
    ),
    Playbook(
        "ca-rotation",
        "Attested documents come under an intermediate, or a root, that nobody has seen.",
        "Microsoft changes its issuers without notice, and verifiers that pin them broke each "
        "time. Those that fetch the issuer, and trust the root, do not notice.",
        observed("S18", "S25", "S48", note="Microsoft announced one change of the root (S35)"),
        (_of("attested-document", "scenario", "new-intermediate"),),
        ({"effect": "attested-document", "scenario": ParameterValue("scenario")},),
    ),
    Playbook(
        "partial-document",
        "Parts of the document are missing in a 200.",
        "IMDS answers with what it has when one of its own sources fails; only `extended=true` "
        "asks for all or an error.",
        documented("S14", note="which parts is not said"),
        (
            _of("missing-fields", "fields", ("network",)),
            _of("missing-fields", "leave", MISSING),
        ),
        (
            {
                "effect": "missing-fields",
                "fields": ParameterValue("fields"),
                "leave": ParameterValue("leave"),
            },
        ),
    ),
)
PLAYBOOKS: dict[str, Playbook] = {row.key: row for row in _ROWS}
"""Every playbook by its key."""
