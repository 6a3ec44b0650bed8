"""The metrics of a fleet of hosts, and of the control that leads it."""

from openimds.admin.metric_rows.row import MetricRow, counter, gauge

CONTROL_LEADS = "openimds_control_leads"

FLEET_ROWS: tuple[MetricRow, ...] = (
    gauge(
        CONTROL_LEADS,
        "state",
        "1 on the control that leads a fleet of hosts, 0 on one that stands by.",
    ),
    gauge(
        "openimds_control_epoch",
        "epoch",
        "Epoch of the lease of the control that leads; it grows with each take-over.",
    ),
    gauge(
        "openimds_control_lease_age_seconds",
        "seconds",
        "Time since the control that leads took or renewed its lease, which it tries each second.",
        remedy="Look at the store's server, and at the network to it.",
    ),
    gauge("openimds_hosts", "hosts", "Known hosts of a fleet by state.", "state"),
    gauge(
        "openimds_vms_without_host",
        "VMs",
        "VMs that no host serves: placed nowhere, or on a host that has not joined.",
        remedy="Type openimds control host list, and set host of these VMs.",
    ),
    gauge(
        "openimds_host_connected",
        "state",
        "1 while a host is connected to the control that leads, else 0.",
        "host",
        remedy="Look at the unit of openimds host run there, and at the network.",
    ),
    gauge("openimds_host_vms", "VMs", "VMs that are placed on a host.", "host"),
    gauge(
        "openimds_host_vms_refused",
        "VMs",
        "VMs whose newest state a connected host could not take.",
        "host",
        remedy="Type openimds control host list: it has the reasons.",
    ),
    gauge(
        "openimds_host_vms_unshown",
        "VMs",
        "Changed VMs that a connected host does not show yet.",
        "host",
    ),
    gauge(
        "openimds_host_scopes_unshown",
        "scopes",
        "Changed scopes of events that a connected host does not show yet.",
        "host",
    ),
    gauge(
        "openimds_host_unshown_age_seconds",
        "seconds",
        "Age of the oldest change that a host, connected or not, is not known to show; else 0.",
        "host",
        remedy="Look at the host and at the network to it.",
    ),
    gauge(
        "openimds_host_revision",
        "revision",
        "Revision of the store that a connected host shows; it follows within 5 seconds.",
        "host",
    ),
    gauge(
        "openimds_host_silent_seconds",
        "seconds",
        "Time since a host last answered, or since this control leads; it is asked each 5 seconds.",
        "host",
    ),
    gauge(
        "openimds_host_certificate_expiry_timestamp_seconds",
        "seconds",
        "End of the newest certificate of a host, since 1970.",
        "host",
        remedy="A host renews it by itself; type openimds control host add NAME to join it anew.",
    ),
    gauge(
        "openimds_host_leaf_failure",
        "state",
        "1 while control does not certify the leaves of a connected host, which sign attested "
        "documents; else 0.",
        "host",
        remedy="Type openimds control host list: it has the reason.",
    ),
    counter(
        "openimds_host_join_token_reuses",
        "attempts",
        "Attempts of other machines to use the spent join token of a host.",
        "host",
        remedy="Someone has a spent join token: find out who.",
    ),
)
