"""The metrics of each process of a server."""

from openimds.admin.metric_rows.row import MetricRow, counter, gauge

PROCESS_ROWS: tuple[MetricRow, ...] = (
    gauge(
        "openimds_build_info",
        "info",
        "1, labelled by the version of OpenIMDS and of Python.",
        "version",
        "python",
    ),
    counter(
        "openimds_process_cpu_seconds",
        "seconds",
        "Time on a processor by role: host serves guests, control operators; both in one process.",
        "role",
    ),
    gauge(
        "openimds_process_resident_memory_bytes",
        "bytes",
        "Resident memory.",
        "role",
        remedy="See --cache-mib and --record.",
    ),
    gauge("openimds_process_open_fds", "files", "Open file descriptors.", "role"),
    gauge(
        "openimds_process_max_fds",
        "files",
        "Bound on open file descriptors.",
        "role",
        remedy="Raise LimitNOFILE= of the unit, or ulimit -n.",
    ),
    gauge("openimds_process_threads", "threads", "Threads.", "role"),
    gauge(
        "openimds_process_start_time_seconds",
        "seconds",
        "Start of the process, since 1970.",
        "role",
    ),
    counter(
        "openimds_log_lines",
        "lines",
        "Lines of the log for operators by level.",
        "level",
        "role",
    ),
    counter(
        "openimds_log_lines_lost",
        "lines",
        "Lines of the log that were not written, as stderr was closed or not read in time.",
        "role",
        remedy="Look at the reader of the server's stderr.",
    ),
)
