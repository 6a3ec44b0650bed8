"""Requests that match a fault, and those of them that it hits."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from openimds.facts.faults import EFFECTS, STATUSES
from openimds.protocol.faults.fault import FaultSpec
from openimds.protocol.faults.input import effect_rows, read_fault
from openimds.protocol.faults.matching import is_active, is_hit, matches, noise
from openimds.protocol.request import parse_query

INSTANCE = "/metadata/instance/compute?api-version=2021-02-01"
TOKEN = "/metadata/identity/oauth2/token?api-version=2018-02-01"

REQUIRED = {
    "page": "proxy-502",
    "newest": "2020-10-01",
    "fields": ["network"],
    "delay_s": 1,
    "expires_s": 0,
}
"""Members without which an effect is refused, but for `status`."""


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
    proof = (("x-identity-header", "any"),)
    query = parse_query("GET", target.encode(), has_metadata_header=True, credentials=proof)
    assert matches(FaultSpec(effect), query) is expected


APP_SERVICE = "/msi/token?api-version=2019-08-01"
OLD_EVENTS = "/metadata/scheduledevents?api-version=2017-03-01"
SECRET = (("x-identity-header", "wrong"),)


@pytest.mark.parametrize(
    "header, target, given, expected",
    [
        ("present", TOKEN, {}, False),
        ("present", TOKEN, {"has_metadata_header": True}, True),
        ("absent", TOKEN, {}, True),
        ("absent", TOKEN, {"has_metadata_header": True}, False),
        ("any", TOKEN, {}, True),
        ("any", TOKEN, {"has_metadata_header": True}, True),
        ("absent", "/nowhere", {}, True),
        ("present", APP_SERVICE, {"has_metadata_header": True}, False),
        ("present", APP_SERVICE, {"credentials": SECRET}, True),
        ("absent", APP_SERVICE, {"credentials": SECRET}, False),
        # The first api-version of scheduled events requires no header.
        ("present", OLD_EVENTS, {}, True),
        ("absent", OLD_EVENTS, {}, False),
    ],
)
def test_header_is_the_one_that_the_endpoint_requires(
    header: str, target: str, given: dict[str, Any], expected: bool
) -> None:
    assert matches(reset(header=header), parse_query("GET", target.encode(), **given)) is expected


FRONT = {"proxy-500", "response", "delay", "trickle", "cut", "wrong-length", "hang", "reset"}


@pytest.mark.parametrize("effect", EFFECTS)
def test_default_header_is_by_the_sender_of_the_response(effect: str) -> None:
    ours = {**REQUIRED, "effect": effect, **({"status": 429} if effect == "status" else {})}
    members = {row.name for row in effect_rows(effect)}
    (spec,) = read_fault({name: value for name, value in ours.items() if name in members})
    expected = "any" if effect in FRONT | {"garbage", "refused", "blackhole"} else "present"
    assert spec.matched_header == expected


def test_default_header_of_410_is_that_of_the_front() -> None:
    headers = {}
    for status in STATUSES:
        (spec,) = read_fault({"effect": "status", "status": status})
        headers[status] = spec.matched_header
    assert headers.pop(410) == "any"
    assert {*headers.values()} == {"present"}


def test_written_default_header_has_the_same_chances() -> None:
    half = FaultSpec("status", probability=0.5, parameters={"status": 410})
    assert hits(structs.replace(half, header="any"), 20) == hits(half, 20)
    assert hits(structs.replace(half, header="present"), 20) != hits(half, 20)


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
