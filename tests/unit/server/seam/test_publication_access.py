"""Readers of the public port cost the host a bounded part of its time."""

from typing import Any

from openimds.server.seam.publication_access import (
    CACHED_S,
    MOST_CACHED,
    PAUSE_RATIO,
    PublicationAccess,
)


class World:
    """A host that takes a hundredth of a second for each document, and a clock."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.asked: list[tuple[object, ...]] = []
        self.waits: list[float] = []
        self.access = PublicationAccess(self._ask, frozenset(), lambda: self.now_s, self._sleep)

    def _ask(self, name: str, arguments: tuple[str | bytes, ...]) -> Any:
        self.asked.append((name, *arguments))
        self.now_s += 0.01
        return b"body of " + name.encode()

    def _sleep(self, seconds: float) -> None:
        self.waits.append(round(seconds, 6))
        self.now_s += seconds


def test_document_is_read_once_while_it_is_cached() -> None:
    world = World()
    assert world.access.bundle() == world.access.bundle() == b"body of bundle"
    assert world.asked == [("bundle",)]
    world.now_s += CACHED_S
    world.access.bundle()
    assert len(world.asked) == 2


def test_names_that_do_not_exist_take_a_bounded_part_of_time() -> None:
    world = World()
    for number in range(3 * MOST_CACHED):
        world.access.certificate(f"none-{number}")
    assert set(world.waits) == {round(PAUSE_RATIO * 0.01, 6)}
    assert len(world.waits) == 3 * MOST_CACHED - 1
    assert len(world.access._answers) == MOST_CACHED


def test_each_document_is_asked_for_by_its_name_and_arguments() -> None:
    world = World()
    access = world.access
    access.discovery("t", "1.0", "h")
    access.keys("t", "2.0")
    access.revocation_list("root")
    access.ocsp_response(b"request")
    assert world.asked == [
        ("discovery", "t", "1.0", "h"),
        ("keys", "t", "2.0"),
        ("revocation_list", "root"),
        ("ocsp_response", b"request"),
    ]
