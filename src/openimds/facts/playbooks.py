"""Playbooks: named sets of faults, with the reason why a client needs to survive them.

A line of a playbook is a fault as in a fleet file; a `ParameterValue` stands for the value of the
playbook's parameter of that name.
"""

from msgspec import Struct

from openimds.facts.evidence import Evidence, documented, observed
from openimds.facts.fault_parameters import (
    LONGEST_S,
    LONGEST_WAIT_S,
    MOST_REQUESTS,
    FaultParameter,
    ValueKind,
)
from openimds.facts.faults import DELAY, EFFECTS, MISSING, REFUSED


class ParameterValue(Struct, frozen=True):
    """A reference to the value of a parameter."""

    name: str


Line = dict[str, object]


class Playbook(Struct, frozen=True):
    """One playbook: its events, the reason to test them, and the evidence."""

    key: str
    about: str
    why: str
    evidence: Evidence
    parameters: tuple[FaultParameter, ...]
    lines: tuple[Line, ...]


def _seconds(name: str, text: str, default: float) -> FaultParameter:
    return FaultParameter(name, ValueKind.NUMBER, text, default, minimum=0.001, maximum=LONGEST_S)


def _of(effect: str, name: str, default: str | tuple[str, ...]) -> FaultParameter:
    """Return a parameter of an effect with a default for the playbook."""
    (row,) = [row for row in EFFECTS[effect].parameters if row.name == name]
    return FaultParameter(row.name, row.kind, row.help, default, choices=row.choices)


_ROWS = (
    Playbook(
        "service-update",
        "All requests get 410 for 70 seconds, then success.",
        "Azure updates IMDS under a running VM and advises to retry for at most 70 s. Clients that "
        "retry 5xx alone fail for good; one did until 2024.",
        documented("S2", "S6", "S48", note="the text of the 410 is not recorded"),
        (_seconds("for_s", "Length in seconds.", 70),),
        ({"effect": "status", "status": 410, "until_s": ParameterValue("for_s")},),
    ),
    Playbook(
        "boot-race",
        "The first requests get 404 for the document and `Identity not found` for a token.",
        "A VM boots faster than its data reach the host. Agents that accept the first 404, or the "
        "first `Identity not found`, come up without name, tags or tokens.",
        documented("S6", "S10", "S48", note="cloud-init retries 404 for this (S12)"),
        (
            FaultParameter(
                "first",
                ValueKind.WHOLE,
                "Number of failing requests of each kind.",
                3,
                minimum=1,
                maximum=MOST_REQUESTS,
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
        "All requests get 429 for some seconds, independent of the limits.",
        "Azure sends no Retry-After, so each client waits by its own rule; one that waits too "
        "little keeps itself throttled.",
        documented("S1", "S2", "S48", note="the text is that of the category"),
        (_seconds("for_s", "Length in seconds.", 10),),
        ({"effect": "status", "status": 429, "until_s": ParameterValue("for_s")},),
    ),
    Playbook(
        "noisy-neighbour",
        "Some requests get 429, the others are slow.",
        "The limits count for the VM, not for the process: an agent that polls too fast uses up "
        "the requests of all others on the VM.",
        documented("S1", "S2", "S48", note="that the other requests are slow is assumed"),
        (
            FaultParameter(
                "share",
                ValueKind.NUMBER,
                "The share of requests with 429.",
                0.5,
                minimum=0,
                maximum=1,
            ),
            FaultParameter("seed", ValueKind.TEXT, "The seed of the random choice.", ""),
            FaultParameter(
                "delay_s",
                ValueKind.NUMBER,
                "Delay of the others, in seconds.",
                0.5,
                minimum=0.001,
                maximum=LONGEST_WAIT_S,
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
        "Connections are refused, then the proxy before IMDS answers 500, then success.",
        "The host restarts its service. A client that looks for IMDS only once, at its own start, "
        "decides for its whole life that it is not on Azure.",
        documented("S10", note="the 500; that connections are refused before it is from S12"),
        (
            _seconds("refused_s", "End of refused connections, in seconds.", 3),
            _seconds("errors_s", "End of errors, in seconds.", 10),
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
        "`newest-versions`, or to know an older version that every region has.",
        documented("S1", note="S1 shows the 400 with these newest versions"),
        (_of("unknown-version", "newest", "2020-10-01"),),
        ({"effect": "unknown-version", "newest": ParameterValue("newest")},),
    ),
    Playbook(
        "ca-rotation",
        "Attested documents come under an unknown intermediate or root.",
        "Microsoft changes its issuers without notice, and verifiers that pin them broke each "
        "time. Verifiers that fetch the issuer and trust the root continue.",
        observed("S18", "S25", "S48", note="Microsoft announced one change of the root (S35)"),
        (_of("attested-document", "scenario", "new-intermediate"),),
        ({"effect": "attested-document", "scenario": ParameterValue("scenario")},),
    ),
    Playbook(
        "partial-document",
        "Parts of the document are missing in a 200.",
        "IMDS answers with the rest when one of its own sources fails; only `extended=true` "
        "requests all or an error.",
        documented("S14", note="without the names of the parts"),
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
