"""Places of connections: a newcomer gets one, and no address keeps more than its part."""

from openimds.admin.connection_shares import ConnectionShares


class FakeConnection:
    """A connection that asks for a place."""

    def __init__(self, shares: ConnectionShares, caller: str, *, is_idle: bool = True) -> None:
        self.caller, self.is_idle = caller, is_idle
        self.has_ended = False
        self.is_open = shares.add(self)

    def give_way(self) -> None:
        self.has_ended = True


def open_many(
    shares: ConnectionShares, caller: str, count: int, *, is_idle: bool = True
) -> list[FakeConnection]:
    return [FakeConnection(shares, caller, is_idle=is_idle) for _ in range(count)]


def ended(*connections: FakeConnection) -> list[bool]:
    return [connection.has_ended for connection in connections]


def test_idle_connections_of_many_addresses_lock_nobody_out() -> None:
    shares = ConnectionShares(8)
    idle = [FakeConnection(shares, f"10.0.0.{number}") for number in range(8)]
    assert FakeConnection(shares, "10.9.9.9").is_open
    assert ended(*idle) == [True] + [False] * 7
    assert len(shares) == 8


def test_idle_connections_of_one_address_do_not_lock_it() -> None:
    shares = ConnectionShares(8)
    idle = open_many(shares, "127.0.0.1", 8)
    assert FakeConnection(shares, "127.0.0.1").is_open
    assert ended(*idle) == [True] + [False] * 7


def test_newcomer_gets_the_place_of_the_largest_holder() -> None:
    shares = ConnectionShares(8)
    small = open_many(shares, "10.0.0.1", 3)
    large = open_many(shares, "10.0.0.2", 5)
    assert FakeConnection(shares, "10.9.9.9").is_open
    assert ended(*small, *large) == [False] * 3 + [True] + [False] * 4


def test_idle_connection_goes_before_an_older_busy_one() -> None:
    shares = ConnectionShares(3)
    busy = open_many(shares, "10.0.0.1", 2, is_idle=False)
    idle = FakeConnection(shares, "10.0.0.2")
    assert FakeConnection(shares, "10.9.9.9").is_open
    assert ended(*busy, idle) == [False, False, True]


def test_busy_address_keeps_its_part_only() -> None:
    shares = ConnectionShares(8)
    busy = open_many(shares, "10.0.0.1", 8, is_idle=False)
    others = open_many(shares, "10.0.0.2", 6, is_idle=False)
    assert [connection.is_open for connection in others] == [True] * 4 + [False] * 2
    assert sum(ended(*busy)) == 4
    assert ended(*others) == [False] * 6


def test_largest_holder_takes_nothing_from_smaller_ones() -> None:
    shares = ConnectionShares(4)
    small = FakeConnection(shares, "10.0.0.1")
    open_many(shares, "10.0.0.2", 3, is_idle=False)
    assert FakeConnection(shares, "10.0.0.2").is_open is False
    assert not small.has_ended


def test_connection_that_was_used_lately_goes_last() -> None:
    shares = ConnectionShares(3)
    first, second, third = open_many(shares, "10.0.0.1", 3)
    shares.use(first)
    FakeConnection(shares, "10.0.0.1")
    assert ended(first, second, third) == [False, True, False]


def test_place_is_given_up_once() -> None:
    shares = ConnectionShares(2)
    one, other = open_many(shares, "10.0.0.1", 2)
    newcomer = FakeConnection(shares, "10.0.0.2")
    shares.remove(one)  # It has ended for the newcomer already.
    shares.use(one)
    assert len(shares) == 2
    shares.remove(other)
    shares.remove(newcomer)
    assert (len(shares), shares._counts) == (0, {})


def test_places_of_proven_connections_are_kept() -> None:
    shares = ConnectionShares(8, 2)
    first = open_many(shares, "127.0.0.1", 6)
    assert len(shares) == 6
    shares.prove(first[5])
    rest = open_many(shares, "127.0.0.1", 20)
    assert all(one.is_open for one in rest)
    assert not first[5].has_ended
    assert len(shares) == 7


def test_busy_strangers_do_not_take_the_kept_places() -> None:
    shares = ConnectionShares(8, 2)
    held = open_many(shares, "127.0.0.1", 8, is_idle=False)
    assert [one.is_open for one in held] == [True] * 6 + [False] * 2
    shares.prove(held[0])
    assert FakeConnection(shares, "127.0.0.1").is_open
    assert not any(ended(*held))


def test_more_proven_connections_than_are_kept_give_way() -> None:
    shares = ConnectionShares(4, 1)
    held: list[FakeConnection] = []
    for _ in range(4):
        held += open_many(shares, "127.0.0.1", 1)
        shares.prove(held[-1])
    assert FakeConnection(shares, "127.0.0.1").is_open
    assert ended(*held) == [True, False, False, False]


def test_ended_connection_is_not_proven() -> None:
    shares = ConnectionShares(4, 1)
    gone = FakeConnection(shares, "127.0.0.1")
    shares.remove(gone)
    shares.prove(gone)
    held = open_many(shares, "127.0.0.1", 3)
    assert not any(ended(*held))
    assert len(shares) == 3
