"""The metrics of the control role: changes, the store, events and operators."""

from openimds.admin.metric_rows.row import MetricRow, counter, gauge, histogram

FINDINGS = "openimds_findings"

CONTROL_ROWS: tuple[MetricRow, ...] = (
    counter(
        "openimds_event_moves", "transitions", "State transitions of scheduled events.", "trigger"
    ),
    gauge(
        FINDINGS, "requests", "Recorded requests that break a rule of the client checks.", "rule"
    ),
    counter(
        "openimds_control_restarts",
        "starts",
        "Starts of control's process after it had ended; guests are served meanwhile.",
        remedy="Read the journal of the unit for the exit status.",
    ),
    counter(
        "openimds_admin_token_failures",
        "requests",
        "Requests to the admin API without the right token: absent, malformed, wrong or expired.",
        "kind",
        remedy="Give the client the token of openimds token path, or find who guesses.",
    ),
    counter(
        "openimds_history_pruned",
        "rows",
        "Rows of the audit log (changes) and of the event log (events) that were pruned.",
        "log",
    ),
    counter("openimds_event_hook_told", "log entries", "Log entries that the event hook took."),
    counter(
        "openimds_event_hook_failures",
        "log entries",
        "Log entries that the event hook failed to take in every attempt.",
        remedy="Run the command of --event-hook by hand with a line of openimds event log.",
    ),
    counter(
        "openimds_event_hook_left_out",
        "log entries",
        "Log entries that were skipped because the event hook was too far behind.",
        remedy="Make the command of --event-hook faster.",
    ),
    gauge(
        "openimds_vms_quarantined",
        "VMs",
        "Stored VMs that are not served, because their row cannot be taken.",
        remedy="Type openimds vm list: it has the reasons.",
    ),
    gauge(
        "openimds_degraded",
        "state",
        "1 while changes are refused, because the disk is full, read-only or damaged, or the "
        "store does not answer; else 0.",
        remedy="Type openimds doctor, free the disk, or mend the store.",
    ),
    gauge("openimds_store_revision", "revision", "Revision of the store."),
    gauge(
        "openimds_store_age_seconds",
        "seconds",
        "Time since the store last answered without an error.",
        remedy="Look at the disk, or at the store's server.",
    ),
    gauge("openimds_events_scheduled", "events", "Scheduled events that have not started."),
    gauge("openimds_events_started", "events", "Scheduled events that have started."),
    gauge(
        "openimds_fleet_file_last_reload_successful",
        "state",
        "1 if the newest text of the fleet file is served, 0 while an edit is refused.",
        remedy="The journal has the place of the mistake; so has openimds serve --fleet FILE at a "
        "free port.",
    ),
    gauge(
        "openimds_fleet_file_last_reload_success_timestamp_seconds",
        "seconds",
        "Time at which the fleet file was last read and served, since 1970.",
    ),
    gauge(
        "openimds_fleet_file_last_reload_failure_timestamp_seconds",
        "seconds",
        "Time at which an edit of the fleet file was last refused, since 1970; absent before the "
        "first.",
    ),
    counter(
        "openimds_fleet_file_reloads",
        "edits",
        "Edits of the fleet file by outcome: applied or refused.",
        "outcome",
    ),
    counter(
        "openimds_admin_requests",
        "requests",
        "Requests to the admin API and the page by the path of the operation, its method and the "
        "status; other paths are none. A page counts for the operations that it reads, too.",
        "route",
        "method",
        "status",
    ),
    histogram(
        "openimds_admin_request_duration_seconds",
        "seconds",
        "Time until the answer of the admin API begins.",
        "route",
        "method",
    ),
    counter(
        "openimds_admin_denied",
        "requests",
        "Requests to the admin API that were denied: host (another name), token (none or wrong), "
        "role (too low, or a form of another origin).",
        "reason",
        remedy="See --admin-hosts, openimds token path and openimds token add.",
    ),
    gauge(
        "openimds_port_connections",
        "connections",
        "Open connections of operators and verifiers by port: admin, public or metrics.",
        "port",
    ),
    gauge("openimds_port_connections_limit", "connections", "Bound on these connections.", "port"),
    counter(
        "openimds_port_connections_refused",
        "connections",
        "Connections to these ports that found no place.",
        "port",
        remedy="Find the client that keeps so many open.",
    ),
    gauge(
        "openimds_admin_certificate_expiry_timestamp_seconds",
        "seconds",
        "End of the certificate of --admin-cert, since 1970.",
        remedy="Write a new certificate into the file: it is read again by itself.",
    ),
    gauge(
        "openimds_event_hook_waiting",
        "log entries",
        "Log entries that the event hook has not taken yet.",
        remedy="Look at the command or URL of --event-hook.",
    ),
    gauge(
        "openimds_history_pruned_timestamp_seconds",
        "seconds",
        "Time of the last complete run of the pruner, since 1970; absent before it.",
        remedy="It runs each 10 minutes; look at openimds_degraded.",
    ),
    gauge(
        "openimds_control_loop_lag_seconds",
        "seconds",
        "Delay of the last tick of control's event loop.",
        remedy="Beyond 1 operators wait: give the machine a processor.",
    ),
)
