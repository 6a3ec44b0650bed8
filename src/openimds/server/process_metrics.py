"""The metrics of one process: what it is, and what it takes of the machine."""

import platform
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from openimds import __version__
from openimds.linux.process_figures import ProcessFigures, process_figures

if TYPE_CHECKING:  # It loads the Prometheus client, which only a scrape needs.
    from openimds.admin.metrics import Samples

HOST, CONTROL, BOTH = "host", "control", "both"
"""The values of the label `role`."""
HOST_CERTIFICATE, LEAF = "host", "leaf"
"""Values of the label `part` of certificates."""
_BUILD = "openimds_build_info"


def build_samples() -> dict[str, Mapping[tuple[str, ...], float]]:
    """Return the metric of the version."""
    return {_BUILD: {(__version__, platform.python_version()): 1.0}}


def merged(first: "Samples", second: "Samples") -> "Samples":
    """Return the series of both; of a single value the second one."""
    if not isinstance(first, Mapping) or not isinstance(second, Mapping):
        return second
    both: dict[Any, float] = {**first, **second}
    return both


def process_samples(role: str) -> dict[str, Mapping[tuple[str, ...], float]]:
    """Return the figures of this process. Call it in a thread."""
    return samples_of(process_figures(), role)


def samples_of(figures: ProcessFigures, role: str) -> dict[str, Mapping[tuple[str, ...], float]]:
    """Return the known ones of these figures by the name of a metric."""
    values = {
        "openimds_process_cpu_seconds": figures.cpu_s,
        "openimds_process_resident_memory_bytes": figures.resident_bytes,
        "openimds_process_open_fds": figures.open_files,
        "openimds_process_max_fds": figures.most_files,
        "openimds_process_threads": figures.threads,
        "openimds_process_start_time_seconds": figures.started_s,
    }
    return {name: {(role,): value} for name, value in values.items() if value is not None}
