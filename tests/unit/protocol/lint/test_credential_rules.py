from typing import Any

import pytest

from openimds.protocol.request_log import MOST_BODY_BYTES, Record
from tests.unit.protocol.lint.records import EVENTS, TOKEN, UTC_S, a_record, found, only, refused

DAY_S = 86400.0
MANAGEMENT = TOKEN.replace("vault", "management")
APPROVE = b'{"StartRequests":[{"EventId":"%b"}]}'
FIRST, SECOND = b"A123D7D1-8DA9-4E06-AA5A-1C5C6D4A4E46", b"602D9444-D2CD-49C7-8624-8643E7171297"


def given(target: str = TOKEN, at_s: float = 0.0, life_s: float = DAY_S) -> Record:
    """A token that was given, and that ends `life_s` after the first request."""
    return a_record(target, at_s, token_until_s=UTC_S + life_s)


def approval(at_s: float, body: bytes, **more: Any) -> Record:
    return a_record(EVENTS, at_s, method="POST", sent=body, **more)


def test_a_repeated_request_for_a_young_token_is_found() -> None:
    finding = only(given(), given(at_s=60.0), given(at_s=3600.0))
    assert (finding.rule, finding.times, finding.numbers) == ("token_not_kept", 2, (2, 3))
    assert finding.example == f"GET {TOKEN} 200, 86340 s before its end"


@pytest.mark.parametrize("at_s", [DAY_S / 2, DAY_S - 299, DAY_S + 1])
def test_a_token_past_the_half_of_its_life_may_be_renewed(at_s: float) -> None:
    assert found(given(), given(at_s=at_s)) == {}


def test_a_short_token_may_be_renewed_before_its_end() -> None:
    assert found(given(life_s=400), given(at_s=99.0, life_s=400)) == {"token_not_kept": (2,)}
    assert found(given(life_s=400), given(at_s=101.0, life_s=400)) == {}


def test_a_new_token_starts_a_new_life() -> None:
    renewed = given(at_s=50_000, life_s=50_000 + DAY_S)
    again = given(at_s=50_060, life_s=50_000 + DAY_S)
    assert found(given(), renewed) == {}
    assert found(given(), renewed, again) == {"token_not_kept": (3,)}


def test_another_resource_or_identity_is_another_token() -> None:
    assert found(given(), given(MANAGEMENT, 1.0), given(TOKEN + "&client_id=a", 2.0)) == {}
    # The same, in another order and at another version.
    turned = (
        "/metadata/identity/oauth2/token?resource=https%3A%2F%2Fvault.azure.net&api-version="
        "2019-08-01"
    )
    assert found(given(), given(turned, 1.0)) == {"token_not_kept": (2,)}


def test_a_refusal_gives_no_token() -> None:
    assert found(given(), refused("throttled", TOKEN, 1.0, status=429)) == {}
    late = refused("identity_not_found", TOKEN, 1.0)
    assert found(given(), late, given(at_s=60.0)) == {"token_not_kept": (3,)}
    assert found(refused("identity_not_found", TOKEN), given(at_s=1.0)) == {}


def test_a_needless_bypass_of_the_cache_is_found() -> None:
    bypass = TOKEN + "&bypass_cache=true"
    assert found(given(bypass)) == {}
    assert found(given(), given(bypass, 1.0)) == {"cache_bypassed": (2,)}
    assert found(given(), given(bypass, DAY_S - 200)) == {}
    refreshed = bypass + "&token_sha256_to_refresh=00ff"
    assert found(given(), given(refreshed, 1.0, DAY_S + 1)) == {}


def test_bypass_cache_accepts_true_only() -> None:
    assert found(given(TOKEN + "&bypass_cache=1")) == {"cache_bypassed": (1,)}
    assert found(given(TOKEN + "&bypass_cache=True")) == {}


def test_a_repeated_approval_of_one_vm_is_found() -> None:
    finding = only(approval(0.0, APPROVE % FIRST), approval(9.0, APPROVE % FIRST.lower()))
    assert (finding.rule, finding.numbers) == ("approval_again", (2,))
    assert finding.example == f"POST {EVENTS} 200, {FIRST.decode()}"
    other = approval(9.0, APPROVE % FIRST, vm="vm-2")
    assert found(approval(0.0, APPROVE % FIRST), other) == {}
    assert found(approval(0.0, APPROVE % FIRST), approval(9.0, APPROVE % SECOND)) == {}


@pytest.mark.parametrize(
    "body, rule",
    [
        (APPROVE % FIRST, "approval_unknown"),
        (b'{"StartRequests":[]}', "approval_malformed"),
        (b"EventId=1", "approval_malformed"),
    ],
)
def test_a_refused_approval_is_judged_by_its_body(body: bytes, rule: str) -> None:
    malformed: dict[str, Any] = {"status": 400, "reason": "malformed_events"}
    assert found(approval(0.0, body, **malformed)) == {rule: (1,)}
    assert found(approval(0.0, body, **malformed, fault="status")) == {}
    # It failed, so that it may come again.
    assert found(approval(0.0, body, **malformed), approval(9.0, APPROVE % FIRST)) == {rule: (1,)}


def test_a_cut_body_is_not_judged() -> None:
    body = APPROVE % FIRST + b" " * MOST_BODY_BYTES
    cut = approval(0.0, body[:MOST_BODY_BYTES], status=400, reason="malformed_events")
    assert found(cut) == {}


def test_other_refusals_of_an_approval_are_not_about_its_body() -> None:
    record = approval(0.0, APPROVE % FIRST, status=429, reason="throttled")
    assert found(record) == {}
