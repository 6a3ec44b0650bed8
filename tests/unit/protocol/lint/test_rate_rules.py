from itertools import accumulate

import pytest
from msgspec import structs

from openimds.protocol.lint import Record, most_in
from tests.unit.protocol.lint.records import (
    EVENTS,
    INSTANCE,
    LEAF,
    TOKEN,
    a_record,
    failed,
    found,
    only,
    refused,
)

OTHER = TOKEN.replace("vault", "management")


def every(gap_s: float, times: int, target: str = EVENTS) -> list[Record]:
    return [a_record(target, number * gap_s) for number in range(times)]


def test_the_most_in_a_window_leaves_out_its_end() -> None:
    times = (0.0, 0.4, 0.9, 1.0, 3.0)
    records = [a_record(at_s=at) for at in times]
    assert [most_in(records, span) for span in (0.1, 0.5, 1.0, 1.01, 10)] == [1, 2, 3, 4, 5]
    assert most_in(reversed(records), 1.0) == 3
    assert most_in([], 1.0) == 0


def test_a_poll_a_second_and_around_an_approval_is_allowed() -> None:
    assert found(*every(1.0, 60)) == {}
    assert found(*every(0.95, 60)) == {}
    post = a_record(EVENTS, 0.02, method="POST", sent=b'{"StartRequests":[{"EventId":"A"}]}')
    assert found(a_record(EVENTS), post, a_record(EVENTS, 0.03), a_record(EVENTS, 0.9)) == {}


def test_more_than_three_polls_in_a_second_are_found() -> None:
    finding = only(*every(0.25, 4))
    assert (finding.rule, finding.numbers) == ("polled_often", (4,))
    assert finding.example == f"GET {EVENTS} 200, more than 3 in 1 s"


def test_polls_slightly_too_fast_are_found_in_ten_seconds() -> None:
    finding = only(*every(0.8, 20))
    assert (finding.rule, finding.times, finding.numbers[0]) == ("polled_often", 9, 12)
    assert finding.example.endswith("more than 11 in 10 s")


@pytest.mark.parametrize("target, most", [(INSTANCE, 5), (TOKEN, 20)])
def test_a_request_over_azures_limit_is_found_without_limiter(target: str, most: int) -> None:
    gap_s = 0.9 / most
    assert found(*every(gap_s, most, target)) == {}
    finding = only(*every(gap_s, most + 1, target))
    assert (finding.rule, finding.numbers) == ("over_limit", (most + 1,))
    assert finding.example == f"GET {target} 200, more than {most} in a second"
    assert found(*every(1.0 / most, 50, target)) == {}


@pytest.mark.parametrize("target", [INSTANCE, TOKEN])
def test_a_throttled_request_is_found_if_azure_could_refuse(target: str) -> None:
    over = refused("throttled", target, 0.7, status=429)
    assert found(*every(0.1, 5, target), over) == {"over_limit": (6,)}
    assert found(*every(0.1, 4, target), over) == {}
    assert found(*every(0.1, 5, target), structs.replace(over, fault="status")) == (
        {"over_limit": (6,)} if target == INSTANCE else {}
    )


def test_only_the_first_retry_may_come_at_once() -> None:
    assert found(failed(500), a_record(at_s=0.1)) == {}
    assert found(failed(500), failed(500, at_s=0.1), a_record(at_s=2.1)) == {}
    finding = only(failed(500), failed(500, at_s=0.1), a_record(at_s=0.5))
    assert (finding.rule, finding.numbers) == ("retried_soon", (3,))
    assert finding.example == f"GET {INSTANCE} 200, 0.40 s after 500"


def test_a_wait_may_be_slightly_under_a_second() -> None:
    assert found(failed(500), failed(500, at_s=1.0), a_record(at_s=1.96)) == {}


@pytest.mark.parametrize(
    "waits_s",
    [
        # azure-identity, and the same after 410; MSAL, and the same after 410; cloud-init.
        (0.002, 1.6, 3.2, 6.4, 12.8),
        (0.002, 5.0, 10.0, 20.0, 40.0),
        (1.0, 2.0, 4.0),
        (10.0,) * 7,
        (1.0,) * 20,
    ],
)
@pytest.mark.parametrize("status", [404, 410, 429, 500])
def test_the_waits_of_known_clients_are_long_enough(
    status: int, waits_s: tuple[float, ...]
) -> None:
    times = accumulate(waits_s, initial=0.0)
    *failures, last = [failed(status, TOKEN, at) for at in times]
    assert found(*failures, a_record(TOKEN, last.now_s - 1000.0)) == {}


@pytest.mark.parametrize(
    "status, target, rule",
    [
        (429, INSTANCE, "throttle_ignored"),
        (410, INSTANCE, "retried_soon"),
        (503, INSTANCE, "retried_soon"),
        (404, TOKEN, "retried_soon"),
        (0, INSTANCE, "retried_soon"),
    ],
)
def test_each_transient_status_requires_a_wait(status: int, target: str, rule: str) -> None:
    again = [failed(status, target, number * 0.2) for number in range(4)]
    assert found(*again) == {rule: (3, 4)}


@pytest.mark.parametrize(
    "records",
    [
        # An element that is not there will not be there in a second either.
        [a_record(INSTANCE, n * 0.3, status=404, reason="x") for n in range(4)],
        # App Service says 500 for a resource that is none.
        [refused("resource_unknown", "/msi/token", n * 0.3, status=500) for n in range(4)],
    ],
)
def test_a_lasting_failure_requires_no_wait(records: list[Record]) -> None:
    assert "retried_soon" not in found(*records)


def test_an_unknown_identity_path_is_no_transient_failure() -> None:
    target = "/metadata/identity/nothing"
    records = [refused("not_found", target, n * 0.3, status=404) for n in range(4)]
    assert found(*records) == {"path_unknown": (1, 2, 3, 4)}


def test_requests_under_way_are_no_retries() -> None:
    assert found(*(failed(429, TOKEN, number * 0.004) for number in range(10))) == {}


def test_a_loop_without_any_wait_is_found() -> None:
    loop = [failed(500, at_s=number * 0.002) for number in range(100)]
    assert "retried_soon" in found(*loop)


def test_a_success_or_a_minute_ends_a_run_of_failures() -> None:
    good = a_record(at_s=0.2)
    assert found(failed(500), good, failed(500, at_s=0.4), a_record(at_s=0.6)) == {}
    late = [failed(500, at_s=at) for at in (0.0, 2.0, 63.0, 63.5)]
    assert found(*late) == {}


def test_two_resources_are_two_runs() -> None:
    records = [failed(500, target, at) for at in (0.0, 2.0) for target in (TOKEN, OTHER)]
    assert found(*records) == {}


@pytest.mark.parametrize("status", [0, 404, 410, 429, 500])
def test_giving_up_is_found_after_a_long_silence(status: int) -> None:
    fault = failed(status, TOKEN)
    assert found(fault, a_record(at_s=69.0)) == {}
    assert found(fault, a_record(at_s=71.0)) == {"given_up": (1,)}
    assert found(fault, a_record(TOKEN, 30.0), a_record(at_s=71.0)) == {}


def test_a_third_identical_wrong_request_is_found() -> None:
    wrong = [refused("identity_not_found", TOKEN, number * 10.0) for number in range(3)]
    assert found(*wrong[:2]) == {}
    assert found(*wrong) == {"retried_in_vain": (3,)}
    assert found(*wrong[:2], refused("identity_not_found", OTHER, 20.0)) == {}
    assert found(*wrong[:2], refused("identity_not_found", TOKEN, 60.0)) == {}
    assert found(*(refused("leaf_needs_text", LEAF, n) for n in range(3))) == {
        "leaf_needs_text": (1, 2, 3)
    }


def test_probing_for_imds_is_not_in_vain() -> None:
    looks = [refused("header_missing", TOKEN, number, headers=()) for number in range(4)]
    assert found(*looks, a_record(TOKEN, 5.0)) == {}
