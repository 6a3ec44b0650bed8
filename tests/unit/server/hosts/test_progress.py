"""The progress of a host, by a clock that the test sets."""

import pytest

from openimds.server.hosts.progress import HostProgress


class Clock:
    """A steady clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        monkeypatch.setattr("time.monotonic", lambda: self.now_s)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_age_is_that_of_the_oldest_change(clock: Clock) -> None:
    progress = HostProgress(100)
    assert progress.unshown_age_s() == 0
    progress.mark()
    clock.now_s = 103
    progress.mark()
    assert progress.unshown_age_s() == 3
    progress.begin()
    assert progress.unshown_age_s() == 3, "it is being sent"
    progress.end()
    assert progress.unshown_age_s() == 0


def test_change_while_others_are_sent_has_its_own_age(clock: Clock) -> None:
    progress = HostProgress(100)
    progress.mark()
    progress.begin()
    clock.now_s = 110
    progress.mark()
    clock.now_s = 112
    assert progress.unshown_age_s() == 12
    progress.end()
    assert progress.unshown_age_s() == 2


def test_change_of_an_ended_connection_keeps_its_age(clock: Clock) -> None:
    progress = HostProgress(100)
    progress.mark()
    progress.begin()
    clock.now_s = 160
    progress.mark()  # The next connection.
    progress.begin()
    assert progress.unshown_age_s() == 60
    progress.end()
    assert progress.unshown_age_s() == 0


def test_silence_begins_with_each_answer(clock: Clock) -> None:
    progress = HostProgress(90)
    assert progress.silent_s() == 10
    progress.answered()
    clock.now_s = 104
    assert progress.silent_s() == 4
