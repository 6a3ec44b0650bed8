"""The metrics of the host role: guests, their connections, and the keys for them."""

from openimds.admin.metric_rows.row import MetricRow, counter, gauge, histogram

GUEST_ROWS: tuple[MetricRow, ...] = (
    counter(
        "openimds_requests",
        "requests",
        "Requests of guests that were answered.",
        "endpoint",
        "status",
    ),
    counter("openimds_refusals", "requests", "Refused requests by the reason.", "reason"),
    histogram(
        "openimds_request_duration_seconds",
        "seconds",
        "Time from the turn of the event loop that read a request until its response is ready, by "
        "class: metadata, identity, attested, events, other. Without injected faults.",
        "class",
        remedy="See openimds_signing_waiting and openimds_loop_lag_seconds.",
    ),
    counter(
        "openimds_vm_requests",
        "requests",
        "Requests of each of the busiest VMs, since it was among them.",
        "vm",
    ),
    counter(
        "openimds_vm_refused",
        "requests",
        "Requests of each of the busiest VMs that were over a limit, or no requests.",
        "vm",
        remedy="Find what asks so often on that VM: openimds requests --vm NAME.",
    ),
    counter(
        "openimds_other_vms_requests", "requests", "Requests of all VMs beside the busiest ones."
    ),
    counter(
        "openimds_other_vms_refused",
        "requests",
        "Requests of all VMs beside the busiest ones that were over a limit, or no requests.",
    ),
    counter(
        "openimds_turns_parked",
        "turns",
        "Connections that had to wait for a further turn of their VM, so that others come between.",
    ),
    counter(
        "openimds_turns_delayed",
        "turns",
        "Connections that were read later, because their VM asks far beyond its limits.",
        remedy="See openimds_vm_refused_total for the VM.",
    ),
    gauge(
        "openimds_vms_penalised",
        "VMs",
        "VMs, all unknown callers as one, whose requests are delayed at present.",
        remedy="See openimds_vm_refused_total for the VM.",
    ),
    counter("openimds_throttled", "requests", "Requests over a limit.", "limit"),
    counter(
        "openimds_faults_played",
        "requests",
        "Requests and connections that met an injected fault.",
        "effect",
    ),
    counter(
        "openimds_unknown_callers",
        "requests",
        "Requests of unknown callers, from the first 1024 addresses.",
        remedy="Give their addresses to VMs (reach.address), or look at who calls: openimds "
        "doctor.",
    ),
    counter(
        "openimds_connections_refused",
        "connections",
        "Connections that were closed at once because a bound was reached.",
        remedy="Raise --max-connections-per-vm, or find the guest that opens so many.",
    ),
    counter(
        "openimds_connections_evicted",
        "connections",
        "Connections that were closed for a newcomer because a bound was reached.",
        remedy="Raise --max-connections and LimitNOFILE=.",
    ),
    counter(
        "openimds_accept_pauses",
        "pauses",
        "Pauses of accepting for want of file descriptors or memory, on all ports.",
        remedy="Raise LimitNOFILE= of the unit, or ulimit -n.",
    ),
    counter(
        "openimds_listener_failures",
        "tries",
        "Failed tries to open a listener again, each of which is followed by another.",
        remedy="Type openimds doctor: an address or a namespace is lacking.",
    ),
    counter(
        "openimds_requests_recorded",
        "requests",
        "Requests that were recorded or sent to a follower.",
    ),
    counter(
        "openimds_certificates_replaced",
        "replacements",
        "Certificates and token keys replaced without a command: by age, or by a rehearsal.",
        "part",
        "cause",
    ),
    counter(
        "openimds_clock_steps",
        "steps",
        "Steps of the wall clock by some seconds or more, also those of a machine that slept.",
        "direction",
        remedy="Let chrony or systemd-timesyncd slew the clock.",
    ),
    gauge("openimds_vms", "VMs", "VMs that are served."),
    gauge("openimds_connections", "connections", "Open connections of guests."),
    gauge(
        "openimds_connections_limit",
        "connections",
        "Bound on the open connections of guests: max_connections, or fewer if files are short.",
    ),
    gauge(
        "openimds_loop_lag_seconds",
        "seconds",
        "Delay of the last tick of the event loop.",
        remedy="Beyond 0.1 guests wait: give the host a processor, or fewer VMs.",
    ),
    gauge("openimds_cache_bytes", "bytes", "Size of the cached responses."),
    gauge("openimds_cache_vms", "VMs", "VMs that have cached responses."),
    gauge("openimds_requests_held", "requests", "Recorded requests in memory."),
    gauge("openimds_requests_held_bytes", "bytes", "Size of the recorded requests."),
    counter(
        "openimds_cache_evictions",
        "VMs",
        "VMs whose cached responses were dropped for want of room.",
        remedy="Raise --cache-mib.",
    ),
    gauge("openimds_cache_limit_bytes", "bytes", "Bound on the cached responses: --cache-mib."),
    histogram(
        "openimds_signing_duration_seconds",
        "seconds",
        "Time in the thread that signs tokens and documents and makes keys, without the wait for "
        "it.",
    ),
    gauge(
        "openimds_signing_waiting",
        "jobs",
        "Signatures that wait for the thread.",
        remedy="Give the host a processor: guests wait for them.",
    ),
    counter(
        "openimds_signing_refused",
        "requests",
        "Requests whose signature was refused because too many waited.",
        remedy="Give the host a processor, or find the guest that asks so often.",
    ),
    counter(
        "openimds_signing_joined",
        "requests",
        "Requests that waited for the signature of another one.",
    ),
    gauge(
        "openimds_certificate_expiry_timestamp_seconds",
        "seconds",
        "End of a certificate, since 1970: root, intermediate and leaf of attested documents, "
        "host (towards control).",
        "part",
        remedy="They are renewed by themselves; else type openimds attest rotate.",
    ),
    gauge(
        "openimds_token_key_expiry_timestamp_seconds",
        "seconds",
        "Time until which a key of tokens signs (use=sign) or stays published (use=verify), since "
        "1970.",
        "kid",
        "use",
        remedy="It is replaced by itself; else type openimds identity rotate.",
    ),
)
