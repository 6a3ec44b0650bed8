"""The fault that edits the answer with a token: edits, dialects, bounds."""

import json
from typing import Any

import pytest

from openimds.facts.fault_parameters import LONGEST_EDIT, MOST_EDITS
from openimds.facts.versions import NEWEST, catalog
from openimds.protocol.faults.fault import Fault
from openimds.protocol.faults.input import read_fault, read_faults
from openimds.protocol.faults.substitute import substitute
from openimds.protocol.handle import Subject, handle, resume
from openimds.protocol.pending import AccessToken, PendingToken
from openimds.protocol.request import parse_query
from openimds.protocol.response import Refusal, Response
from openimds.vm.fleet_file import parse_vm
from tests.unit.vm.refused import Refused, refused

TOKEN = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://a"
CLOUD_SHELL = "/oauth2/token?resource=https://a"
NOW_S = 1_795_377_286.5
ISSUED = AccessToken("jwt", int(NOW_S) - 300, int(NOW_S) + 86400, 86400)
EDIT: dict[str, Any] = {"effect": "edited-token"}


def answered(target: str = TOKEN, **members: Any) -> dict[str, Any]:
    """Return the fields of the answer, under a fault if it has members."""
    subject = Subject(parse_vm("web", {"identities": {"system": True}}), catalog(NEWEST))
    query = parse_query("GET", target.encode(), has_metadata_header=True)
    reply = handle(query, subject, NOW_S)
    if members:
        (spec,) = read_fault({**EDIT, **members})
        reply = substitute(Fault(spec, "web", 1), query, subject, NOW_S)
    assert isinstance(reply, PendingToken)
    outcome = resume(query, reply, ISSUED, NOW_S)
    assert isinstance(outcome, Response)
    fields: dict[str, Any] = json.loads(outcome.body)
    return fields


def mistake(**members: Any) -> Refused:
    return refused(read_faults, [{**EDIT, **members}])


def test_dropped_fields_are_missing_and_all_others_stay() -> None:
    whole = answered()
    del whole["expires_on"], whole["token_type"]
    got = answered(drop=["expires_on", "token_type", "unknown"])
    assert [*got.items()] == [*whole.items()]


@pytest.mark.parametrize(
    "text, value",
    [
        ("soon", "soon"),
        ("3600", 3600),
        ('"3600"', "3600"),
        ("null", None),
        ("", ""),
        ("a=b,c", "a=b,c"),
        ("[1, {}]", [1, {}]),
        ("{", "{"),
    ],
)
def test_set_field_has_the_value_in_its_place(text: str, value: object) -> None:
    whole = answered()
    got = answered(set=[f"expires_in={text}", "new=1"])
    assert [*got.items()] == [*(whole | {"expires_in": value}).items(), ("new", 1)]


def test_expiry_in_the_past_is_in_every_field_of_it() -> None:
    got = answered(expires_s=-60)
    assert (got["expires_on"], got["expires_in"]) == (str(int(NOW_S) - 60), "0")
    assert got["ext_expires_in"] == "0"
    assert got["access_token"] == "jwt"


def test_expiry_has_the_form_of_the_dialect() -> None:
    got = answered(CLOUD_SHELL, expires_s=3600)
    kind = type(answered(CLOUD_SHELL)["expires_on"])
    assert got["expires_on"] == kind(int(NOW_S) + 3600)
    assert got["expires_in"] == "3600"


def test_edit_of_an_expiry_follows_the_time() -> None:
    got = answered(expires_s=-60, set=["expires_in=-60"])
    assert (got["expires_on"], got["expires_in"]) == (str(int(NOW_S) - 60), -60)


def test_refused_query_stays_refused_under_edits() -> None:
    subject = Subject(parse_vm("web", {}), catalog(NEWEST))
    query = parse_query("GET", TOKEN.encode(), has_metadata_header=True)
    (spec,) = read_fault({**EDIT, "drop": ["resource"]})
    reply = substitute(Fault(spec, "web", 1), query, subject, NOW_S)
    assert isinstance(reply, Refusal)
    assert reply.status == 400


@pytest.mark.parametrize(
    "members, expected",
    [
        (
            {},
            Refused(
                "faults[0]",
                "neither drop, set nor expires_s",
                "one of them",
                "Write expires_s: -60",
            ),
        ),
        (
            {"set": ["expires_in"]},
            Refused("faults[0].set[0]", '"expires_in"', "NAME=VALUE, such as expires_in=soon"),
        ),
        (
            {"set": ["a=1", "=1"]},
            Refused(
                "faults[0].set[1]",
                "a name of 0 characters",
                f"a name of 1 to {LONGEST_EDIT} characters",
            ),
        ),
        (
            {"drop": ["x" * (LONGEST_EDIT + 1)]},
            Refused(
                "faults[0].drop[0]",
                f"a name of {LONGEST_EDIT + 1} characters",
                f"a name of 1 to {LONGEST_EDIT} characters",
            ),
        ),
        (
            {"set": ["a=" + "x" * LONGEST_EDIT]},
            Refused(
                "faults[0].set[0]",
                f"an edit of {LONGEST_EDIT + 2} characters",
                f"at most {LONGEST_EDIT}",
            ),
        ),
        (
            {"set": ["a=" + "[" * 17 + "]" * 17]},
            Refused("faults[0].set[0]", "a value of many brackets", "at most 16 of [ and {"),
        ),
        (
            {"drop": ["a"], "set": ["a=1"]},
            Refused("faults[0].set[0]", '"a" twice', "each field once"),
        ),
        (
            {"set": [f"f{n}=1" for n in range(MOST_EDITS + 1)]},
            Refused(
                "faults[0].set",
                f"a list of {MOST_EDITS + 1}",
                f"a list of 1 to {MOST_EDITS} strings",
            ),
        ),
        (
            {"drop": [f"f{n}" for n in range(MOST_EDITS + 1)]},
            Refused(
                "faults[0].drop",
                f"a list of {MOST_EDITS + 1}",
                f"a list of 1 to {MOST_EDITS} strings",
            ),
        ),
    ],
)
def test_mistake_is_refused_with_its_path(members: dict[str, Any], expected: Refused) -> None:
    assert mistake(**members) == expected


def test_most_edits_are_accepted() -> None:
    lines = [f"f{n}=" + "x" * (LONGEST_EDIT - 3 - len(str(n - 9))) for n in range(MOST_EDITS)]
    (spec,) = read_fault({**EDIT, "set": lines, "drop": [f"g{n}" for n in range(MOST_EDITS)]})
    assert len(answered(set=lines)) == len(answered()) + MOST_EDITS
    assert len(spec.parameters) == 2
