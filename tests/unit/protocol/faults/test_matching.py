"""Requests that match a fault, and those of them that it hits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openimds.protocol.faults.fault import FaultSpec
from openimds.protocol.faults.matching import is_active, is_hit, matches, noise
from openimds.protocol.request import parse_query

INSTANCE = "/metadata/instance/compute?api-version=2021-02-01"
TOKEN = "/metadata/identity/oauth2/token?api-version=2018-02-01"


def hits(spec: FaultSpec, most: int = 12, vm: str = "a") -> list[int]:
    return [number for number in range(1, most + 1) if is_hit(spec, vm, number)]


def reset(**members: object) -> FaultSpec:
    return FaultSpec("reset", **members)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "members, expected",
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
def test_request_is_hit_by_its_number(members: dict[str, int], expected: list[int]) -> None:
    assert hits(reset(**members)) == expected


def test_chance_depends_on_seed_fault_vm_and_number() -> None:
    """These numbers must never change: users' tests rest on them."""
    half = reset(probability=0.5, seed="tuesday")
    assert hits(half, 20) == [4, 9, 13, 14, 16, 17, 19]
    assert hits(half, 20, "b") != hits(half, 20)
    assert hits(reset(probability=0.5, seed="monday"), 20) != hits(half, 20)
    assert hits(reset(probability=0.5, seed="tuesday", method="GET"), 20) != hits(half, 20)
    # To be named, or to come with a playbook, changes nothing.
    named = reset(probability=0.5, seed="tuesday", vms=("a",), playbook="restart")
    assert hits(named, 20) == hits(half, 20)


@given(st.floats(0, 1), st.text())
def test_probability_is_about_the_share_of_hits(chance: float, seed: str) -> None:
    share = len(hits(reset(probability=chance, seed=seed), 200)) / 200
    assert abs(share - chance) < 0.2


@pytest.mark.parametrize(
    "members, target, expected",
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
def test_request_matches_if_every_matcher_matches(
    members: dict[str, str], target: str, expected: bool
) -> None:
    assert matches(reset(**members), parse_query("GET", target.encode())) is expected


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
def test_effect_matches_only_its_endpoints(effect: str, target: str, expected: bool) -> None:
    assert matches(FaultSpec(effect), parse_query("GET", target.encode())) is expected


@pytest.mark.parametrize(
    "members, passed_s, expected",
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
def test_window_counts_from_when_the_fault_was_set(
    members: dict[str, float], passed_s: float, expected: bool
) -> None:
    assert is_active(reset(**members), passed_s) is expected


def test_noise_is_repeatable_and_not_http() -> None:
    garbage = FaultSpec("garbage", seed="s", parameters={"bytes": 100})
    first = noise(garbage, "a", 1, 100)
    assert (len(first), first) == (100, noise(garbage, "a", 1, 100))
    assert first[0] >= 0x80
    assert noise(garbage, "a", 2, 100) != first != noise(garbage, "b", 1, 100)
    assert first.startswith(noise(garbage, "a", 1, 33))
    assert noise(garbage, "a", 1, 1) == b"\xff"
