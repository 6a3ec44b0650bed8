"""Scheduled events: their types, causes, document members and state transitions."""

from enum import StrEnum

from msgspec import Struct

from openimds.facts.evidence import Evidence, chosen, documented, inferred, observed
from openimds.facts.redaction import GUID, KEPT, OTHER, DocumentMember, Redaction


class EventStatus(StrEnum):
    """The status of an event. Only the two in the middle appear on the wire."""

    NEW = "new"
    SCHEDULED = "Scheduled"
    STARTED = "Started"
    COMPLETED = "gone"
    """Over and no longer listed; the value is that of stored states and of the admin API."""


class Trigger(StrEnum):
    """The trigger of a transition."""

    DECLARED = "declared"
    FAILED = "failed"
    """The hardware failed, without time for notice."""
    APPROVED = "approved"
    NOT_BEFORE = "not-before"
    """The time of NotBefore has come: no approval is needed any longer."""
    LAPSED = "lapsed"
    """The time of an advisory event is over."""
    START = "start"
    CANCEL = "cancel"
    COMPLETE = "complete"
    """START, CANCEL and COMPLETE come from the operator."""
    OVER = "over"
    """The impact and the health checks after it are over."""


class EventType(Struct, frozen=True):
    """A type of event.

    Documents of api-versions before `since` hide such events. `notice_s` is the shortest time from
    the declaration to NotBefore, in seconds. An advisory event never starts: an approval has no
    effect, and the event lapses at its time.
    """

    name: str
    since: str
    notice_s: int
    evidence: Evidence
    is_advisory: bool = False


class EventCause(Struct, frozen=True):
    """A cause of events of one type, with the values that such events have.

    `duration_s` is the announced impact in seconds, -1 where it is unknown. `started_life_s` is the
    time in seconds that a started event stays listed.
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
    """A transition from one status to another; there are no others than these rows."""

    before: EventStatus
    trigger: Trigger
    after: EventStatus
    evidence: Evidence


class Prefix(Struct, frozen=True):
    """The prefix of every resource name in the versions before `before`."""

    before: str
    text: str
    evidence: Evidence


class Activation(Struct, frozen=True):
    """The wait of a scope's first request, and the idle time that ends activation (s)."""

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
        documented("S5", note="best effort; hiding it from older versions is inferred"),
    ),
    EventType(
        "Terminate",
        "2019-01-01",
        300,
        documented(
            "S5",
            "S8",
            note="5 to 15 minutes, set by the user; hiding it from older versions is inferred",
        ),
    ),
    EventType(
        "SpotRebalanceRecommendation",
        "2024-07-09",
        900,
        documented("S47", note="advisory; its notice and its lapse are assumed"),
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
        6,
        _LIFE_S,
        observed("S34", "S85", note="6 or 30 seconds in four events; 9 is documented (S5)"),
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
        inferred("S5", note="the description is documented, its type is not"),
    ),
    EventCause(
        "hardware-failure",
        "Reboot",
        PLATFORM,
        "Virtual machine has encountered a failure.",
        _UNKNOWN_S,
        _LIFE_S,
        documented("S5", "S32", note="begins as Started; that it has this description is inferred"),
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
        observed("S34", "S85", note="the time in Started is inferred"),
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
"""The first row of a type has its defaults; the first with the requested source, if any."""

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
"""The member of the document beside its events."""

RESOURCE_TYPE = "VirtualMachine"
RESOURCE_TYPE_EVIDENCE = observed("S34")

OLD_PREFIX = Prefix("2017-08-01", "_", documented("S5"))

HEADER_SINCE = "2017-08-01"
"""From this version on a request needs the `Metadata: true` header."""
HEADER_SINCE_EVIDENCE = documented("S5")

FIRST_INCARNATION = 0
"""DocumentIncarnation of a scope before its first event."""
FIRST_INCARNATION_EVIDENCE = inferred(
    "S34", note="four first events have 1; S5 and S38 show an empty document at 1 as well"
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
        chosen("an operator may start at once an event that only time starts in Azure"),
    ),
    AllowedTransition(
        EventStatus.SCHEDULED, Trigger.CANCEL, EventStatus.COMPLETED, documented("S5")
    ),
    AllowedTransition(
        EventStatus.SCHEDULED,
        Trigger.LAPSED,
        EventStatus.COMPLETED,
        chosen("an advisory event never starts, so without it the event would stay for ever"),
    ),
    AllowedTransition(
        EventStatus.STARTED, Trigger.OVER, EventStatus.COMPLETED, documented("S5", "S32")
    ),
    AllowedTransition(
        EventStatus.STARTED,
        Trigger.COMPLETE,
        EventStatus.COMPLETED,
        chosen("an operator may end an event that only time ends in Azure"),
    ),
)

ANY, ALL = "any", "all"
NEEDS = (ANY, ALL)
"""The approvals that start an event: of one VM of the scope, or of all affected VMs."""
NEEDS_EVIDENCE = documented(
    "S5",
    note="an acknowledgement lets the event proceed for all its resources (any); in some cases "
    "all the VMs on the node have to approve, or NotBefore passes (all)",
)

SCOPE_EVIDENCE = documented(
    "S5",
    "S86",
    note="a set is a resource of a resource group, and its name is unique there alone; no letter "
    "case",
)
"""The VMs that share a document of scheduled events."""

UNKNOWN_ID_EVIDENCE = chosen(
    "one id that is not in the document makes the request malformed: no id is approved"
)

ACTIVATION = Activation(
    300,
    86400,
    documented("S5", note="first answer within 2 minutes, events within 5; off after 24 hours"),
)
