"""The rows of all events: an event that is logged is a row here.

The page docs/know/log.md is written from them. A name is a thing and what became of it; the names
of fields are single words, in logfmt and JSON alike.
"""

from openimds.log.event import Level, LogEvent

_DEBUG, _INFO, _NOTICE = Level.DEBUG, Level.INFO, Level.NOTICE
_WARNING, _ERROR = Level.WARNING, Level.ERROR
_DENIED_PER_MINUTE = 10
_ACTIONS_PER_MINUTE = 600
_REPEATED_PER_MINUTE = 60
_OF_REQUESTS = ("who", "peer", "operation", "target", "method", "status", "milliseconds")
"""Fields of an operator's request: the name of its token, and the object that it names."""

# The server, its parts, and this log.
STARTING = LogEvent(
    "server.starting",
    _INFO,
    "A server starts; its settings that differ from the defaults, without secrets.",
    ("command", "version", "pid", "settings"),
)
READY = LogEvent(
    "server.ready", _INFO, "It answers at these addresses.", ("imds", "admin", "public")
)
RELOADING = LogEvent("server.reloading", _INFO, "SIGHUP asks for the fleet file to be read again.")
STOPPING = LogEvent(
    "server.stopping", _INFO, "It accepts no new connection; a signal or a failure.", ("reason",)
)
STOPPED = LogEvent("server.stopped", _INFO, "All connections are closed.")
FAILED = LogEvent("server.failed", _ERROR, "It cannot go on, and ends.", ("reason",))
NOTICE = LogEvent("server.notice", _WARNING, "A message of another kind.")
SETTING = LogEvent(
    "server.setting",
    _WARNING,
    "A setting, a variable or a limit of this machine has an effect that may not be wanted.",
)
INTERNAL_ERROR = LogEvent(
    "server.internal_error",
    _ERROR,
    "A fault of this program; please report it.",
    ("error", "place"),
    _REPEATED_PER_MINUTE,
)
LIBRARY = LogEvent(
    "server.library",
    _WARNING,
    "A record of a library, at a level of its own.",
    ("logger", "error", "place"),
    _REPEATED_PER_MINUTE,
)
CONTROL_ENDED = LogEvent(
    "control.ended",
    _ERROR,
    "The process of control has ended and is started anew; guests are served on.",
    ("status", "pause"),
)
CONTROL_HUNG = LogEvent("control.hung", _ERROR, "The process of control is killed.", ("silent",))
CONTROL_UNSTARTABLE = LogEvent(
    "control.unstartable",
    _ERROR,
    "The process of control cannot start; it is tried again.",
    ("reason", "pause"),
)
CONTROL_RUNNING = LogEvent("control.running", _NOTICE, "The process of control runs again.")
CONNECTIONS_PAUSED = LogEvent(
    "connections.paused",
    _WARNING,
    "No connection is accepted for a moment, for want of files or memory.",
    ("times", "reason"),
)
CLOCK_STEPPED = LogEvent(
    "clock.stepped", _WARNING, "The wall clock of this machine was set.", ("seconds",)
)
LINES_OMITTED = LogEvent(
    "log.omitted",
    _WARNING,
    "The count of the lines of one event beyond its bound, at the highest level of them.",
    ("name", "omitted"),
)
LINES_DROPPED = LogEvent(
    "log.dropped",
    _WARNING,
    "Lines were not written: too many waited, or stderr took none.",
    ("lost",),
)

# The fleet and its store.
FLEET_APPLIED = LogEvent(
    "fleet.applied",
    _NOTICE,
    "An edit of the fleet file is served; up to ten names of each kind.",
    ("file", "changes", "added", "changed", "removed", "names"),
)
FLEET_REJECTED = LogEvent(
    "fleet.rejected",
    _ERROR,
    "The fleet file is not applied; the previous fleet is served.",
    ("file", "place", "reason"),
)
FLEET_UNREAD = LogEvent(
    "fleet.unread", _WARNING, "The fleet file is not read in time.", ("file", "seconds")
)
FLEET_WARNING = LogEvent("fleet.warning", _WARNING, "A part of the fleet may not be as wanted.")
VM_QUARANTINED = LogEvent(
    "vm.quarantined", _WARNING, "Stored VMs are not served; `openimds vm list` has the reasons."
)
VM_RETURNED = LogEvent("vm.returned", _NOTICE, "A quarantined VM is served again.", ("vm",))
VM_UNSERVED = LogEvent("vm.unserved", _WARNING, "A quarantined VM stays so.", ("vm", "reason"))
STORE_REFUSES = LogEvent(
    "store.refuses",
    _ERROR,
    "The store takes no change; the fleet is served from what is there.",
    ("reason",),
)
STORE_RECOVERED = LogEvent(
    "store.recovered", _NOTICE, "The store takes changes again.", ("seconds",)
)
STORE_MADE = LogEvent("store.made", _NOTICE, "The disk takes a store, at last.", ("path",))
STORE_UPGRADED = LogEvent(
    "store.upgraded", _NOTICE, "The store is of this release now; the copy of before.", ("copy",)
)
STORE_DAMAGED = LogEvent("store.damaged", _ERROR, "A check of the store finds damage.")
STORE_SALVAGED = LogEvent(
    "store.salvaged", _WARNING, "A lost or damaged store is taken as it is.", ("path",)
)
HISTORY = LogEvent("store.history", _WARNING, "The logs of the store will be pruned.", ("date",))

# The ports of operators.
ADMIN_TOKEN_EXPOSED = LogEvent(
    "admin.token_exposed", _WARNING, "The file of the admin token can be read by others."
)
ADMIN_TOKEN_WRITTEN = LogEvent(
    "admin.token_written", _NOTICE, "The file of the admin token is there now.", ("path",)
)
ADMIN_TOKEN_FAILED = LogEvent(
    "admin.token_failed",
    _WARNING,
    "A request without the right token; the count of those before it.",
    ("kind", "peer", "before"),
)
ADMIN_CERTIFICATE = LogEvent(
    "admin.certificate", _NOTICE, "The admin API uses the new certificate of its file.", ("file",)
)
ADMIN_CERTIFICATE_TROUBLE = LogEvent(
    "admin.certificate_trouble",
    _WARNING,
    "The certificate of the admin API cannot be used, ends soon, or its key can be read by others.",
)
ADMIN_ACTION = LogEvent(
    "admin.action",
    _INFO,
    "An operator has changed something, or failed to.",
    _OF_REQUESTS,
    _ACTIONS_PER_MINUTE,
)
ADMIN_READ = LogEvent(
    "admin.read", _DEBUG, "An operator has read something.", _OF_REQUESTS, _ACTIONS_PER_MINUTE
)
ADMIN_DENIED = LogEvent(
    "admin.denied",
    _WARNING,
    "A request is denied: by its Host (421) or the role of its token (403); without a token (401) "
    "at the level info, for `admin.token_failed` has the attempts that are no slip.",
    _OF_REQUESTS,
    _DENIED_PER_MINUTE,
)
ADMIN_LOGIN = LogEvent(
    "admin.login",
    _INFO,
    "A token begins a session of the page in a browser.",
    ("who", "peer"),
    _REPEATED_PER_MINUTE,
)
PORT_CLOSED = LogEvent(
    "port.closed", _ERROR, "A port is closed after an internal error.", ("setting", "error")
)
PUBLICATION_TROUBLE = LogEvent(
    "port.publication_trouble",
    _WARNING,
    "A published document cannot be read.",
    (),
    _REPEATED_PER_MINUTE,
)

# Guests and their listeners.
CALLER_UNKNOWN = LogEvent(
    "caller.unknown",
    _WARNING,
    "A caller is no VM; once for each of the first 1024 addresses.",
    ("address", "reason"),
    _REPEATED_PER_MINUTE,
)
CALLER_MOVED = LogEvent(
    "caller.moved", _WARNING, "Another hardware address uses that of a VM.", ("address", "vm")
)
GUEST_REQUEST = LogEvent(
    "guest.request",
    _INFO,
    "A guest's request is answered; only with `--access-log`, and without a message. `target` and "
    "`agent` are as in the recorded requests.",
    (
        *("vm", "peer", "method", "target", "endpoint", "status"),
        *("reason", "bytes", "agent", "fault"),
    ),
)
LISTENER_TROUBLE = LogEvent(
    "listener.trouble", _WARNING, "A listener of guests is missing, or reached by nobody."
)
LISTENER_REOPENED = LogEvent(
    "listener.reopened", _NOTICE, "A listener is open again.", ("listener",)
)
GUARD_TROUBLE = LogEvent(
    "listener.unguarded", _WARNING, "Connections cannot be filtered as the rules or a fault want."
)

# Credentials.
CREDENTIALS_TROUBLE = LogEvent(
    "credentials.trouble",
    _WARNING,
    "A key, a certificate or a token cannot be read, written or renewed.",
    (),
    _REPEATED_PER_MINUTE,
)
CERTIFICATE_REPLACED = LogEvent(
    "certificate.replaced",
    _NOTICE,
    "A certificate or a token key is replaced, by age or by a rehearsal.",
    ("part", "cause"),
)
CERTIFICATE_TROUBLE = LogEvent(
    "certificate.trouble",
    _WARNING,
    "A certificate ends soon, or its renewal or a rehearsal is stuck.",
    ("cause",),
)
ENTRA_FAILED = LogEvent(
    "entra.failed", _WARNING, "Entra gives no token for a VM.", ("vm", "resource")
)
ENTRA_LACKS = LogEvent(
    "entra.unconfigured", _WARNING, "VMs need tokens of Entra, and none can be had."
)

# Events and faults.
EVENT_TROUBLE = LogEvent(
    "event.trouble", _WARNING, "Scheduled events are late, or cannot be read.", ("vm",)
)
HOOK_TROUBLE = LogEvent("hook.trouble", _WARNING, "The webhook waits, or has left out log entries.")
FAULT_SET = LogEvent(
    "fault.set", _INFO, "Faults are injected from now on.", ("faults", "effects", "count")
)
FAULT_CLEARED = LogEvent(
    "fault.cleared", _INFO, "Faults are injected no longer.", ("faults", "effects", "count")
)
FAULT_LOST = LogEvent("fault.lost", _WARNING, "A stored fault cannot be read.", ("fault",))

# Hosts of a fleet.
LEAD_STANDBY = LogEvent("lead.standby", _NOTICE, "This control stands by.", ("reason",))
LEAD_TAKEN = LogEvent("lead.taken", _NOTICE, "This control leads from now on.", ("epoch",))
LEAD_TROUBLE = LogEvent(
    "lead.trouble", _WARNING, "The lease is not taken, renewed or released.", ("reason",)
)
MIRRORED = LogEvent("keys.mirrored", _NOTICE, "The store and the state folder have the same keys.")
HOST_CONNECTED = LogEvent(
    "host.connected", _NOTICE, "A host follows this control.", ("host", "release")
)
HOST_GONE = LogEvent(
    "host.gone",
    _NOTICE,
    "A host follows this control no longer; it serves its guests on.",
    ("host", "reason"),
)
HOST_REFUSED = LogEvent(
    "host.refused",
    _WARNING,
    "A host is not served, or not let in.",
    ("host", "reason"),
    _REPEATED_PER_MINUTE,
)
HOST_ADMITTED = LogEvent(
    "host.admitted",
    _NOTICE,
    "A host has joined by the service account of its pod, for which Kubernetes vouches.",
    ("host", "account"),
)
ROOT_PUBLISHED = LogEvent(
    "root.published",
    _NOTICE,
    "A ConfigMap has the fingerprints of the roots of hosts.",
    ("configmap",),
)
ROOT_TROUBLE = LogEvent(
    "root.trouble",
    _WARNING,
    "The fingerprints of the roots of hosts cannot be published; it is tried again.",
    ("configmap", "reason"),
)
HOSTS_TROUBLE = LogEvent("hosts.trouble", _WARNING, "The authority of hosts needs attention.")
JOINED = LogEvent("join.done", _NOTICE, "This host has joined its fleet.", ("host",))
JOIN_WAITS = LogEvent(
    "join.waits", _WARNING, "No control lets this host join yet; it is tried again.", ("reason",)
)
RENEWED = LogEvent(
    "renewal.done", _NOTICE, "The certificate of this host is renewed.", ("host", "ends")
)
RENEWAL_TROUBLE = LogEvent(
    "renewal.trouble", _WARNING, "A host does not get what it renews from control.", ("reason",)
)
FEED_BROKEN = LogEvent(
    "feed.broken", _WARNING, "Control is away; guests are served on.", ("reason",)
)
FEED_RECOVERED = LogEvent("feed.recovered", _NOTICE, "Control is followed again.", ("control",))
LOCAL_FILES_TROUBLE = LogEvent(
    "host.files_trouble", _WARNING, "The files for `openimds host` are not read or written."
)
RULES_RESTORED = LogEvent(
    "rules.restored", _NOTICE, "`openimds host follow` restores a difference.", ("difference",)
)
RULES_TROUBLE = LogEvent(
    "rules.trouble", _WARNING, "`openimds host follow` cannot read the fleet or set the rules."
)

KUBEVIRT_BOUND = LogEvent(
    "kubevirt.bound",
    _NOTICE,
    "`openimds kubevirt follow` makes a VM or binds it to its pod.",
    ("vm", "netns"),
)
KUBEVIRT_REMOVED = LogEvent(
    "kubevirt.removed",
    _NOTICE,
    "`openimds kubevirt follow` removes a VM whose guest does not run on this node.",
    ("vm",),
)
KUBEVIRT_TROUBLE = LogEvent(
    "kubevirt.trouble",
    _WARNING,
    "`openimds kubevirt follow` cannot read the cluster, or cannot bind a VM; it tries again.",
    ("vm",),
)

LOG_EVENTS: tuple[LogEvent, ...] = tuple(
    row for row in globals().copy().values() if isinstance(row, LogEvent)
)
"""All rows, in the order of this file."""
