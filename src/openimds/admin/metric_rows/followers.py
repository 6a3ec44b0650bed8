"""The metrics of a host of a fleet of hosts: the control that it follows."""

from openimds.admin.metric_rows.row import MetricRow, counter, gauge

FOLLOWER_ROWS: tuple[MetricRow, ...] = (
    gauge(
        "openimds_feed_connected",
        "state",
        "1 while this host follows a control, else 0; its guests are served in any case.",
        remedy="Type openimds host status --state DIR: it has the reason.",
    ),
    gauge(
        "openimds_feed_age_seconds",
        "seconds",
        "Time since the last message of a control, which comes at least each 5 seconds.",
        remedy="Look at the unit of openimds control run, and at the network to it.",
    ),
    gauge(
        "openimds_feed_store_age_seconds",
        "seconds",
        "Age of the lease of the control that is followed, as of its last message.",
        remedy="Look at the store's server: control cannot reach it.",
    ),
    counter("openimds_feed_connections", "connections", "Connections to controls so far."),
    gauge("openimds_feed_revision", "revision", "Revision of the store that this host shows."),
    gauge(
        "openimds_feed_vms_refused",
        "VMs",
        "VMs that this host could not take.",
        remedy="Type openimds host status --state DIR: it has the reasons.",
    ),
)
