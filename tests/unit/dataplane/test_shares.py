"""Shares: refusals and their delays, and the bounds on open connections."""

from math import inf

import pytest

from openimds.dataplane.shares import (
    FREE_REFUSALS,
    LONGEST_DELAY_S,
    UNKNOWN,
    ConnectionTable,
    Share,
)


class FakeConnection:
    """A connection that leaves the table when it has to."""

    def __init__(self, table: ConnectionTable, name: str, *, is_idle: bool = True) -> None:
        self.deadline_s, self.slot, self.is_idle = inf, -1, is_idle
        self.table, self.share = table, table.share(name)
        self.is_open = table.add(self, self.share)
        self.ends: list[str] = []

    def _end(self, how: str) -> None:
        self.ends.append(how)
        self.table.remove(self, self.share)

    def expire(self) -> None:
        self._end("expired")

    def drain(self) -> None:
        self._end("drained")

    def give_way(self) -> None:
        self._end("gave way")

    def resume(self) -> None:
        raise AssertionError("a table has no turns")


def open_many(
    table: ConnectionTable, name: str, count: int, *, is_idle: bool = True
) -> list[FakeConnection]:
    return [FakeConnection(table, name, is_idle=is_idle) for _ in range(count)]


class TestExcess:
    def test_first_hundred_refusals_are_not_delayed(self) -> None:
        share = Share("a")
        for _ in range(FREE_REFUSALS):
            share.refused(5.0)
        assert (share.has_excess, share.delay_s(5.0)) == (False, 0)

    def test_delay_grows_to_a_second_and_no_further(self) -> None:
        share = Share("a")
        delays = []
        for _ in range(10 * FREE_REFUSALS):
            share.refused(5.0)
            delays.append(share.delay_s(5.0))
        assert delays == sorted(delays)
        assert delays[FREE_REFUSALS] == pytest.approx(0.01)
        assert delays[-1] == LONGEST_DELAY_S

    def test_excess_is_forgiven_in_seconds(self) -> None:
        share = Share("a")
        for _ in range(10 * FREE_REFUSALS):
            share.refused(5.0)
        assert [share.delay_s(5.0 + later) for later in (0, 2.5, 5)] == [1.0, 0.5, 0]
        assert not share.has_excess
        assert [share.is_forgiven(at) for at in (14.9, 15.1)] == [False, True]

    def test_twenty_refusals_a_second_are_never_delayed(self) -> None:
        share = Share("a")
        for tick in range(2000):
            share.refused(tick / 20)
            assert not share.has_excess


class TestBounds:
    def test_share_beyond_its_bound_loses_its_oldest_idle_connection(self) -> None:
        table = ConnectionTable(10, 2)
        busy = FakeConnection(table, "a", is_idle=False)
        idle, newest = open_many(table, "a", 2)
        assert (busy.ends, idle.ends, newest.is_open) == ([], ["gave way"], True)
        assert (len(table), table.evicted, table.refused) == (2, 1, 0)

    def test_share_beyond_its_bound_without_idle_ones_is_refused(self) -> None:
        table = ConnectionTable(10, 2)
        connections = open_many(table, "a", 3, is_idle=False)
        assert [connection.is_open for connection in connections] == [True, True, False]
        assert (len(table), table.evicted, table.refused) == (2, 0, 1)

    def test_unknown_callers_cannot_keep_a_vm_out(self) -> None:
        table = ConnectionTable(20, 20)
        unknown = open_many(table, UNKNOWN, 40, is_idle=False)
        assert len(table) == 20
        first = FakeConnection(table, "a")
        assert first.is_open
        assert [connection.ends for connection in unknown[:2]] == [["gave way"], []]
        assert open_many(table, UNKNOWN, 1, is_idle=False)[0].is_open is False

    def test_full_table_shares_evenly_among_those_who_ask(self) -> None:
        table = ConnectionTable(30, 30)
        open_many(table, "greedy", 30)
        for name in "abcde":
            assert all(connection.is_open for connection in open_many(table, name, 5))
        assert len(table.share("greedy").open) == 5
        assert len(table) == 30

    def test_newcomer_takes_nothing_from_a_share_as_small_as_its_own(self) -> None:
        table = ConnectionTable(2, 2)
        one = FakeConnection(table, "a")
        other = FakeConnection(table, "b", is_idle=False)
        second = FakeConnection(table, "b", is_idle=False)
        assert (one.ends, other.ends, second.is_open) == ([], [], False)

    def test_vm_without_any_gets_the_place_of_an_idle_one(self) -> None:
        table = ConnectionTable(2, 2)
        busy = FakeConnection(table, "a", is_idle=False)
        idle = FakeConnection(table, "b")
        third = FakeConnection(table, "c", is_idle=False)
        assert (busy.ends, idle.ends, third.is_open) == ([], ["gave way"], True)
        fourth = FakeConnection(table, "d")
        assert (busy.ends, third.ends, fourth.is_open) == ([], [], False)

    def test_idle_connection_goes_before_an_older_busy_one(self) -> None:
        table = ConnectionTable(3, 3)
        busy = FakeConnection(table, "a", is_idle=False)
        idle, _ = open_many(table, "a", 2)
        assert FakeConnection(table, "b").is_open
        assert (busy.ends, idle.ends) == ([], ["gave way"])


def test_smaller_bound_ends_connections_of_the_largest_holder() -> None:
    table = ConnectionTable(10, 10)
    few = open_many(table, "few", 2)
    many = open_many(table, "many", 8)
    table.resize(6)
    assert (len(table), table.evicted) == (6, 4)
    assert [connection.ends for connection in few] == [[], []]
    assert [connection.ends for connection in many] == [["gave way"]] * 4 + [[]] * 4
    assert not open_many(table, "few", 1)[0].ends, "the bound holds for newcomers, too"
    assert len(table) == 6


def test_larger_bound_ends_no_connection() -> None:
    table = ConnectionTable(2, 10)
    open_many(table, "a", 2)
    table.resize(4)
    assert (open_many(table, "a", 2)[1].is_open, table.evicted) == (True, 0)


def test_bound_below_the_number_of_vms_ends_idle_connections() -> None:
    table = ConnectionTable(3, 3)
    busy = open_many(table, "a", 1, is_idle=False) + open_many(table, "b", 1, is_idle=False)
    open_many(table, "c", 1)
    table.resize(1)
    assert len(table) == 2
    assert not any(connection.ends for connection in busy)


def test_sweep_expires_overdue_connections_only() -> None:
    table = ConnectionTable(10, 10)
    early, moved, late = open_many(table, "a", 3)
    for connection, deadline_s in ((early, 5.0), (moved, 5.0), (late, 9.0)):
        connection.deadline_s = deadline_s
        table.deadlines.file(connection, deadline_s)
    moved.deadline_s = 7.0
    table.sweep(6.0)
    assert (early.ends, moved.ends, late.ends) == (["expired"], [], [])
    table.sweep(7.0)
    assert moved.ends == ["expired"]
    table.sweep(inf)
    assert late.ends == ["expired"]
    assert len(table) == 0


def test_share_is_forgotten_with_its_connections_and_refusals() -> None:
    table = ConnectionTable(10, 10)
    share = table.share("a")
    connection = FakeConnection(table, "a")
    share.refused(0)
    table.sweep(100.0)
    assert table.share("a") is share, "it has a connection"
    connection.give_way()
    share.refused(100.0)
    table.sweep(100.0)
    assert table.share("a") is share, "it has a refusal"
    table.sweep(101.0)
    assert table.share("a") is not share


def test_connection_moves_with_its_vm() -> None:
    table = ConnectionTable(10, 10)
    connection = FakeConnection(table, "a")
    old, new = table.share("a"), table.share("b")
    table.move(connection, old, new)
    assert (len(old.open), len(new.open), len(table)) == (0, 1, 1)


def test_drain_reaches_every_connection() -> None:
    table = ConnectionTable(10, 10)
    connections = [*open_many(table, "a", 2), *open_many(table, UNKNOWN, 1)]
    table.drain()
    assert [connection.ends for connection in connections] == [["drained"]] * 3


def test_connection_that_has_ended_is_not_moved() -> None:
    table = ConnectionTable(10, 10)
    ended = FakeConnection(table, "a")
    ended.give_way()
    table.move(ended, table.share("a"), table.share("b"))
    assert not table.share("b").open


def test_sweep_counts_the_requests_of_vms() -> None:
    table = ConnectionTable(9, 9)
    for name, requests in {"a": 3, UNKNOWN: 5, "b": 0}.items():
        table.share(name).requests = requests
    table.share("b").refused(1.0)
    table.sweep(1.0)
    table.sweep(2.0)
    counted = {name: (one.requests, one.refused) for name, one in table.busiest.counted.items()}
    assert counted == {"a": (3, 0), "b": (0, 1)}
    assert table.busiest.others.requests == 0


def test_sweep_counts_the_vms_whose_requests_are_delayed() -> None:
    table = ConnectionTable(9, 9)
    for _ in range(2 * FREE_REFUSALS):
        table.share("a").refused(5.0)
    table.share("b").refused(5.0)
    table.sweep(5.0)
    assert table.penalised == 1
    table.sweep(60.0)
    assert table.penalised == 0
