"""cloud-init reads the document early in the boot, on each bad day as its own source says.

The one of Debian 12 asks eleven times, a second apart, after 404, 410, 429, 500 and time-outs;
after anything else it gives up, but for a 400, which means an older api-version. It asks with
`extended=true`, so that it gets all or an error.
"""

from collections.abc import Iterator

import pytest

from openimds.protocol.faults.input import read_fault
from openimds.protocol.faults.matching import is_hit
from tests.clients.bad_days import Day, Moved, day, standing_still
from tests.clients.rig import Stage

pytestmark = [
    pytest.mark.system,
    pytest.mark.netns,
    pytest.mark.client("Python cloud-init"),
]

CLIENT = "cloud-init"
TRIES = 11
GOOD: Moved = {"requests instance 200": 1}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with standing_still(tmp_path_factory.mktemp("machine")) as one:
        yield one


@pytest.fixture
def bad(served: Stage) -> Iterator[Day]:
    with day(served) as one:
        yield one


def found(waits: int) -> dict[str, object]:
    return {"name": "web-1", "extended": True, "waits": [1] * waits}


def refused(status: int, reason: str, number: int, effect: str = "status") -> Moved:
    """Return how the counters move when a fault says a status so often."""
    return {
        f"requests instance {status}": number,
        f"refusals {reason}": number,
        f"faults_played {effect}": number,
    }


def test_an_update_of_the_service_takes_longer_than_cloud_init_waits(bad: Day) -> None:
    """Azure says 70 seconds; this one has given up after ten."""
    bad.play("service-update")
    assert bad.ask(CLIENT) == ({"waits": [1] * (TRIES - 1)}, refused(410, "updating", TRIES))


def test_a_short_update_is_waited_for(bad: Day) -> None:
    bad.play("service-update", "for_s=4")
    assert bad.ask(CLIENT) == (found(4), {**refused(410, "updating", 4), **GOOD})


def test_a_race_at_the_boot_is_won(bad: Day) -> None:
    bad.play("boot-race")
    assert bad.ask(CLIENT) == (found(3), {**refused(404, "not_found", 3), **GOOD})


def test_ten_seconds_of_throttling_are_just_borne(bad: Day) -> None:
    bad.play("throttled")
    assert bad.ask(CLIENT) == (found(10), {**refused(429, "throttled", 10), **GOOD})


def test_eleven_are_not(bad: Day) -> None:
    bad.play("throttled", "for_s=11")
    assert bad.ask(CLIENT) == ({"waits": [1] * 10}, refused(429, "throttled", TRIES))


@pytest.mark.parametrize("seed", ["a", "b", "c"])
def test_a_noisy_neighbour_costs_as_many_seconds_as_the_seed_wants(bad: Day, seed: str) -> None:
    bad.play("noisy-neighbour", f"seed={seed}", "delay_s=0.01")
    plan, _ = read_fault({"playbook": "noisy-neighbour", "seed": seed})
    before = next(n for n in range(TRIES) if not is_hit(plan, "web-1", n + 1))
    counted = refused(429, "throttled", before) if before else {}
    assert bad.ask(CLIENT) == (found(before), {**counted, "faults_played delay": 1, **GOOD})


def test_a_restart_is_not_waited_for_while_connections_are_refused(bad: Day) -> None:
    bad.play("restart")
    # What is refused is no time-out, and not tried again.
    assert bad.ask(CLIENT) == ({"waits": []}, {})


def test_the_errors_of_a_restart_are_waited_for(bad: Day) -> None:
    bad.play("restart")
    (result,), moved = bad.ask_all({"client": CLIENT, "after_s": 3})
    assert result == found(7)
    assert moved == {**refused(500, "restarting", 7, "proxy-500"), **GOOD}


def test_an_old_region_is_asked_for_an_older_version(bad: Day) -> None:
    bad.play("old-region")
    result, moved = bad.ask(CLIENT)
    assert result == {"name": "web-1", "extended": False, "waits": []}
    assert moved == {
        "requests instance 400": 1,
        "refusals version_unknown": 1,
        "faults_played unknown-version": 2,
        **GOOD,
    }


def test_of_a_partial_document_it_wants_all_or_nothing(bad: Day) -> None:
    bad.play("partial-document")
    result, moved = bad.ask(CLIENT)
    assert result == {"waits": [1] * 10}
    assert moved == refused(500, "server_error", TRIES, "missing-fields")


def test_new_certificates_are_nothing_to_it(bad: Day) -> None:
    bad.play("ca-rotation")
    assert bad.ask(CLIENT) == (found(0), GOOD)
