"""The reserve of open files, and the bound on guests' connections."""

import selectors
import sys

import pytest

from openimds.linux.platform import FileLimits
from openimds.server import file_budget as budgets
from openimds.server.file_budget import FileBudget, file_budget, raise_limit


@pytest.mark.parametrize(
    "limit, port, reserve, guests",
    [
        (64, 4, 56, 7),
        (1024, 64, 176, 847),
        (4096, 256, 560, 3535),
        (20_000, 256, 560, 19_439),
        (65_536, 256, 560, 20_000),
        (sys.maxsize, 256, 560, 20_000),
    ],
)
def test_guests_have_the_files_beside_the_reserve(
    limit: int, port: int, reserve: int, guests: int
) -> None:
    budget = FileBudget(limit)
    assert (budget.port_connections, budget.reserve) == (port, reserve)
    assert budget.connections(20_000) == guests


def test_listeners_take_the_place_of_connections() -> None:
    assert FileBudget(1024).connections(20_000, listeners=500) == 348
    assert FileBudget(1024).connections(100, listeners=500) == 100


def test_tiny_limit_leaves_one_connection() -> None:
    assert FileBudget(16).connections(20_000) == 1


def test_budget_is_that_of_the_soft_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "file_limits", lambda: FileLimits(256, 4096))
    assert file_budget() == FileBudget(256)


@pytest.mark.parametrize("limits", [None, FileLimits(20_000, 20_000)])
def test_poll_set_of_select_bounds_the_budget(
    monkeypatch: pytest.MonkeyPatch, limits: FileLimits | None
) -> None:
    monkeypatch.delattr(selectors, "PollSelector")
    monkeypatch.setattr(budgets, "file_limits", lambda: limits)
    assert file_budget() == FileBudget(512)
    assert file_budget().connections(20_000) == 399


class FakeProcess:
    """The limits of a process, whose soft one is raised to the hard one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, limits: FileLimits | None) -> None:
        self.limits = limits
        monkeypatch.setattr(budgets, "file_limits", lambda: self.limits)
        monkeypatch.setattr(budgets, "raise_file_limit", self._raise)

    def _raise(self) -> None:
        if self.limits:
            self.limits = FileLimits(self.limits.hard, self.limits.hard)


def test_limit_below_the_wanted_connections_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    process = FakeProcess(monkeypatch, FileLimits(1024, 4096))
    notice = raise_limit(20_000)
    assert process.limits == FileLimits(4096, 4096)
    assert notice.startswith(
        "the limit of open files is 4096 (at the start soft limit 1024, hard limit 4096): guests "
        "have at most 3535 connections at a time, not 20000. "
    )
    assert notice.endswith("or set --max-connections 3535")


@pytest.mark.parametrize("limits", [None, FileLimits(1024, 20_000)])
def test_sufficient_limit_is_not_reported(
    monkeypatch: pytest.MonkeyPatch, limits: FileLimits | None
) -> None:
    FakeProcess(monkeypatch, limits)
    assert raise_limit(20_000) == ""
