"""cloud-init reads the document early in the boot, during each playbook.

The one of Debian 12 tries eleven times, a second apart, after 404, 410, 429, 500 and time-outs;
after other errors it gives up, but for a 400, which makes it try an older api-version. It requests
`extended=true`, so that it gets the whole document or an error.
"""

from collections.abc import Iterator

import pytest

from openimds.protocol.faults.input import read_fault
from openimds.protocol.faults.matching import is_hit
from tests.clients.playbook_server import Moved, PlaybookServer, playbook_server, stopped_clock
from tests.clients.private_server import PrivateServer

pytestmark = [
    pytest.mark.system,
    pytest.mark.netns,
    pytest.mark.client("Python cloud-init"),
]

CLIENT = "cloud-init"
TRIES = 11
GOOD: Moved = {"requests instance 200": 1}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    with stopped_clock(tmp_path_factory.mktemp("machine")) as server:
        yield server


@pytest.fixture
def server(served: PrivateServer) -> Iterator[PlaybookServer]:
    with playbook_server(served) as playing:
        yield playing


def document(waits: int) -> dict[str, object]:
    return {"name": "web-1", "extended": True, "waits": [1] * waits}


def refused(status: int, reason: str, number: int, effect: str = "status") -> Moved:
    """Return the changes of the counters for a number of refusals by a fault."""
    return {
        f"requests instance {status}": number,
        f"refusals {reason}": number,
        f"faults_played {effect}": number,
    }


def test_cloud_init_gives_up_during_a_service_update(server: PlaybookServer) -> None:
    # Azure documents 70 seconds; cloud-init gives up after ten.
    server.play("service-update")
    assert server.run(CLIENT) == ({"waits": [1] * (TRIES - 1)}, refused(410, "updating", TRIES))


def test_cloud_init_waits_for_a_short_update(server: PlaybookServer) -> None:
    server.play("service-update", "for_s=4")
    assert server.run(CLIENT) == (document(4), {**refused(410, "updating", 4), **GOOD})


def test_cloud_init_survives_a_boot_race(server: PlaybookServer) -> None:
    server.play("boot-race")
    assert server.run(CLIENT) == (document(3), {**refused(404, "not_found", 3), **GOOD})


def test_cloud_init_survives_ten_seconds_of_throttling(server: PlaybookServer) -> None:
    server.play("throttled")
    assert server.run(CLIENT) == (document(10), {**refused(429, "throttled", 10), **GOOD})


def test_cloud_init_gives_up_after_eleven_throttled_tries(server: PlaybookServer) -> None:
    server.play("throttled", "for_s=11")
    assert server.run(CLIENT) == ({"waits": [1] * 10}, refused(429, "throttled", TRIES))


@pytest.mark.parametrize("seed", ["a", "b", "c"])
def test_noisy_neighbour_delays_cloud_init_by_the_seed(server: PlaybookServer, seed: str) -> None:
    server.play("noisy-neighbour", f"seed={seed}", "delay_s=0.01")
    plan, _ = read_fault({"playbook": "noisy-neighbour", "seed": seed})
    before = next(n for n in range(TRIES) if not is_hit(plan, "web-1", n + 1))
    counted = refused(429, "throttled", before) if before else {}
    assert server.run(CLIENT) == (document(before), {**counted, "faults_played delay": 1, **GOOD})


def test_refused_connection_makes_cloud_init_give_up(server: PlaybookServer) -> None:
    server.play("restart")
    # A refused connection is no time-out, and not tried again.
    assert server.run(CLIENT) == ({"waits": []}, {})


def test_cloud_init_waits_for_the_errors_of_a_restart(server: PlaybookServer) -> None:
    server.play("restart")
    (result,), moved = server.run_all({"client": CLIENT, "after_s": 3})
    assert result == document(7)
    assert moved == {**refused(500, "restarting", 7, "proxy-500"), **GOOD}


def test_old_region_makes_cloud_init_use_an_older_version(server: PlaybookServer) -> None:
    server.play("old-region")
    result, moved = server.run(CLIENT)
    assert result == {"name": "web-1", "extended": False, "waits": []}
    assert moved == {
        "requests instance 400": 1,
        "refusals version_unknown": 1,
        "faults_played unknown-version": 2,
        **GOOD,
    }


def test_partial_document_makes_cloud_init_give_up(server: PlaybookServer) -> None:
    server.play("partial-document")
    result, moved = server.run(CLIENT)
    assert result == {"waits": [1] * 10}
    assert moved == refused(500, "server_error", TRIES, "missing-fields")


def test_new_certificates_do_not_concern_cloud_init(server: PlaybookServer) -> None:
    server.play("ca-rotation")
    assert server.run(CLIENT) == (document(0), GOOD)
