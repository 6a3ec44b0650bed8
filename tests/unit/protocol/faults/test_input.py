"""Faults and playbooks of a fleet file: read, or refused with a path."""

from typing import Any

import pytest

from openimds.errors import ConfigError
from openimds.facts.faults import EFFECTS
from openimds.facts.playbooks import PLAYBOOKS
from openimds.protocol.faults.fault import FaultSpec, canonical_text, fault_to_value
from openimds.protocol.faults.input import MOST_FAULTS, read_fault, read_faults
from openimds.protocol.faults.matching import is_hit
from tests.unit.vm.refused import Refused, refused

GONE = {"effect": "status", "status": 410}
STATUS = FaultSpec("status", parameters={"status": 410})
LEAST: dict[str, dict[str, Any]] = {
    **{key: {"effect": key} for key in EFFECTS},
    "status": GONE,
    "unknown-version": {"effect": "unknown-version", "newest": "2020-10-01"},
    "missing-fields": {"effect": "missing-fields", "fields": ["network"]},
    "delay": {"effect": "delay", "delay_s": 1},
    "edited-token": {"effect": "edited-token", "drop": ["resource"], "set": ["a=1,2"]},
    "response": {"effect": "response", "status": 200, "headers": ["Via: 1.1 a, 1.0 b"]},
}


def test_no_value_is_no_fault() -> None:
    assert read_faults(None) == read_faults([]) == ()


def test_fault_with_every_member_is_read() -> None:
    line = {
        **GONE,
        "vms": ["a", "b"],
        "endpoint": "identity",
        "path": "/metadata/*",
        "method": "GET",
        "skip": 1,
        "first": 2,
        "every": 3,
        "from_s": 1,
        "until_s": 2.5,
        "probability": 1,
        "seed": "s",
        "delay_s": 0.5,
    }
    (spec,) = read_faults([line])
    assert spec == FaultSpec(
        effect="status",
        vms=("a", "b"),
        endpoint="identity",
        path="/metadata/*",
        method="GET",
        skip=1,
        first=2,
        every=3,
        from_s=1,
        until_s=2.5,
        probability=1,
        seed="s",
        delay_s=0.5,
        parameters={"status": 410},
    )
    assert fault_to_value(spec) == line


@pytest.mark.parametrize("key", EFFECTS)
def test_fault_is_written_and_read_again(key: str) -> None:
    (spec,) = read_fault(LEAST[key])
    again = fault_to_value(spec)
    assert again.items() >= LEAST[key].items()
    assert read_fault(again) == (spec,)


VERIFIERS: list[dict[str, Any]] = [
    {"effect": "issuer-certificate"},
    {"effect": "revocation-list"},
    {"effect": "ocsp-response"},
    {"playbook": "revocation-outage"},
]


@pytest.mark.parametrize("member", ["vms", "endpoint", "header", "source"])
@pytest.mark.parametrize("value", VERIFIERS, ids=lambda value: "".join(value.values()))
def test_selector_of_guests_is_refused_for_verifiers(value: dict[str, Any], member: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_faults([{**value, member: "a"}])
    assert caught.value.where == f"faults[0].{member}"
    assert "cannot know for which VM a verifier asks" in str(caught.value)


def test_fault_of_verifiers_with_every_member_is_read() -> None:
    line = {
        "effect": "revocation-list",
        "answer": "late",
        "address": "second",
        "path": "/pkiops/crl/partition",
        "method": "GET",
        "skip": 1,
        "first": 2,
        "until_s": 9,
        "probability": 0.5,
        "seed": "s",
        "delay_s": 20,
    }
    (spec,) = read_faults([line])
    assert fault_to_value(spec) == line
    assert spec.is_public


@pytest.mark.parametrize(
    "members, where, seen",
    [
        ({"effect": "revocation-list", "answer": "late"}, "delay_s", "nothing"),
        (
            {"effect": "ocsp-response", "hang_s": 3},
            "hang_s",
            "a hang beside the answer try-later",
        ),
        ({"effect": "ocsp-response", "address": "first"}, "", "address"),
        ({"effect": "issuer-certificate", "answer": "stale"}, "answer", '"stale"'),
        ({"effect": "status", "status": 410, "address": "first"}, "", "address"),
    ],
)
def test_mistake_in_a_fault_of_verifiers_is_refused(
    members: dict[str, Any], where: str, seen: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read_fault(members)
    assert caught.value.where.startswith(where)
    assert seen in str(caught.value)


def test_absent_parameter_has_its_default() -> None:
    (spec,) = read_fault({"effect": "trickle", "pause_s": None})
    assert spec.parameters == {"bytes": 16, "pause_s": 0.1}
    (spec,) = read_fault({"effect": "hang"})
    assert spec.parameters == {}


def test_playbook_is_all_its_faults() -> None:
    assert read_faults([{"playbook": "restart", "vms": ["a"], "errors_s": 5}, GONE]) == (
        FaultSpec("refused", ("a",), until_s=3, playbook="restart"),
        FaultSpec("proxy-500", ("a",), from_s=3, until_s=5, playbook="restart"),
        STATUS,
    )


@pytest.mark.parametrize("key", PLAYBOOKS)
def test_playbook_needs_only_its_name(key: str) -> None:
    specs = read_fault({"playbook": key})
    assert [spec.effect for spec in specs] == [line["effect"] for line in PLAYBOOKS[key].lines]
    assert {spec.playbook for spec in specs} == {key}
    for spec in specs:
        bare = {name: one for name, one in fault_to_value(spec).items() if name != "playbook"}
        assert [fault_to_value(one) for one in read_fault(bare)] == [bare]


STATUS_CHOICES = "one of 403, 404, 410, 429, 500, 503"
REQUEST_NUMBER = "a whole number from 1 to 1000000000"
VM_NAMES = "a list of 1 to 100000 strings"
MATCHER_NAMES = (
    "vms, endpoint, path, method, header, nth, skip, first, every, from_s, until_s, probability, "
    "seed, source"
)
MISTAKES: list[tuple[object, Refused]] = [
    ("x", Refused("faults", 'the string "x"', "a list of faults")),
    (["x"], Refused("faults[0]", 'the string "x"', "a mapping of names to values")),
    ([{}], Refused("faults[0]", "neither effect nor playbook", "one of the two")),
    (
        [{**GONE, "playbook": "restart"}],
        Refused("faults[0]", "both effect and playbook", "one of the two"),
    ),
    (
        [GONE, {"effect": "delai"}],
        Refused(
            "faults[1].effect",
            'the string "delai"',
            "one of " + ", ".join(EFFECTS),
            'Did you mean "delay"?',
        ),
    ),
    ([{"effect": 1}], Refused("faults[0].effect", "the number 1", "one of " + ", ".join(EFFECTS))),
    (
        [{"playbook": "restrat"}],
        Refused(
            "faults[0].playbook",
            'the string "restrat"',
            "one of " + ", ".join(PLAYBOOKS),
            'Did you mean "restart"?',
        ),
    ),
    (
        [{**GONE, "statsu": 1}],
        Refused(
            "faults[0]",
            'unknown key "statsu"',
            f"one of effect, {MATCHER_NAMES}, delay_s, status, retry_after",
            'Did you mean "status"?',
        ),
    ),
    (
        [{**GONE, 1: 1}],
        Refused(
            "faults[0]",
            'unknown key "1"',
            f"one of effect, {MATCHER_NAMES}, delay_s, status, retry_after",
        ),
    ),
    ([{"effect": "status"}], Refused("faults[0]", "no status", f"status: {STATUS_CHOICES}")),
    (
        [{**GONE, "status": 418}],
        Refused(
            "faults[0].status",
            "the number 418",
            STATUS_CHOICES,
            'Did you mean "410"?',
        ),
    ),
    ([{**GONE, "status": 4.5}], Refused("faults[0].status", "the number 4.5", STATUS_CHOICES)),
    ([{**GONE, "nth": True}], Refused("faults[0].nth", "the boolean true", REQUEST_NUMBER)),
    ([{**GONE, "nth": 2**60}], Refused("faults[0].nth", f"the number {2**60}", REQUEST_NUMBER)),
    (
        [{**GONE, "nth": 0}],
        Refused("faults[0].nth", "the number 0", REQUEST_NUMBER),
    ),
    (
        [{**GONE, "probability": 1.5}],
        Refused("faults[0].probability", "the number 1.5", "a number from 0 to 1"),
    ),
    (
        [{**GONE, "from_s": float("inf")}],
        Refused("faults[0].from_s", "the number inf", "a number from 0 to 316224000"),
    ),
    ([{**GONE, "vms": []}], Refused("faults[0].vms", "a list of 0", VM_NAMES)),
    ([{**GONE, "vms": ["a", 1]}], Refused("faults[0].vms[1]", "the number 1", "a string")),
    ([{**GONE, "vms": "a"}], Refused("faults[0].vms", 'the string "a"', VM_NAMES)),
    ([{**GONE, "seed": {}}], Refused("faults[0].seed", "a mapping with no members", "a string")),
    ([{**GONE, "seed": ["a"]}], Refused("faults[0].seed", "a list of 1", "a string")),
    (
        [{**GONE, "seed": "a"}],
        Refused("faults[0].seed", "a seed without a probability", "a probability beside it"),
    ),
    (
        [{**GONE, "from_s": 5, "until_s": 5}],
        Refused("faults[0].until_s", "the number 5 after from_s 5", "a later time"),
    ),
    *(
        (
            [{**GONE, "nth": 1, name: 1}],
            Refused("faults[0].nth", "nth beside skip, first or every", "nth alone"),
        )
        for name in ("skip", "first", "every")
    ),
    ([{"effect": "delay"}], Refused("faults[0].delay_s", "nothing", "seconds up to 600")),
    (
        [{"effect": "wrong-length", "by_bytes": 0}],
        Refused(
            "faults[0].by_bytes", "0, the right length", "a number of bytes too many or too few"
        ),
    ),
    (
        [{**GONE, "path": "metadata"}],
        Refused(
            "faults[0].path", '"metadata"', "a path that begins with /, * or ?"
        ),
    ),
    *(
        (
            [{"effect": "missing-fields", "fields": ["compute.tags", field]}],
            Refused(
                "faults[0].fields",
                f'"{field}"',
                "fields such as network or network.interface.0.ipv6",
                hint,
            ),
        )
        for field, hint in [
            ("compute.tag", 'Did you mean "compute.tags"?'),
            ("compute.vmsize", 'Did you mean "compute.vmSize"?'),
            ("network.interface.0", 'Did you mean "network.interface"?'),
            ("0", ""),
            ("", ""),
        ]
    ),
    (
        [{"playbook": "partial-document", "fields": ["netwrk"]}],
        Refused(
            "faults[0].fields",
            '"netwrk"',
            "fields such as network or network.interface.0.ipv6",
            'Did you mean "network"?',
        ),
    ),
    (
        [{"effect": "no-identity", "endpoint": "instance"}],
        Refused(
            "faults[0].endpoint", '"instance"', "one of identity, app_service, arc, cloud_shell"
        ),
    ),
    (
        [{"effect": "refused", "nth": 1}],
        Refused("faults[0]", 'unknown key "nth"', "one of effect, vms, from_s, until_s"),
    ),
    (
        [{"playbook": "restart", "errors_s": 2}],
        Refused("faults[0].errors_s", "the number 2 after from_s 3", "a later time"),
    ),
    (
        [{"playbook": "throttled", "until_s": 2}],
        Refused(
            "faults[0]", 'unknown key "until_s"', "one of playbook, vms, for_s"
        ),
    ),
    (
        [GONE] * (MOST_FAULTS - 1) + [{"playbook": "restart"}],
        Refused("faults", f"{MOST_FAULTS + 1} faults", f"at most {MOST_FAULTS}"),
    ),
]  # fmt: skip


@pytest.mark.parametrize("value, expected", MISTAKES, ids=range(len(MISTAKES)))
def test_mistake_is_refused_with_its_path(value: object, expected: Refused) -> None:
    assert refused(read_faults, value) == expected


def test_mistake_in_a_body_has_the_path_of_the_member() -> None:
    assert refused(read_fault, {**GONE, "nth": 0}).where == "nth"
    assert refused(read_fault, {"playbook": "restart", "errors_s": 2}).where == "errors_s"
    assert refused(read_fault, []).where == refused(read_fault, {}).where == "body"
    assert refused(read_fault, {"effect": "status"}).where == "body"


@pytest.mark.parametrize("endpoint", ["token", "identity", "azure_ml", "arc"])
def test_effect_takes_the_endpoints_that_it_affects(endpoint: str) -> None:
    (spec,) = read_fault({"effect": "no-identity", "endpoint": endpoint})
    assert spec.endpoint == endpoint


@pytest.mark.parametrize(
    "line",
    [
        {**GONE, "probability": 0.5, "seed": "a", "from_s": 0.0, "until_s": 70.0, "delay_s": 1.0},
        {"effect": "trickle", "pause_s": 2.0, "probability": 0.5},
        {"playbook": "noisy-neighbour", "seed": "a", "delay_s": 2.0},
    ],
)
def test_whole_number_written_as_a_float_is_the_same(line: dict[str, Any]) -> None:
    whole = {
        name: int(one) if isinstance(one, float) and one.is_integer() else one
        for name, one in line.items()
    }
    for one, other in zip(read_fault(line), read_fault(whole), strict=True):
        assert canonical_text(one) == canonical_text(other)
        assert [is_hit(one, "a", n) for n in range(1, 50)] == [
            is_hit(other, "a", n) for n in range(1, 50)
        ]
