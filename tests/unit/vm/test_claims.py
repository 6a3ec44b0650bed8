"""The claims that a VM's author gives to an identity: their forms, bounds and refusals."""

from typing import Any

import msgspec.json
import pytest

from openimds.errors import ConfigError
from openimds.facts.clouds import CLOUDS
from openimds.facts.tokens import CLAIMS, MOST_GROUPS_IN_TOKEN, PROTOCOL_CLAIMS
from openimds.vm.claims import (
    DEEPEST_CLAIM,
    LONGEST_CLAIM_NAME,
    LONGEST_GROUP,
    LONGEST_ROLE,
    MOST_CLAIMS,
    MOST_CLAIMS_BYTES,
    MOST_GROUPS,
    MOST_ROLES,
    claims_in_token,
    refuse_protocol_claims,
)
from openimds.vm.fleet_file import merge_patch, parse_fleet, parse_vm
from openimds.vm.identities import principals
from openimds.vm.serialize import vm_to_value
from openimds.vm.types import Vm
from tests.unit.vm.refused import Refused, refused

GROUP = "33333333-3333-4333-8333-333333333333"
P1 = "10000000-0000-0000-0000-00000000000a"
DETAILS = "vms.a.identities.details.system"


def vm_with(cloud: str = "AzurePublicCloud", **detail: Any) -> Vm:
    return parse_vm("a", {"identities": {"system": True, "details": {"system": detail}}}, cloud)


def own(cloud: str = "AzurePublicCloud", **detail: Any) -> Any:
    (principal,) = principals(vm_with(cloud, **detail))
    return claims_in_token(principal.own_claims, is_unsafe=False)


def mistake(**detail: Any) -> Refused:
    return refused(lambda: vm_with(**detail))


def test_identity_without_claims_has_none() -> None:
    assert own() == own(roles=[], groups=[], claims={}) == {}


def test_roles_groups_and_claims_are_in_the_token() -> None:
    claims = {"xms_az_rid": "/subscriptions/s", "level": 3, "deep": {"a": [1.5, True, "é"]}}
    assert own(roles=["Task.Read.All"], groups=[GROUP], claims=claims) == {
        "roles": ["Task.Read.All"],
        "groups": [GROUP],
        **claims,
    }


def test_200_groups_are_listed_and_more_have_a_source() -> None:
    groups = [f"{number:08}-0000-4000-8000-000000000000" for number in range(201)]
    assert own(groups=groups[:MOST_GROUPS_IN_TOKEN]) == {"groups": groups[:200]}
    endpoint = f"https://graph.microsoft.com/v1.0/servicePrincipals/{P1}/getMemberObjects"
    assert own(groups=groups, principalId=P1.upper()) == {
        "_claim_names": {"groups": "src1"},
        "_claim_sources": {"src1": {"endpoint": endpoint}},
    }


@pytest.mark.parametrize("cloud", CLOUDS)
def test_source_of_groups_is_the_graph_of_the_cloud(cloud: str) -> None:
    sources = own(cloud, groups=["g"] * 201)["_claim_sources"]
    assert sources["src1"]["endpoint"].startswith(f"{CLOUDS[cloud].graph}/v1.0/")
    assert len({row.graph for row in CLOUDS.values()}) == len(CLOUDS)


def test_own_claims_are_read_back_as_they_were_written() -> None:
    vm = vm_with(roles=["A", "B"], groups=[GROUP], claims={"level": 3, "on": [False]})
    assert parse_vm("a", vm_to_value(vm)) == vm


def test_details_of_the_defaults_merge_with_those_of_a_vm() -> None:
    shared = {"system": True, "details": {"system": {"roles": ["A"], "claims": {"x": 1}}}}
    mine = {"details": {"system": {"roles": ["B"], "claims": {"y": 2}}}}
    fleet = {"defaults": {"identities": shared}, "vms": {"a": {"identities": mine}}}
    (principal,) = principals(parse_fleet(fleet).vms["a"])
    assert msgspec.json.decode(principal.own_claims) == {"roles": ["B"], "x": 1, "y": 2}


def test_merge_patch_takes_a_claim_back() -> None:
    before = vm_to_value(vm_with(claims={"x": 1, "y": 2}))
    patch = {"identities": {"details": {"system": {"claims": {"x": None}}}}}
    (principal,) = principals(parse_vm("a", merge_patch(before, patch)))
    assert msgspec.json.decode(principal.own_claims) == {"y": 2}


def test_largest_claims_are_taken() -> None:
    assert len(own(roles=["r"] * MOST_ROLES)["roles"]) == MOST_ROLES
    assert own(roles=["r" * LONGEST_ROLE], groups=["g" * LONGEST_GROUP])
    assert own(groups=["g"] * MOST_GROUPS)
    assert len(own(claims={f"c{n}": n for n in range(MOST_CLAIMS)})) == MOST_CLAIMS
    assert own(claims={"c" * LONGEST_CLAIM_NAME: 2**53 - 1})
    deep: object = 1
    for _ in range(DEEPEST_CLAIM):
        deep = [deep]
    assert own(claims={"x": deep}) == {"x": deep}
    frame = len(msgspec.json.encode(((), (), {"x": ""})))
    assert own(claims={"x": "x" * (MOST_CLAIMS_BYTES - frame)})


def nested(levels: int) -> object:
    return [nested(levels - 1)] if levels else {"a": 1}


NO_NULL = 'Leave the claim out; "forge:missing-claim" takes one away'
MISTAKES: list[tuple[dict[str, Any], Refused]] = [
    ({"roles": "A"}, Refused(f"{DETAILS}.roles", 'the string "A"', "a list")),
    (
        {"roles": [1]},
        Refused(f"{DETAILS}.roles[0]", "the number 1", "a string", "Put it in quotes"),
    ),
    (
        {"roles": ["A", ""]},
        Refused(
            f"{DETAILS}.roles[1]", 'the string ""', "a printable string of 1 to 250 characters"
        ),
    ),
    (
        {"groups": ["a\nb"]},
        Refused(
            f"{DETAILS}.groups[0]",
            'the string "a\nb"',
            "a printable string of 1 to 256 characters",
        ),
    ),
    (
        {"roles": ["A"] * (MOST_ROLES + 1)},
        Refused(f"{DETAILS}.roles", "a list of 201", "at most 200 strings"),
    ),
    (
        {"groups": ["A"] * (MOST_GROUPS + 1)},
        Refused(f"{DETAILS}.groups", "a list of 1001", "at most 1000 strings"),
    ),
    ({"claims": [1]}, Refused(f"{DETAILS}.claims", "a list of 1", "a mapping of names to values")),
    (
        {"claims": {f"c{n}": 1 for n in range(MOST_CLAIMS + 1)}},
        Refused(f"{DETAILS}.claims", "51 claims", "at most 50"),
    ),
    (
        {"claims": {"c" * 129: 1}},
        Refused(
            f"{DETAILS}.claims",
            f'the name the string "{"c" * 60}…"',
            "a printable name of 1 to 128 characters",
        ),
    ),
    (
        {"claims": {"x": None}},
        Refused(f"{DETAILS}.claims.x", "nothing (null)", "a JSON value other than null", NO_NULL),
    ),
    (
        {"claims": {"x": [{"y": None}]}},
        Refused(
            f"{DETAILS}.claims.x.0.y", "nothing (null)", "a JSON value other than null", NO_NULL
        ),
    ),
    *(
        (
            {"claims": {"x": number}},
            Refused(
                f"{DETAILS}.claims.x",
                f"the number {number}",
                "a number of up to 9007199254740991",
            ),
        )
        for number in (2**53, float("inf"), float("nan"))
    ),
    (
        {"claims": {"x": {1: 2}}},
        Refused(f"{DETAILS}.claims.x", "the key the number 1", "a string as key"),
    ),
    (
        {"claims": {"x": "\ud800"}},
        Refused(f"{DETAILS}.claims.x", "half of a surrogate pair", "text that UTF-8 can carry"),
    ),
    (
        {"claims": {"x": nested(DEEPEST_CLAIM)}},
        Refused(
            f"{DETAILS}.claims.x" + ".0" * 8, "more than 8 levels", "at most 8 levels of lists"
        ),
    ),
    (
        {"claims": {"x": "x" * MOST_CLAIMS_BYTES}},
        Refused(
            DETAILS,
            f"roles, groups and claims of {MOST_CLAIMS_BYTES + 16} bytes",
            "at most 16384 bytes as JSON",
        ),
    ),
    *(
        (
            {"claims": {name: []}},
            Refused(
                f"{DETAILS}.claims",
                f'the claim "{name}"',
                "claims other than groups",
                f"Write {what} beside claims",
            ),
        )
        for name, what in (
            ("roles", "roles"),
            ("groups", "groups"),
            ("_claim_names", "more than 200 groups"),
            ("_claim_sources", "more than 200 groups"),
        )
    ),
    *(
        (
            {key: value, "source": "entra"},
            Refused(
                f"{DETAILS}.{key}",
                f"{key} beside source entra",
                "nothing: Entra decides",
                "Leave it out, or write source: local",
            ),
        )
        for key, value in (("roles", ["A"]), ("groups", ["A"]), ("claims", {"x": 1}))
    ),
]  # fmt: skip


@pytest.mark.parametrize("detail, expected", MISTAKES, ids=range(len(MISTAKES)))
def test_mistake_is_refused_with_its_path(detail: dict[str, Any], expected: Refused) -> None:
    assert mistake(**detail) == expected


def test_claims_beside_entra_of_the_whole_vm_are_refused() -> None:
    details = {"system": {"roles": ["A"]}}
    value = {"identities": {"system": True, "source": "entra", "details": details}}
    assert refused(parse_vm, "a", value).where == f"{DETAILS}.roles"
    details["system"]["source"] = "local"  # type: ignore[assignment]
    assert parse_vm("a", value).identities.details["system"].roles == ("A",)


@pytest.mark.parametrize("claim", ["iss", "aud", "exp", "oid", "xms_mirid", "scp", "upn"])
def test_claim_of_the_protocol_needs_the_setting(claim: str) -> None:
    vm = vm_with(claims={"x": 1, claim: "y"})
    assert refused(refuse_protocol_claims, vm) == Refused(
        f"{DETAILS}.claims",
        f'the claim "{claim}", which Entra never takes from an administrator',
        "roles, groups, xms_az_rid or claims of yours",
        "Start the server with --unsafe-claims to send it all the same",
    )
    (principal,) = principals(vm)
    assert claims_in_token(principal.own_claims, is_unsafe=False) == {"x": 1}
    assert claims_in_token(principal.own_claims, is_unsafe=True) == {"x": 1, claim: "y"}


def test_every_claim_of_entra_but_the_carrier_is_of_the_protocol() -> None:
    assert {row.name for row in CLAIMS} - PROTOCOL_CLAIMS == {"xms_az_rid"}


def test_safe_claims_need_no_setting() -> None:
    refuse_protocol_claims(vm_with(roles=["A"], claims={"xms_az_rid": "x", "wids": ["w"]}))
    with pytest.raises(ConfigError, match="--unsafe-claims"):
        refuse_protocol_claims(vm_with(claims={"iss": "x"}))
