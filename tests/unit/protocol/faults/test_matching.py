"""Which requests a fault is about, and which of them go wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openimds.protocol.faults.fault import FaultSpec
from openimds.protocol.faults.matching import fits, is_hit, is_time, noise
from openimds.protocol.request import query

INSTANCE = "/metadata/instance/compute?api-version=2021-02-01"
TOKEN = "/metadata/identity/oauth2/token?api-version=2018-02-01"


def hits(plan: FaultSpec, most: int = 12, vm: str = "a") -> list[int]:
    return [number for number in range(1, most + 1) if is_hit(plan, vm, number)]


def plan(**members: object) -> FaultSpec:
    return FaultSpec("reset", **members)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "said, expected",
    [
        ({}, list(range(1, 13))),
        ({"nth": 3}, [3]),
        ({"first": 2}, [1, 2]),
        ({"skip": 10}, [11, 12]),
        ({"skip": 4, "first": 3}, [5, 6, 7]),
        ({"every": 5}, [5, 10]),
        ({"skip": 1, "every": 4}, [5, 9]),
        ({"first": 6, "every": 2}, [2, 4, 6]),
        ({"probability": 0}, []),
        ({"probability": 1}, list(range(1, 13))),
    ],
)
def test_requests_are_chosen_by_their_number(said: dict[str, int], expected: list[int]) -> None:
    assert hits(plan(**said)) == expected


def test_chance_is_a_function_of_seed_plan_vm_and_number() -> None:
    """What is written here must never change: tests of others rest on it."""
    half = plan(probability=0.5, seed="tuesday")
    assert hits(half, 20) == [4, 9, 13, 14, 16, 17, 19]
    assert hits(half, 20, "b") != hits(half, 20)
    assert hits(plan(probability=0.5, seed="monday"), 20) != hits(half, 20)
    assert hits(plan(probability=0.5, seed="tuesday", method="GET"), 20) != hits(half, 20)
    # To be named, or to come with a playbook, changes nothing.
    named = plan(probability=0.5, seed="tuesday", vms=("a",), playbook="restart")
    assert hits(named, 20) == hits(half, 20)


@given(st.floats(0, 1), st.text())
def test_a_chance_is_met_about_as_often_as_it_says(chance: float, seed: str) -> None:
    share = len(hits(plan(probability=chance, seed=seed), 200)) / 200
    assert abs(share - chance) < 0.2


@pytest.mark.parametrize(
    "said, target, expected",
    [
        ({}, INSTANCE, True),
        ({"endpoint": "instance"}, INSTANCE, True),
        ({"endpoint": "general"}, INSTANCE, True),
        ({"endpoint": "token"}, INSTANCE, False),
        ({"endpoint": "identity"}, TOKEN, True),
        ({"endpoint": "identity"}, "/metadata/identity/nothing", True),
        ({"endpoint": "token"}, "/metadata/identity/nothing", False),
        ({"endpoint": "general"}, "/nowhere", True),
        ({"path": "/metadata/instance"}, INSTANCE, True),
        ({"path": "/metadata/Instance/"}, INSTANCE, True),
        ({"path": "/metadata/inst"}, INSTANCE, False),
        ({"path": "/metadata/instance/compute"}, INSTANCE, True),
        ({"path": "/metadata/instance/compute/name"}, INSTANCE, False),
        ({"path": "/"}, "/latest/meta-data", True),
        ({"path": "/metadata/*/COMPUTE"}, INSTANCE, True),
        ({"path": "/metadata/?nstance"}, INSTANCE, False),
        ({"path": "*[*"}, INSTANCE, False),
        ({"path": "*[*"}, "/metadata/a[b", True),
        ({"method": "GET"}, INSTANCE, True),
        ({"method": "POST"}, INSTANCE, False),
    ],
)
def test_a_request_has_to_fit_in_all_that_is_said(
    said: dict[str, str], target: str, expected: bool
) -> None:
    assert fits(plan(**said), query("GET", target.encode())) is expected


@pytest.mark.parametrize(
    "effect, target, expected",
    [
        ("no-identity", TOKEN, True),
        ("no-identity", "/msi/token?api-version=2019-08-01", True),
        ("no-identity", INSTANCE, False),
        ("attested-document", "/metadata/attested/document", True),
        ("attested-document", TOKEN, False),
        ("missing-fields", INSTANCE, True),
        ("missing-fields", "/metadata/versions", False),
        ("stale-document", "/nowhere", False),
    ],
)
def test_an_effect_that_cannot_be_seen_does_not_count(
    effect: str, target: str, expected: bool
) -> None:
    assert fits(FaultSpec(effect), query("GET", target.encode())) is expected


@pytest.mark.parametrize(
    "said, passed_s, expected",
    [
        ({}, 0, True),
        ({"until_s": 70}, 69.9, True),
        ({"until_s": 70}, 70, False),
        ({"from_s": 5, "until_s": 6}, 4.9, False),
        ({"from_s": 5, "until_s": 6}, 5, True),
        ({"from_s": 5}, -3600, False),
        ({}, -3600, True),
        ({"until_s": 70}, -3600, True),
    ],
)
def test_a_window_counts_from_when_it_was_set(
    said: dict[str, float], passed_s: float, expected: bool
) -> None:
    assert is_time(plan(**said), passed_s) is expected


def test_garbage_is_always_the_same_and_no_http() -> None:
    spoilt = FaultSpec("garbage", seed="s", parameters={"bytes": 100})
    first = noise(spoilt, "a", 1, 100)
    assert (len(first), first) == (100, noise(spoilt, "a", 1, 100))
    assert first[0] >= 0x80
    assert noise(spoilt, "a", 2, 100) != first != noise(spoilt, "b", 1, 100)
    assert first.startswith(noise(spoilt, "a", 1, 33))
    assert noise(spoilt, "a", 1, 1) == b"\xff"
