"""azure-identity and msal during each playbook, with the retries of their own source.

azure-identity tries up to six times: at once, then after 1.6, 3.2, 6.4 and 12.8 seconds; after a
410 after 5, 10, 20 and 40, so that it outlasts the 70 seconds that Azure promises. It retries 404,
410, 429 and 5xx, and three times a connection that is refused; a 400 is final. msal for Python
tries once.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from openimds.protocol.faults.input import read_fault
from openimds.protocol.faults.matching import is_hit
from tests.clients.fleet import NOT_FOUND, THROTTLED
from tests.clients.playbook_server import PlaybookServer, playbook_server, stopped_clock
from tests.clients.private_server import PrivateServer

pytestmark = [pytest.mark.system, pytest.mark.netns]

AZURE = pytest.mark.client("Python azure-identity")
MSAL = pytest.mark.client("Python msal")
UNAVAILABLE = "CredentialUnavailableError"
WELL = {"token": True, "waits": []}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    with stopped_clock(tmp_path_factory.mktemp("tokens")) as server:
        yield server


@pytest.fixture
def server(served: PrivateServer) -> Iterator[PlaybookServer]:
    with playbook_server(served) as playing:
        yield playing


def refused(status: int, reason: str, number: int) -> dict[str, int]:
    """Return the changes of the counters for a number of refusals by a fault."""
    return {
        f"requests token {status}": number,
        f"refusals {reason}": number,
        "faults_played status": number,
    }


GOOD = {"requests token 200": 1}


@AZURE
def test_azure_identity_outlasts_a_service_update(server: PlaybookServer) -> None:
    server.play("service-update")
    result, moved = server.run("azure-identity")
    assert result == {"token": True, "waits": [5, 10, 20, 40]}
    assert moved == {**refused(410, "updating", 5), **GOOD}


@AZURE
def test_azure_identity_gives_up_during_a_longer_update(server: PlaybookServer) -> None:
    server.play("service-update", "for_s=76")
    result, moved = server.run("azure-identity")
    assert result.pop("waits") == [5, 10, 20, 40]
    assert result["error"] == UNAVAILABLE
    assert moved == refused(410, "updating", 6)


@AZURE
def test_azure_identity_does_not_retry_a_missing_identity(server: PlaybookServer) -> None:
    server.play("boot-race")
    for _ in range(3):
        result, moved = server.run("azure-identity")
        assert (result["error"], result["waits"]) == (UNAVAILABLE, [])
        assert NOT_FOUND in result["message"]
        assert moved == {
            "requests token 400": 1,
            "refusals identity_not_found": 1,
            "faults_played no-identity": 1,
        }
    assert server.run("azure-identity") == (WELL, GOOD)


@AZURE
def test_throttled_azure_identity_waits(server: PlaybookServer) -> None:
    server.play("throttled")
    result, moved = server.run("azure-identity")
    assert result == {"token": True, "waits": [1.6, 3.2, 6.4]}
    assert moved == {**refused(429, "throttled", 4), **GOOD}


@AZURE
def test_azure_identity_gives_up_after_30_throttled_seconds(server: PlaybookServer) -> None:
    server.play("throttled", "for_s=30")
    result, moved = server.run("azure-identity")
    assert result.pop("waits") == [1.6, 3.2, 6.4, 12.8]
    assert result["error"] == UNAVAILABLE
    assert THROTTLED in result["message"]
    assert moved == refused(429, "throttled", 6)


@AZURE
@pytest.mark.parametrize(
    "page, error, waits",
    [
        ("proxy-502", UNAVAILABLE, [1.6, 3.2, 6.4, 12.8]),
        ("proxy-504", UNAVAILABLE, [1.6, 3.2, 6.4, 12.8]),
        ("iis-404", UNAVAILABLE, [1.6, 3.2, 6.4, 12.8]),
        # Without Content-Type it takes the words for JSON; its chain looks for them.
        ("container-403", "ClientAuthenticationError", []),
        ("portal-200", UNAVAILABLE, []),
        ("empty-200", UNAVAILABLE, []),
    ],
)
def test_azure_identity_gets_no_token_from_a_named_page(
    server: PlaybookServer, page: str, error: str, waits: list[float]
) -> None:
    server.play("response", f"page={page}")
    result, moved = server.run("azure-identity")
    assert (result["error"], result["waits"]) == (error, waits)
    requests = len(waits) + 2 if waits else 1  # The first try again is at once.
    status = page.rpartition("-")[2]
    assert moved == {f"requests token {status}": requests, "faults_played response": requests}


@AZURE
def test_azure_identity_outlasts_a_restart(server: PlaybookServer) -> None:
    server.play("restart")
    result, moved = server.run("azure-identity")
    # Refused at 0, 0 and 1.6 seconds; the proxy answers at 4.8, IMDS at 11.2.
    assert result == {"token": True, "waits": [1.6, 3.2, 6.4]}
    assert moved == {
        "requests token 500": 1,
        "refusals restarting": 1,
        "faults_played proxy-500": 1,
        **GOOD,
    }


@AZURE
def test_azure_identity_gives_up_after_5_refused_seconds(server: PlaybookServer) -> None:
    server.play("restart", "refused_s=5")
    result, moved = server.run("azure-identity")
    assert (result["error"], result["waits"]) == (UNAVAILABLE, [1.6, 3.2])
    assert "no response from the IMDS endpoint" in result["message"]
    assert moved == {}


def first_spared(seed: str) -> int:
    """Return the number of the VM's first request without a fault."""
    plan, _ = read_fault({"playbook": "noisy-neighbour", "seed": seed})
    return next(n for n in range(1, 100) if not is_hit(plan, "web-1", n))


@AZURE
@pytest.mark.parametrize("seed", ["a", "b", "c", "d"])
def test_noisy_neighbour_delays_azure_identity_by_the_seed(
    server: PlaybookServer, seed: str
) -> None:
    server.play("noisy-neighbour", f"seed={seed}", "delay_s=0.01")
    result, moved = server.run("azure-identity")
    before = first_spared(seed) - 1
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
def test_tokens_are_spared_by_playbooks_of_documents(
    server: PlaybookServer, client: str, playbook: str
) -> None:
    server.play(playbook)
    result, moved = server.run(client)
    assert result == WELL
    moved.pop("faults_played unknown-version", None)  # The api-version of tokens is known to it.
    assert moved == GOOD


@MSAL
def test_msal_fails_on_an_update_and_tries_again_later(server: PlaybookServer) -> None:
    server.play("service-update")
    gone = {"error": "JSONDecodeError", "waits": []}  # The body of a 410 is XML.
    results, moved = server.run_all(
        {"client": "msal"}, {"client": "msal", "again": True}, {"client": "msal", "after_s": 70}
    )
    assert results == [gone, gone, WELL]
    assert moved == {**refused(410, "updating", 2), **GOOD}


@MSAL
def test_msal_passes_on_a_missing_identity(server: PlaybookServer) -> None:
    server.play("boot-race", "first=1")
    results, moved = server.run_all({"client": "msal"}, {"client": "msal", "again": True})
    refusal = {"error": "invalid_request", "error_description": NOT_FOUND, "waits": []}
    assert results == [refusal, WELL]
    assert moved == {
        "requests token 400": 1,
        "refusals identity_not_found": 1,
        "faults_played no-identity": 1,
        **GOOD,
    }


@MSAL
def test_throttled_msal_repeats_its_error_for_five_seconds(server: PlaybookServer) -> None:
    server.play("throttled")
    results, moved = server.run_all(
        {"client": "msal"},
        {"client": "msal", "again": True},
        {"client": "msal", "after_s": 10},
    )
    refusal = {"error": "invalid_request", "error_description": THROTTLED, "waits": []}
    # The second result is the first one, cached by the client for five seconds.
    assert results == [refusal, refusal, WELL]
    assert moved == {**refused(429, "throttled", 1), **GOOD}


@MSAL
def test_msal_fails_during_a_restart_and_works_afterwards(server: PlaybookServer) -> None:
    server.play("restart")
    case: dict[str, Any] = {"client": "msal"}
    results, moved = server.run_all(case, {**case, "after_s": 3}, {**case, "after_s": 7})
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
