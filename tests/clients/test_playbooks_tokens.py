"""azure-identity and msal live through each playbook, or do not, as their own source says.

azure-identity asks up to six times: at once, then after 1.6, 3.2, 6.4 and 12.8 seconds; after a
410 after 5, 10, 20 and 40, so that it outlasts the 70 seconds which Azure promises. It retries 404,
410, 429 and 5xx, and three times a connection that is refused; a 400 is final. msal for Python asks
once.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from openimds.protocol.faults.input import read_fault
from openimds.protocol.faults.matching import is_hit
from tests.clients.bad_days import Day, day, standing_still
from tests.clients.fleet import NOT_FOUND, THROTTLED
from tests.clients.rig import Stage

pytestmark = [pytest.mark.system, pytest.mark.netns]

AZURE = pytest.mark.client("Python azure-identity")
MSAL = pytest.mark.client("Python msal")
UNAVAILABLE = "CredentialUnavailableError"
WELL = {"token": True, "waits": []}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with standing_still(tmp_path_factory.mktemp("tokens")) as one:
        yield one


@pytest.fixture
def bad(served: Stage) -> Iterator[Day]:
    with day(served) as one:
        yield one


def refused(status: int, reason: str, number: int) -> dict[str, int]:
    """Return how the counters move when a status of a fault is said so often."""
    return {
        f"requests token {status}": number,
        f"refusals {reason}": number,
        "faults_played status": number,
    }


GOOD = {"requests token 200": 1}


@AZURE
def test_azure_identity_outlasts_an_update_of_the_service(bad: Day) -> None:
    bad.play("service-update")
    result, moved = bad.ask("azure-identity")
    assert result == {"token": True, "waits": [5, 10, 20, 40]}
    assert moved == {**refused(410, "updating", 5), **GOOD}


@AZURE
def test_azure_identity_gives_up_when_an_update_takes_longer_than_azure_promises(bad: Day) -> None:
    bad.play("service-update", "for_s=76")
    result, moved = bad.ask("azure-identity")
    assert result.pop("waits") == [5, 10, 20, 40]
    assert result["error"] == UNAVAILABLE
    assert moved == refused(410, "updating", 6)


@AZURE
def test_azure_identity_takes_an_identity_that_is_not_there_yet_for_none(bad: Day) -> None:
    bad.play("boot-race")
    for _ in range(3):
        result, moved = bad.ask("azure-identity")
        assert (result["error"], result["waits"]) == (UNAVAILABLE, [])
        assert NOT_FOUND in result["message"]
        assert moved == {
            "requests token 400": 1,
            "refusals identity_not_found": 1,
            "faults_played no-identity": 1,
        }
    assert bad.ask("azure-identity") == (WELL, GOOD)


@AZURE
def test_azure_identity_waits_until_it_is_not_throttled_any_more(bad: Day) -> None:
    bad.play("throttled")
    result, moved = bad.ask("azure-identity")
    assert result == {"token": True, "waits": [1.6, 3.2, 6.4]}
    assert moved == {**refused(429, "throttled", 4), **GOOD}


@AZURE
def test_azure_identity_gives_up_when_it_is_throttled_for_half_a_minute(bad: Day) -> None:
    bad.play("throttled", "for_s=30")
    result, moved = bad.ask("azure-identity")
    assert result.pop("waits") == [1.6, 3.2, 6.4, 12.8]
    assert result["error"] == UNAVAILABLE
    assert THROTTLED in result["message"]
    assert moved == refused(429, "throttled", 6)


@AZURE
def test_azure_identity_outlasts_a_restart(bad: Day) -> None:
    bad.play("restart")
    result, moved = bad.ask("azure-identity")
    # Refused at 0, 0 and 1.6 seconds; what stands before IMDS answers at 4.8, IMDS at 11.2.
    assert result == {"token": True, "waits": [1.6, 3.2, 6.4]}
    assert moved == {
        "requests token 500": 1,
        "refusals restarting": 1,
        "faults_played proxy-500": 1,
        **GOOD,
    }


@AZURE
def test_azure_identity_gives_up_when_nobody_listens_for_five_seconds(bad: Day) -> None:
    bad.play("restart", "refused_s=5")
    result, moved = bad.ask("azure-identity")
    assert (result["error"], result["waits"]) == (UNAVAILABLE, [1.6, 3.2])
    assert "no response from the IMDS endpoint" in result["message"]
    assert moved == {}


def first_well(seed: str) -> int:
    """Return which request of the VM is the first that a noisy neighbour leaves alone."""
    plan, _ = read_fault({"playbook": "noisy-neighbour", "seed": seed})
    return next(n for n in range(1, 100) if not is_hit(plan, "web-1", n))


@AZURE
@pytest.mark.parametrize("seed", ["a", "b", "c", "d"])
def test_azure_identity_bears_a_noisy_neighbour_as_often_as_the_seed_wants(
    bad: Day, seed: str
) -> None:
    bad.play("noisy-neighbour", f"seed={seed}", "delay_s=0.01")
    result, moved = bad.ask("azure-identity")
    before = first_well(seed) - 1
    assert result == {"token": True, "waits": [1.6, 3.2, 6.4, 12.8][: max(0, before - 1)]}
    assert moved == {
        **(refused(429, "throttled", before) if before else {}),
        "faults_played delay": 1,
        **GOOD,
    }


@AZURE
@MSAL
@pytest.mark.parametrize("client", ["azure-identity", "msal"])
@pytest.mark.parametrize("playbook", ["old-region", "ca-rotation", "partial-document"])
def test_tokens_do_not_suffer_from_what_is_wrong_elsewhere(
    bad: Day, client: str, playbook: str
) -> None:
    bad.play(playbook)
    result, moved = bad.ask(client)
    assert result == WELL
    moved.pop("faults_played unknown-version", None)  # It knows the version that was asked for.
    assert moved == GOOD


@MSAL
def test_msal_hands_on_an_update_and_asks_again_when_it_is_asked(bad: Day) -> None:
    bad.play("service-update")
    gone = {"error": "Gone", "waits": []}
    results, moved = bad.ask_all(
        {"client": "msal"}, {"client": "msal", "again": True}, {"client": "msal", "after_s": 70}
    )
    assert results == [gone, gone, WELL]
    assert moved == {**refused(410, "updating", 2), **GOOD}


@MSAL
def test_msal_hands_on_that_the_identity_is_not_there_yet(bad: Day) -> None:
    bad.play("boot-race", "first=1")
    results, moved = bad.ask_all({"client": "msal"}, {"client": "msal", "again": True})
    said = {"error": "invalid_request", "error_description": NOT_FOUND, "waits": []}
    assert results == [said, WELL]
    assert moved == {
        "requests token 400": 1,
        "refusals identity_not_found": 1,
        "faults_played no-identity": 1,
        **GOOD,
    }


@MSAL
def test_msal_does_not_ask_again_soon_after_it_was_throttled(bad: Day) -> None:
    bad.play("throttled")
    results, moved = bad.ask_all(
        {"client": "msal"},
        {"client": "msal", "again": True},
        {"client": "msal", "after_s": 10},
    )
    said = {"error": "invalid_request", "error_description": THROTTLED, "waits": []}
    # The second answer is that of the first: the client keeps it for five seconds of its own.
    assert results == [said, said, WELL]
    assert moved == {**refused(429, "throttled", 1), **GOOD}


@MSAL
def test_msal_falls_over_a_restart_and_gets_up_when_it_is_asked_again(bad: Day) -> None:
    bad.play("restart")
    ask: dict[str, Any] = {"client": "msal"}
    results, moved = bad.ask_all(ask, {**ask, "after_s": 3}, {**ask, "after_s": 7})
    assert results == [
        {"error": "ConnectionError", "waits": []},
        {"error": "JSONDecodeError", "waits": []},
        WELL,
    ]
    assert moved == {
        "requests token 500": 1,
        "refusals restarting": 1,
        "faults_played proxy-500": 1,
        **GOOD,
    }
