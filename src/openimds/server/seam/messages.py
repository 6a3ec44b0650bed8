"""The messages between control and host, each with the type of its result."""

from typing import Any, ClassVar, TypeAlias

from msgspec import Struct

from openimds.events.clock import ClockState
from openimds.faults.injector import FaultCounts
from openimds.fleet.quarantine import QuarantinedVm
from openimds.fleet.vm_entry import PackedVm
from openimds.protocol.events.event import Event
from openimds.protocol.generation_walk import GenerationWalk
from openimds.protocol.pending import Failed, PendingApproval
from openimds.protocol.request_log import Record
from openimds.protocol.response import Refusal, Response
from openimds.settings import Settings

MAX_FRAME_BYTES = 64 << 20
"""The bound on one message; its sender refuses a longer one, and its reader ends the channel."""
SLICE = 200
"""So many VMs, scopes or records pass in one message."""
SLICE_BYTES = 1 << 20
"""From so many octets on, a message takes no further VM or scope."""


class SeamMessage(Struct, frozen=True, tag=True):
    """A call; `result` is the type of what it returns."""

    result: ClassVar[Any] = None


# From the host to control.


class Began(Struct, frozen=True):
    """The facts of a control that is ready: guests may be served.

    `is_entra_reported` tells that the operator knows that no credential for Entra is set.
    """

    is_entra_reported: bool


class Begin(SeamMessage, frozen=True):
    """The first message to a new control process: its input, and what guests are served.

    `store` is the path of the store's file, `token` that of the admin token. The sockets are
    descriptors of the listening ports, bound as the settings say or inherited. `faults` are those
    of the host: the ones of the fleet file keep their counts. With `is_restart` guests are served
    already, and a fleet file that cannot be used is left until it can. `temporary` is the folder to
    remove when the host is killed.
    """

    settings: Settings
    store: str
    token: str
    public_url: str
    admin_sockets: tuple[int, ...]
    public_sockets: tuple[int, ...]
    are_of_settings: bool
    had_keys: bool
    faults: "tuple[FaultState, ...]"
    is_restart: bool = False
    temporary: str = ""
    metrics_sockets: tuple[int, ...] = ()
    result: ClassVar[Any] = Began


class Approve(SeamMessage, frozen=True):
    """A guest approves events: the approval is stored when this returns, or has failed."""

    need: PendingApproval
    result: ClassVar[Any] = Failed | None


class TakeRecord(SeamMessage, frozen=True):
    """A request of a guest, for those who follow requests."""

    record: Record


class Ping(SeamMessage, frozen=True):
    """Do nothing: the answer shows that control works."""


class Reload(SeamMessage, frozen=True):
    """Apply the fleet file, and try quarantined VMs again."""


class EndPorts(SeamMessage, frozen=True):
    """Answer the requests of operators under way, and accept no further one."""


class End(SeamMessage, frozen=True):
    """Finish what has begun, and end the process."""


FromHost: TypeAlias = Begin | Approve | TakeRecord | Ping | Reload | EndPorts | End


# From control to the host.


class WantListeners(SeamMessage, frozen=True):
    """Open the missing listeners of single VMs; close those neither wanted nor kept."""

    wanted: dict[str, str]
    keep: frozenset[str]


class UpdateIndex(SeamMessage, frozen=True):
    """Change VMs. Of several slices the last one has `listeners`, all that exist then."""

    puts: tuple[PackedVm, ...]
    removes: frozenset[str] = frozenset()
    quarantined: dict[str, QuarantinedVm] = {}
    clouds: dict[str, str] = {}
    has_identities: bool = False
    listeners: dict[str, str] | None = None


class BeginSnapshot(SeamMessage, frozen=True):
    """The updates that follow, up to `EndSnapshot`, are the whole fleet."""


class EndSnapshot(SeamMessage, frozen=True):
    """Drop the VMs that were not among the snapshot; `quarantined` are those not served."""

    listeners: dict[str, str]
    clouds: dict[str, str]
    has_identities: bool
    quarantined: dict[str, QuarantinedVm]


class ScopeState(Struct, frozen=True, array_like=True):
    """The published events of a scope."""

    scope: str
    events: tuple[Event, ...]
    incarnation: int


class UpdateScopes(SeamMessage, frozen=True):
    """Show the published events of these scopes; with `is_whole`, of no others.

    A whole set of several messages begins with `is_whole`, and is shown at the last of them.
    """

    scopes: tuple[ScopeState, ...]
    is_whole: bool = False
    is_last: bool = True


class FaultState(Struct, frozen=True):
    """An active fault: its members as in a fleet file, and since when.

    `before` are VMs as they were then, packed. With None the host takes its own: those of a large
    fleet are too many for a message.
    """

    key: str
    origin: str
    begun_s: float
    playbook: str
    members: dict[str, Any]
    before: dict[str, bytes] | None = None


class UpdateFaults(SeamMessage, frozen=True):
    """Play these faults, in this order; those of a known key keep their counts."""

    faults: tuple[FaultState, ...]


class UpdateClock(SeamMessage, frozen=True):
    """Show this time."""

    state: ClockState


class ForgetTokens(SeamMessage, frozen=True):
    """Forget the tokens of changed VMs, where the settings ask for it."""

    names: frozenset[str]


class CountFaults(SeamMessage, frozen=True):
    """Return the counts of the faults by key."""

    result: ClassVar[Any] = dict[str, FaultCounts]


class SampleState(Struct, frozen=True, array_like=True):
    """The values of a metric: one, or several by label or labels."""

    one: float | None
    by_label: tuple[tuple[str, float], ...] = ()
    by_labels: tuple[tuple[tuple[str, ...], float], ...] = ()


class ReadSamples(SeamMessage, frozen=True):
    """Return the values of the host's metrics."""

    result: ClassVar[Any] = dict[str, SampleState]


class ReadRecords(SeamMessage, frozen=True):
    """Return records behind a number, at most a slice, oldest first."""

    vm: str | None
    since: int
    result: ClassVar[Any] = tuple[Record, ...]


class ReadLastNumber(SeamMessage, frozen=True):
    """Return the number of the last request."""

    result: ClassVar[Any] = int


class ReadFindings(SeamMessage, frozen=True):
    """Return the number of records that break each rule of the client checks."""

    result: ClassVar[Any] = dict[str, int]


class ClearRecords(SeamMessage, frozen=True):
    """Drop all records."""


class FollowRecords(SeamMessage, frozen=True):
    """Send each record from now on, or no longer."""

    is_on: bool


class ReadVariables(SeamMessage, frozen=True):
    """Return the environment variables of a VM's clients by token route."""

    packed: bytes
    url: str
    result: ClassVar[Any] = dict[str, dict[str, str]]


class AnswerState(Struct, frozen=True):
    """A response, or a refusal."""

    response: Response | None = None
    refusal: Refusal | None = None


class GetAsVm(SeamMessage, frozen=True):
    """Answer a GET of a target as the VM is answered."""

    packed: bytes
    target: str
    result: ClassVar[Any] = AnswerState


class CallCredentials(SeamMessage, frozen=True):
    """Call a method of the keys and certificates: one of `CREDENTIAL_CALLS`."""

    name: str
    arguments: tuple[Any, ...]
    result: ClassVar[Any] = Any


class Rehearse(SeamMessage, frozen=True):
    """Begin a walk through generations of certificates."""

    walk: GenerationWalk
    now_s: float


class ReadWalk(SeamMessage, frozen=True):
    """Return the walk through generations under way or completed, if there is one."""

    now_s: float
    result: ClassVar[Any] = GenerationWalk | None


class Publish(SeamMessage, frozen=True):
    """Call a method of the publications: one of `PUBLICATION_CALLS`."""

    name: str
    arguments: tuple[Any, ...]
    result: ClassVar[Any] = Any


class Spoil(SeamMessage, frozen=True):
    """Call a method of the answers that are wrong on purpose: one of `SPOILT_CALLS`."""

    name: str
    arguments: tuple[Any, ...]
    result: ClassVar[Any] = Any


CREDENTIAL_CALLS = frozenset(
    {
        "key_infos",
        "rotate",
        "ca.certificate_infos",
        "ca.bundle",
        "ca.revoke",
        "ca.revocation_status",
        "ca.rotate",
        "ca.end_rehearsal",
        "hardware.certificates",
    }
)
PUBLICATION_CALLS = frozenset(
    {
        "discovery",
        "keys",
        "certificate",
        "revocation_list",
        "ocsp_response",
        "bundle",
    }
)
SPOILT_CALLS = frozenset({"certificate", "unknown_root", "stale_list", "ocsp_response"})

FromControl: TypeAlias = (
    WantListeners
    | UpdateIndex
    | BeginSnapshot
    | EndSnapshot
    | UpdateScopes
    | UpdateFaults
    | UpdateClock
    | ForgetTokens
    | CountFaults
    | ReadSamples
    | ReadRecords
    | ReadLastNumber
    | ReadFindings
    | ClearRecords
    | FollowRecords
    | ReadVariables
    | GetAsVm
    | CallCredentials
    | Rehearse
    | ReadWalk
    | Publish
    | Spoil
)
