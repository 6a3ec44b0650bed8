"""The figures of a process, from its own /proc and from a made one."""

import time
from pathlib import Path

import pytest

from openimds.linux.process_figures import process_figures
from openimds.server.process_metrics import merged, samples_of


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc")
def test_figures_of_this_process_are_those_of_proc() -> None:
    figures = process_figures()
    assert figures.resident_bytes is not None
    assert figures.resident_bytes > 10_000_000
    assert figures.open_files == len([*Path("/proc/self/fd").iterdir()]) - 1
    assert figures.started_s is not None
    assert 0 < time.time() - figures.started_s < 86_400
    assert figures.cpu_s > 0
    assert figures.threads >= 1


def test_figures_without_proc_are_left_out(tmp_path: Path) -> None:
    figures = process_figures(tmp_path)
    assert (figures.resident_bytes, figures.open_files, figures.started_s) == (None, None, None)
    names = samples_of(figures, "host")
    assert "openimds_process_resident_memory_bytes" not in names
    assert names["openimds_process_threads"] == {("host",): figures.threads}


def test_open_files_are_counted_where_the_kernel_tells_no_size(tmp_path: Path) -> None:
    folder = tmp_path / "fd"
    folder.mkdir()
    for name in ("0", "1", "2"):
        (folder / name).touch()
    size = folder.stat().st_size
    # A real folder has a size of its own; without one the entries count, but for the walk's own.
    assert process_figures(tmp_path).open_files == (size or 2)


def test_series_of_two_processes_are_merged() -> None:
    assert merged({"a": 1.0}, {"b": 2.0}) == {"a": 1, "b": 2}
    assert merged({}, 3.0) == 3
