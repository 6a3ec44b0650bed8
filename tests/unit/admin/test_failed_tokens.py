"""Requests without the right token: counts, waits and reports."""

import pytest

from openimds.admin import failed_tokens
from openimds.admin.failed_tokens import (
    FREE,
    MOST_ADDRESSES,
    MOST_WAIT_S,
    REPORT_S,
    STEP_S,
    FailedTokens,
    TokenFailure,
)

WRONG, ABSENT = TokenFailure.WRONG, TokenFailure.ABSENT


class Failures:
    """Failures at a time that the test sets."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.messages: list[str] = []
        self.tokens = FailedTokens(lambda: self.now_s, self.messages.append)

    def fail(self, address: str = "10.0.0.9", kind: TokenFailure = WRONG, times: int = 1) -> float:
        """Fail a number of times; return the last wait."""
        return [self.tokens.note(kind, address) for _ in range(times)][-1]


def test_wait_grows_beyond_the_free_failures_to_its_bound() -> None:
    failures = Failures()
    assert failures.fail(times=FREE) == 0
    assert failures.fail() == pytest.approx(STEP_S)
    assert failures.fail() == pytest.approx(2 * STEP_S)
    assert failures.fail(times=1000) == MOST_WAIT_S


def test_seconds_without_failures_end_the_wait() -> None:
    failures = Failures()
    failures.fail(times=FREE + 5)
    failures.now_s += 5
    assert failures.fail() == pytest.approx(STEP_S)
    failures.now_s += 3600
    assert failures.fail() == 0


@pytest.mark.parametrize(
    "first, second, is_one",
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8::1", "2001:db8::2:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("", "", True),
        ("", "10.0.0.1", False),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
    ],
)
def test_wait_is_that_of_an_address_or_site(first: str, second: str, is_one: bool) -> None:
    failures = Failures()
    failures.fail(first, times=FREE + 1)
    assert (failures.fail(second) > 0) is is_one


def test_table_of_addresses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failed_tokens, "MOST_ADDRESSES", 2)
    assert MOST_ADDRESSES == 1024
    failures = Failures()
    failures.fail("10.0.0.1", times=FREE)
    failures.fail("10.0.0.2")
    failures.fail("10.0.0.1")  # It failed last now.
    failures.fail("10.0.0.3")
    assert failures.fail("10.0.0.1") > 0
    assert failures.fail("10.0.0.2") == 0
    assert len(failures.tokens._debts) == 2


def test_failures_are_reported_once_a_minute() -> None:
    failures = Failures()
    failures.fail("10.0.0.9")
    failures.fail("10.0.0.8", times=5)
    failures.now_s += REPORT_S
    failures.fail("10.0.0.7", TokenFailure.MALFORMED)
    first, second = failures.messages
    assert first.startswith("admin API: a request from 10.0.0.9 has a wrong token; ")
    assert "from 10.0.0.7 has an Authorization header that is not Bearer TOKEN" in second
    assert "as did 5 requests before it" in second


def test_absent_token_is_reported_only_when_it_waits() -> None:
    failures = Failures()
    failures.fail(kind=ABSENT, times=FREE)
    assert failures.messages == []
    failures.fail(kind=ABSENT)
    (message,) = failures.messages
    assert "has no token, as did 10 requests before it" in message
    assert failures.tokens.counts == {
        "absent": FREE + 1,
        "malformed": 0,
        "wrong": 0,
        "expired": 0,
    }


def test_caller_at_a_unix_socket_is_named() -> None:
    failures = Failures()
    failures.fail("")
    assert "from a unix socket" in failures.messages[0]
