"""Scheduled events: their types, the members of the document, and the steps of their lives."""

from enum import StrEnum

from msgspec import Struct

from openimds.facts.evidence import Evidence, chosen, documented, inferred, observed
from openimds.facts.redaction import GUID, KEPT, OTHER, DocumentMember, Redaction


class EventStatus(StrEnum):
    """Where an event stands. Only the two in the middle are words of the wire."""

    NEW = "new"
    SCHEDULED = "Scheduled"
    STARTED = "Started"
    GONE = "gone"


class Trigger(StrEnum):
    """What moves an event."""

    DECLARED = "declared"
    FAILED = "failed"
    """The hardware failed: there was no time to give notice."""
    APPROVED = "approved"
    NOT_BEFORE = "not-before"
    """The time of NotBefore has come, and nobody has to be asked any longer."""
    LAPSED = "lapsed"
    """The time of an event that only advises is over."""
    START = "start"
    CANCEL = "cancel"
    COMPLETE = "complete"
    """START, CANCEL and COMPLETE are the operator's."""
    OVER = "over"
    """The impact is over, and the health checks after it."""


class EventType(Struct, frozen=True):
    """What happens to a VM.

    A guest that asks with a version before `since` does not see such events. `notice_s` is the
    least time between the declaration and NotBefore. An advisory event never starts: approving it
    has no effect, and it goes when its time has come.
    """

    name: str
    since: str
    notice_s: int
    evidence: Evidence
    is_advisory: bool = False


class EventCause(Struct, frozen=True):
    """Why an event of a type happens, and the values that it then has.

    `duration_s` is the impact that the document announces, -1 where it is not known.
    `started_life_s` is the time from Started until the event is gone.
    """

    name: str
    event_type: str
    source: str
    description: str
    duration_s: int
    started_life_s: int
    evidence: Evidence
    is_failure: bool = False


class EventMember(Struct, frozen=True):
    """A member of an event in the document, in the order of the rows."""

    name: str
    since: str
    redaction: Redaction
    evidence: Evidence
    is_list: bool = False


class AllowedTransition(Struct, frozen=True):
    """From one status to the next; what no row allows does not happen."""

    before: EventStatus
    trigger: Trigger
    after: EventStatus
    evidence: Evidence


class Prefix(Struct, frozen=True):
    """What stood in front of every resource's name in the versions before `before`."""

    before: str
    text: str
    evidence: Evidence


class Activation(Struct, frozen=True):
    """How long a scope that asks for the first time waits, and when it is forgotten again."""

    delay_s: int
    idle_s: int
    evidence: Evidence


TYPES: tuple[EventType, ...] = (
    EventType("Freeze", "2017-03-01", 900, documented("S5", note="5 minutes were reported too")),
    EventType("Reboot", "2017-03-01", 900, documented("S5")),
    EventType("Redeploy", "2017-03-01", 600, documented("S5")),
    EventType(
        "Preempt",
        "2017-11-01",
        30,
        documented("S5", note="best effort; that older versions hide it is inferred"),
    ),
    EventType(
        "Terminate",
        "2019-01-01",
        300,
        documented("S5", "S8", note="5 to 15 minutes as the user set; hiding it is inferred"),
    ),
    EventType(
        "SpotRebalanceRecommendation",
        "2024-07-09",
        900,
        documented("S47", note="advisory; its notice and that it lapses are our choice"),
        is_advisory=True,
    ),
)

PLATFORM, USER = "Platform", "User"
EVENT_SOURCES = (PLATFORM, USER)
EVENT_SOURCES_EVIDENCE = documented("S5")

_UNKNOWN_S = -1
_LIFE_S = 600

CAUSES: tuple[EventCause, ...] = (
    EventCause(
        "maintenance",
        "Freeze",
        PLATFORM,
        "Host server is undergoing maintenance.",
        9,
        _LIFE_S,
        documented("S5", "S32", note="the words were recorded too (S34)"),
    ),
    EventCause(
        "live-migration",
        "Freeze",
        PLATFORM,
        "Virtual machine is being paused because of a memory-preserving Live Migration operation.",
        5,
        300,
        documented("S5", "S32"),
    ),
    EventCause(
        "user-reboot",
        "Reboot",
        USER,
        "Virtual machine is going to be restarted as requested by authorized user.",
        _UNKNOWN_S,
        _LIFE_S,
        observed("S34", "S32", note="recorded in 2021 and 2024; empty in another of 2021 (S38)"),
    ),
    EventCause(
        "emergency-repair",
        "Reboot",
        PLATFORM,
        "Host server is undergoing an emergency repair.",
        _UNKNOWN_S,
        _LIFE_S,
        inferred("S5", note="the words are documented, not with which type they come"),
    ),
    EventCause(
        "hardware-failure",
        "Reboot",
        PLATFORM,
        "Virtual machine has encountered a failure.",
        _UNKNOWN_S,
        _LIFE_S,
        documented("S5", "S32", note="born Started; that these are its words is inferred"),
        is_failure=True,
    ),
    EventCause(
        "user-redeploy",
        "Redeploy",
        USER,
        "Virtual machine is going to be redeployed as requested by authorized user.",
        _UNKNOWN_S,
        _LIFE_S,
        documented("S32"),
    ),
    EventCause(
        "failure",
        "Redeploy",
        PLATFORM,
        "Virtual machine has encountered a failure.",
        _UNKNOWN_S,
        _LIFE_S,
        documented("S32"),
    ),
    EventCause(
        "eviction",
        "Preempt",
        PLATFORM,
        "",
        _UNKNOWN_S,
        _LIFE_S,
        observed("S34", note="the duration and the time until it is gone are inferred"),
    ),
    EventCause(
        "deletion",
        "Terminate",
        PLATFORM,
        "",
        _UNKNOWN_S,
        _LIFE_S,
        chosen("no recording of a Terminate event is known"),
    ),
    EventCause(
        "rebalance",
        "SpotRebalanceRecommendation",
        PLATFORM,
        "",
        _UNKNOWN_S,
        _LIFE_S,
        chosen("no recording of this event is known; it never starts"),
    ),
)
"""The first row of a type tells its defaults; the first with the wished source, if there is one."""

_FIRST = "2017-03-01"

MEMBERS: tuple[EventMember, ...] = (
    EventMember("EventId", _FIRST, GUID, observed("S34", note="upper case in every recording")),
    EventMember("EventStatus", _FIRST, KEPT, observed("S34")),
    EventMember("EventType", _FIRST, KEPT, observed("S34")),
    EventMember("ResourceType", _FIRST, KEPT, observed("S34")),
    EventMember("Resources", _FIRST, Redaction.EVENT_RESOURCE, observed("S34"), is_list=True),
    EventMember(
        "NotBefore", _FIRST, KEPT, observed("S34", note="empty once the event has started")
    ),
    EventMember(
        "Description", "2019-04-01", OTHER, observed("S34", note="the version is documented (S5)")
    ),
    EventMember(
        "EventSource", "2019-08-01", KEPT, observed("S34", note="the version is documented (S5)")
    ),
    EventMember("DurationInSeconds", "2020-07-01", KEPT, observed("S38", note="the version: S5")),
)

INCARNATION = DocumentMember("DocumentIncarnation", KEPT, observed("S34"))
"""The member of the document that stands beside its events."""

RESOURCE_TYPE = "VirtualMachine"
RESOURCE_TYPE_EVIDENCE = observed("S34")

OLD_PREFIX = Prefix("2017-08-01", "_", documented("S5"))

HEADER_SINCE = "2017-08-01"
"""From this version on a request has to bring the `Metadata: true` header."""
HEADER_SINCE_EVIDENCE = documented("S5")

FIRST_INCARNATION = 0
"""DocumentIncarnation of a scope before its first event."""
FIRST_INCARNATION_EVIDENCE = inferred(
    "S34", note="four first events have 1; S5 and S38 show the empty document at 1 as well"
)

TRANSITIONS: tuple[AllowedTransition, ...] = (
    AllowedTransition(EventStatus.NEW, Trigger.DECLARED, EventStatus.SCHEDULED, documented("S5")),
    AllowedTransition(
        EventStatus.NEW,
        Trigger.FAILED,
        EventStatus.STARTED,
        documented("S5", note="with the type Reboot"),
    ),
    AllowedTransition(
        EventStatus.SCHEDULED, Trigger.APPROVED, EventStatus.STARTED, documented("S5")
    ),
    AllowedTransition(
        EventStatus.SCHEDULED, Trigger.NOT_BEFORE, EventStatus.STARTED, documented("S5")
    ),
    AllowedTransition(
        EventStatus.SCHEDULED,
        Trigger.START,
        EventStatus.STARTED,
        chosen("the operator is the platform, and may do what only time does in Azure"),
    ),
    AllowedTransition(EventStatus.SCHEDULED, Trigger.CANCEL, EventStatus.GONE, documented("S5")),
    AllowedTransition(
        EventStatus.SCHEDULED,
        Trigger.LAPSED,
        EventStatus.GONE,
        chosen("advice has no start, and would stay for ever"),
    ),
    AllowedTransition(EventStatus.STARTED, Trigger.OVER, EventStatus.GONE, documented("S5", "S32")),
    AllowedTransition(
        EventStatus.STARTED,
        Trigger.COMPLETE,
        EventStatus.GONE,
        chosen("the operator may end sooner what time ends in Azure"),
    ),
)

ANY, ALL = "any", "all"
NEEDS = (ANY, ALL)
"""Whose approval starts an event: one VM of the scope, or every VM that it hits."""
NEEDS_EVIDENCE = documented(
    "S5",
    note="an acknowledgement lets the event proceed for all its resources (any); in some cases "
    "all the VMs on the node have to approve, or NotBefore passes (all)",
)

UNKNOWN_ID_EVIDENCE = chosen(
    "an id that is not in the document is refused as malformed, and then none is approved"
)

ACTIVATION = Activation(
    300,
    86400,
    documented("S5", note="first answer within 2 minutes, events within 5; off after 24 hours"),
)
