"""Every fact with evidence, by its name on the fidelity page.

The page is printed from these, and `openimds compare` names by them the row of a difference.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from openimds.facts import (
    arc_agent,
    attested,
    balancer,
    confidential,
    events,
    kinds,
    protocols,
    public_faults,
    revocation,
    tokens,
)
from openimds.facts.clouds import CLOUDS, Cloud
from openimds.facts.document import FIELDS, OLD_NAMES
from openimds.facts.endpoints import (
    ABSENT_PATHS,
    CATEGORIES,
    CHECKS_EVIDENCE,
    ENCODED_QUERY,
    ENDPOINTS,
    LETTER_CASE,
    NO_LAST_NEWLINE,
    ONE_HEADER,
    REQUEST_CHECKS,
    TRAILING_SLASH,
    UNKNOWN_PARAMETERS,
)
from openimds.facts.evidence import Evidence
from openimds.facts.faults import EFFECTS, STATUSES
from openimds.facts.generations import (
    DIFFERENCES,
    GENERATIONS,
    OVERLAP_EVIDENCE,
    SERIAL_EVIDENCE,
    SERIAL_OCTETS,
    STEPS,
)
from openimds.facts.headers import HEADER_ORDERS
from openimds.facts.limits import LIMITS
from openimds.facts.network import MAC_PREFIXES, MAC_PREFIXES_EVIDENCE
from openimds.facts.pages import PAGES
from openimds.facts.playbooks import PLAYBOOKS
from openimds.facts.refusal import RefusalRow
from openimds.facts.refusals import REFUSALS
from openimds.facts.sizes import SIZES
from openimds.facts.versions import GENERAL, SCHEDULED_EVENTS

VERSIONS, EVENT_VERSIONS = "General api-versions", "Api-versions of scheduled events"
ENDPOINT, PARAMETER, HEADERS = "Endpoints", "Parameters", "Order of headers"
FAULT, PLAYBOOK, PAGE = "Faults on request", "Playbooks", "Named pages of faults"
RULE, REFUSAL, FIELD = "Rules of requests", "Refusals", "Fields"
ATTESTED, BALANCER, EVENTS = "Attested documents", "Load balancer", "Scheduled events"

CERTIFICATES = "Certificates of attested documents"

ORDER_OF_CHECKS = "order of the checks: " + ", ".join(REQUEST_CHECKS)
ANY_CASE = "letter case of paths, routes and parameter names does not matter"
DECODED = "the whole target is decoded before it is split at ?"
SLASH = "a trailing slash is accepted"
IGNORED = "unknown parameters are ignored"
NO_NEWLINE = "a listing ends without a newline"
ONE_VALUE = "the Metadata header is given once, with one value"
NO_NONCE = "the nonce of a request without one"
NONCE = f"a nonce has up to {attested.LONGEST_NONCE} characters"

_RULES = {
    ORDER_OF_CHECKS: CHECKS_EVIDENCE,
    ANY_CASE: LETTER_CASE,
    DECODED: ENCODED_QUERY,
    SLASH: TRAILING_SLASH,
    IGNORED: UNKNOWN_PARAMETERS,
    NO_NEWLINE: NO_LAST_NEWLINE,
    ONE_VALUE: ONE_HEADER,
}
_TOKENS = {
    f"a token lives {tokens.LIFE_S} seconds": tokens.LIFE_EVIDENCE,
    "selectors exclude each other": tokens.EXCLUSIVE_EVIDENCE,
    f"the display name of a tenant in errors: {tokens.TENANT_NAME}": tokens.TENANT_NAME_EVIDENCE,
    "discovery documents name an authorization_endpoint and a token_endpoint": (
        tokens.DISCOVERY_EVIDENCE
    ),
    "discovery documents and keys of common and organizations": tokens.MULTI_TENANT_EVIDENCE,
    "the mTLS hosts of MSI v2": protocols.MTLS_EVIDENCE,
    "the instance document of Arc's agent": arc_agent.DOCUMENT_EVIDENCE,
    f"the version of Arc's agent: {arc_agent.AGENT_VERSION}": arc_agent.VERSION_EVIDENCE,
    "the folder of Arc's challenges": protocols.ARC_FOLDER_EVIDENCE,
}
_ATTESTED = {
    f"a document lives {attested.LIFE_S} seconds": attested.LIFE_EVIDENCE,
    NO_NONCE: attested.TIME_NONCE_EVIDENCE,
    NONCE: attested.NONCE_EVIDENCE,
    f"without a nonce it is cached for {attested.CACHE_S} seconds": attested.CACHE_EVIDENCE,
    "a classic VM's document": attested.CLASSIC_EVIDENCE,
    f"an issuer's certificate is below {attested.ISSUERS_PATH}": attested.ISSUERS_PATH_EVIDENCE,
    f"pki_names azure: the hosts {', '.join(attested.AZURE_PKI_HOSTS)}": (
        attested.AZURE_BASES_EVIDENCE
    ),
}
_EVENTS = {
    "event sources": events.EVENT_SOURCES_EVIDENCE,
    "the resource type": events.RESOURCE_TYPE_EVIDENCE,
    f"the Metadata header is required from {events.HEADER_SINCE} on": events.HEADER_SINCE_EVIDENCE,
    f"DocumentIncarnation begins at {events.FIRST_INCARNATION}": events.FIRST_INCARNATION_EVIDENCE,
    "the scope: subscription, resource group and set": events.SCOPE_EVIDENCE,
    "the approvals that start an event": events.NEEDS_EVIDENCE,
    "approval of an unknown id": events.UNKNOWN_ID_EVIDENCE,
    "activation by the first request": events.ACTIVATION.evidence,
}


_KINDS = {
    f"Azure Local's address: {kinds.LOCAL_ADDRESS}": kinds.LOCAL_ADDRESS_EVIDENCE,
    "reprovisiondata has two states": kinds.REPROVISION_STATES_EVIDENCE,
    f"its XML has up to {kinds.LONGEST_REPROVISION_DATA} characters": kinds.LONGEST_EVIDENCE,
}
_CONFIDENTIAL = {
    "DC and EC sizes with an a have processors of AMD, those with an e of Intel": (
        confidential.SIZES_EVIDENCE
    ),
    "the members of an endorsement: vcekCert, tcbm, certificateChain, cacheControl": (
        confidential.COLLATERAL_EVIDENCE
    ),
    "names and extensions of AMD's certificates": confidential.AMD_NAMES_EVIDENCE,
    "a quote is in base64url": confidential.QUOTE_EVIDENCE,
    "names and extensions of Intel's certificates": confidential.INTEL_NAMES_EVIDENCE,
    "the versions of a machine of Intel": confidential.MACHINE_EVIDENCE,
}


_REVOCATION = {
    f"a list of revoked certificates is below {revocation.CRL_PATH}": (
        revocation.CRL_PATH_EVIDENCE
    ),
    "an OCSP response lives 4 days": revocation.OCSP_EVIDENCE,
    "OCSP responses are made in advance": revocation.OCSP_FORM_EVIDENCE,
    "nothing that a verifier fetches is signed on request": public_faults.SIGNED_EVIDENCE,
    f"a rehearsed OCSP nonce has up to {public_faults.MAX_NONCE} octets": (
        public_faults.NONCE_EVIDENCE
    ),
    f"lists of leaves are signed every {revocation.LEAF_CRL_SIGNED_S // 86_400} days": (
        revocation.CRL_EVIDENCE
    ),
}


class Fact(Struct, frozen=True):
    """One fact: its kind (a heading of the page), its name and its evidence."""

    kind: str
    name: str
    evidence: Evidence


def refusal_name(row: RefusalRow) -> str:
    """Return the name of a refusal, on one line."""
    return f"{row.category or 'general'}, {row.status}: {' '.join(row.body.split())}"


def _since(
    rows: Iterable[events.EventMember | attested.PayloadMember], kind: str = ""
) -> dict[str, Evidence]:
    return {f"{kind}{row.name}, since {row.since}": row.evidence for row in rows}


def _limits_of(cloud: Cloud) -> Iterable[str]:
    """Yield the names of the facts about a cloud that has a part of IMDS."""
    if cloud.endpoints:
        paths = [row.path for row in ENDPOINTS if row.key in cloud.endpoints]
        yield f"{cloud.name} has {', '.join(paths)} alone"
    if cloud.newest:
        yield f"{cloud.name} has api-versions to {cloud.newest}"
    if cloud.empty:
        paths = [row.path for row in FIELDS if row.default in cloud.empty]
        yield f"{cloud.name} has no value for {', '.join(paths)}"


def _of_requests() -> dict[str, Iterable[tuple[str, Evidence]]]:
    return {
        VERSIONS: [(row.name, row.evidence) for row in GENERAL],
        EVENT_VERSIONS: [(row.name, row.evidence) for row in SCHEDULED_EVENTS],
        ENDPOINT: [(row.path, row.evidence) for row in ENDPOINTS],
        "Paths of Azure that are not offered": [
            (f"{row.path}, 404: {row.reason}", row.evidence) for row in ABSENT_PATHS
        ],
        "Categories": [(f"{row.key}: {row.prefix}", row.evidence) for row in CATEGORIES],
        PARAMETER: [
            (f"{row.path}: {parameter.name}", parameter.evidence)
            for row in ENDPOINTS
            for parameter in row.parameters
        ],
        "Limits": [
            (
                f"{row.key}: {row.per_s} a second, {row.concurrent or 'any number'} at once",
                row.evidence,
            )
            for row in LIMITS.values()
        ],
        HEADERS: [
            (f"{row.family}: {', '.join(row.names)}", row.evidence)
            for row in HEADER_ORDERS.values()
        ],
        RULE: _RULES.items(),
        REFUSAL: [(refusal_name(row), row.evidence) for row in REFUSALS],
    }


def _of_answers() -> dict[str, Iterable[tuple[str, Evidence]]]:
    transitions = [
        (f"transition {row.before} by {row.trigger}: {row.after}", row.evidence)
        for row in events.TRANSITIONS
    ]
    return {
        "Clouds": [
            *((row.name, row.evidence) for row in CLOUDS.values()),
            *((name, row.evidence) for row in CLOUDS.values() for name in _limits_of(row)),
        ],
        "Token answers": [
            *((f"member {row.name}", row.evidence) for row in tokens.MEMBERS),
            *((f"claim {row.name}", row.evidence) for row in tokens.CLAIMS),
            *((f"claim {row.name} on request", row.evidence) for row in tokens.OWN_CLAIMS),
            *_TOKENS.items(),
        ],
        "Other identity protocols": [
            *(
                (f"{row.endpoint} {row.version}".strip(), row.evidence)
                for row in protocols.DIALECTS
            ),
            *((f"variables of {row.key}", row.evidence) for row in protocols.TOKEN_ROUTES.values()),
        ],
        ATTESTED: [*_since(attested.MEMBERS).items(), *_ATTESTED.items()],
        "Kinds of machines": [
            *((row.key, row.evidence) for row in kinds.KINDS.values()),
            *_KINDS.items(),
        ],
        "Confidential VMs": [
            *(
                (f"{row.name}: {row.stepping}, TCB {row.tcb:016X}", row.evidence)
                for row in confidential.AMD_PRODUCTS.values()
            ),
            *_CONFIDENTIAL.items(),
        ],
        CERTIFICATES: [
            *((f"the generation of {row.key}", row.evidence) for row in GENERATIONS.values()),
            *(
                (f"the step to {row.generation}: {row.change}", row.evidence)
                for row in STEPS.values()
            ),
            ("regions move to another generation one after the other", OVERLAP_EVIDENCE),
            (f"a serial number has {SERIAL_OCTETS} octets", SERIAL_EVIDENCE),
            *((row.name, row.evidence) for row in DIFFERENCES),
            *_REVOCATION.items(),
        ],
        BALANCER: [(f"{row.name}: {', '.join(row.names)}", row.evidence) for row in balancer.LISTS],
        EVENTS: [
            *((f"type {row.name}, since {row.since}", row.evidence) for row in events.TYPES),
            *((f"cause {row.name}", row.evidence) for row in events.CAUSES),
            *_since(events.MEMBERS, "member ").items(),
            *transitions,
            *_EVENTS.items(),
        ],
        "Varied networks": [
            (f"prefixes of MACs: {', '.join(MAC_PREFIXES)}", MAC_PREFIXES_EVIDENCE)
        ],
        "Sizes of VMs": [
            (f"{row.name}: a temporary disk of {row.temporary_mib} MiB", row.evidence)
            for row in SIZES.values()
        ],
        FIELD: [(f"{row.path}, since {row.since}", row.evidence) for row in FIELDS],
        "Earlier names": [(f"{row.path}: {row.name}", row.evidence) for row in OLD_NAMES],
    }


def _of_faults() -> dict[str, Iterable[tuple[str, Evidence]]]:
    effects = [(f"{row.key}: {_plain(row.about)}", row.evidence) for row in EFFECTS.values()]
    statuses = [(f"status {row.status}", row.evidence) for row in STATUSES.values()]
    playbooks = [(f"{row.key}: {_plain(row.about)}", row.evidence) for row in PLAYBOOKS.values()]
    pages = [(f"{row.key}: {_plain(row.about)}", row.evidence) for row in PAGES.values()]
    return {FAULT: [*effects, *statuses], PLAYBOOK: playbooks, PAGE: pages}


def _plain(text: str) -> str:
    return text.replace("`", "")


FACTS: Mapping[str, tuple[Fact, ...]] = {
    kind: tuple(Fact(kind, name, evidence) for name, evidence in rows)
    for kind, rows in (_of_requests() | _of_answers() | _of_faults()).items()
}
"""Every fact by its kind, in the order of the page."""


def fact(kind: str, name: str) -> Fact:
    """Return the fact of a name.

    Raises:
        KeyError: no row has the name.
    """
    for row in FACTS[kind]:
        if row.name == name:
            return row
    raise KeyError(kind, name)
