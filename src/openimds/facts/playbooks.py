"""Playbooks: named sets of faults, with the reason why a client needs to survive them.

A line of a playbook is a fault as in a fleet file; a `ParameterValue` stands for the value of the
playbook's parameter of that name.
"""

from msgspec import Struct, structs

from openimds.facts.evidence import Evidence, client, documented, observed
from openimds.facts.fault_parameters import (
    FIRST,
    LONGEST_S,
    LONGEST_WAIT_S,
    MOST_REQUESTS,
    FaultParameter,
    ValueKind,
)
from openimds.facts.faults import DELAY, EFFECTS, MISSING, REFUSED
from openimds.facts.public_faults import (
    ANSWER,
    CROSS_SIGNED,
    EXPIRED,
    FORBIDDEN,
    ISSUER_CERTIFICATE,
    LATE,
    OCSP_RESPONSE,
    REVOCATION_LIST,
    STALE,
    TIER_PATH,
    TRY_LATER,
    UNAUTHORIZED,
)
from openimds.facts.public_faults import MISSING as MISSING_DOCUMENT


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


def _answer(effect: str, name: str, default: str) -> FaultParameter:
    """Return the answer of an effect at the public listener, without the late one."""
    row = _of(effect, ANSWER, default)
    choices = tuple(choice for choice in row.choices if choice != LATE)
    text = f"The answer of the fault {effect}."
    return structs.replace(row, name=name, help=text, choices=choices)


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
_PUBLIC = (
    Playbook(
        "issuer-fails-over",
        "The first address of each issuer's certificate refuses, the second answers.",
        "Certificates of 2026 name two addresses. Verifiers that took the only one, or that "
        "knew its host alone, broke; one that tries both continues.",
        observed("S73", "S130", note="old addresses answered 403, not 404; here either, or none"),
        (_answer(ISSUER_CERTIFICATE, ANSWER, FORBIDDEN),),
        ({"effect": ISSUER_CERTIFICATE, ANSWER: ParameterValue(ANSWER), "address": FIRST},),
    ),
    Playbook(
        "issuers-unreachable",
        "Both addresses of each issuer's certificate refuse.",
        "A verifier without Internet access, or behind a proxy, has only the certificates that it "
        "brings along; its error has to name the missing one.",
        client("S130", note="taskcluster reported a missing tier as a broken signature"),
        (_answer(ISSUER_CERTIFICATE, ANSWER, MISSING_DOCUMENT),),
        ({"effect": ISSUER_CERTIFICATE, ANSWER: ParameterValue(ANSWER)},),
    ),
    Playbook(
        "cross-signed",
        "The first address has each CA cross-signed by an unknown root, the second the true one.",
        "A CA can have two certificates of one subject and key, as Azure's tier of 2026 has; a "
        "verifier that keeps one for each subject loses the path to its root.",
        observed("S73", "S130", note="the tier of 2026 is cross-signed, and a root of its own"),
        (),
        ({"effect": ISSUER_CERTIFICATE, ANSWER: CROSS_SIGNED, "address": FIRST},),
    ),
    Playbook(
        "unknown-root",
        "Each CA is certified by a root that nobody knows yet.",
        "New roots reach trust stores months after they sign. A verifier has to refuse the "
        "document until then, and to name the root in its error.",
        client("S130", note="one region of Azure was dark for a CI until its bundle had the root"),
        (),
        ({"effect": ISSUER_CERTIFICATE, ANSWER: CROSS_SIGNED},),
    ),
    Playbook(
        "expired-tier",
        "The CA between issuing CA and root expired an hour ago; there is none before 2026.",
        "Bundled intermediates expire unnoticed; a verifier that checks the leaf's times alone "
        "accepts the document.",
        client("S130", note="bundled CAs were no longer valid; that it is the tier is assumed"),
        (),
        ({"effect": ISSUER_CERTIFICATE, ANSWER: EXPIRED, "path": TIER_PATH},),
    ),
    Playbook(
        "revocation-outage",
        "Neither lists of revoked certificates nor OCSP answer.",
        "A verifier decides by its own rule: refuse every document, or accept a revoked "
        "certificate. One that waits 15 s for each address is down all the same.",
        client("S131", note="responders that hung stopped checks; botan changed its rule in 2026"),
        (
            _answer(REVOCATION_LIST, "lists", MISSING_DOCUMENT),
            _answer(OCSP_RESPONSE, "ocsp", TRY_LATER),
        ),
        (
            {"effect": REVOCATION_LIST, ANSWER: ParameterValue("lists")},
            {"effect": OCSP_RESPONSE, ANSWER: ParameterValue("ocsp")},
        ),
    ),
    Playbook(
        "stale-lists",
        "Lists of revoked certificates ended an hour ago, and OCSP refuses to answer.",
        "A list that its CA forgot to renew stops every strict verifier at once, and its error "
        "rarely names the list.",
        client("S131", note="lists of enclaves and of a metadata service ended so"),
        (),
        (
            {"effect": REVOCATION_LIST, ANSWER: STALE},
            {"effect": OCSP_RESPONSE, ANSWER: UNAUTHORIZED},
        ),
    ),
    Playbook(
        "revoked-leaf",
        "Attested documents are signed with a revoked certificate, in its list and by OCSP.",
        "Azure revokes certificates too, and verifiers that never look go on accepting them.",
        documented("S79", note="a leaf is revoked within days of a compromise; none was recorded"),
        (),
        ({"effect": "attested-document", "scenario": "revoked-leaf"},),
    ),
)
PLAYBOOKS: dict[str, Playbook] = {row.key: row for row in (*_ROWS, *_PUBLIC)}
"""Every playbook by its key."""
