"""Shortages of descriptors are counted, and reported at most once a minute."""

import errno
import os

import pytest

from openimds.server.shortage_notices import NOTICE_S, ShortageNotices
from tests.support.talk import FakeClock


def lack(code: int = errno.EMFILE) -> OSError:
    return OSError(code, os.strerror(code))


def test_first_shortage_is_reported_at_once() -> None:
    messages: list[str] = []
    notices = ShortageNotices(messages.append, FakeClock())
    notices.note(lack())
    (message,) = messages
    assert message.startswith(
        "accepting connections paused once (Too many open files): callers wait"
    )
    assert notices.pauses == 1


def test_shortages_of_a_minute_are_one_notice_with_their_count() -> None:
    messages: list[str] = []
    now = FakeClock()
    notices = ShortageNotices(messages.append, now)
    for _ in range(480):
        notices.note(lack())
        now.now_s += NOTICE_S / 480
    notices.note(lack())
    assert [message.partition(" (")[0] for message in messages] == [
        "accepting connections paused once",
        "accepting connections paused 480 times",
    ]
    assert notices.pauses == 481


@pytest.mark.parametrize(
    "code, remedy",
    [
        (errno.EMFILE, "LimitNOFILE="),
        (errno.ENFILE, "fs.file-max"),
        (errno.ENOMEM, "Free memory"),
    ],
)
def test_notice_has_the_remedy_for_its_reason(code: int, remedy: str) -> None:
    messages: list[str] = []
    ShortageNotices(messages.append, FakeClock()).note(lack(code))
    assert os.strerror(code) in messages[0]
    assert remedy in messages[0]
