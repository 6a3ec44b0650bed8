"""Differences of two bodies."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openimds.interop.compare.body import BodyContext, body
from openimds.interop.compare.difference import ABSENT, AnswerDifference, DifferenceKind
from openimds.interop.transcript.location import locate
from tests.support.transcripts import an_answer, compact

V = "api-version=2021-02-01"
INSTANCE, TEXT = f"/metadata/instance?{V}", f"/metadata/instance/compute?{V}&format=text"


def texts(
    ours: str | bytes, theirs: str | bytes, target: str = INSTANCE, *, values: bool = False
) -> list[AnswerDifference]:
    look = BodyContext(locate(target), values)
    return list(body(an_answer(ours), an_answer(theirs), look))


def documents(ours: Any, theirs: Any, target: str = INSTANCE, *, values: bool = False) -> Any:
    """Return what is found, without the steps."""
    found = texts(compact(ours), compact(theirs), target, values=values)
    return [(one.kind, one.subject, one.left, one.right) for one in found]


def test_values_of_a_vm_are_no_difference() -> None:
    ours = {"compute": {"name": "a", "tagsList": [{"name": "x"}, {"name": "y"}]}}
    theirs = {"compute": {"name": "b", "tagsList": [{"name": "z"}]}}
    assert documents(ours, theirs) == []


def test_field_of_one_side_is_named_at_its_top() -> None:
    ours = {"compute": {"name": "a", "plan": {"name": "", "product": ""}}}
    theirs = {"compute": {"name": "a", "zone": ""}}
    assert documents(ours, theirs) == [
        (DifferenceKind.FIELD, "compute.plan", "object", ABSENT),
        (DifferenceKind.FIELD, "compute.zone", ABSENT, "string"),
    ]


def test_elements_of_an_array_share_one_shape() -> None:
    ours = {"interface": [{"mac": "1"}, {"mac": "2", "speed": "x"}]}
    assert documents(ours, {"interface": [{"mac": "3"}]}) == [
        (DifferenceKind.FIELD, "interface[].speed", "string", ABSENT)
    ]


def test_empty_array_has_no_missing_fields() -> None:
    ours = {"disks": [{"name": "a"}]}
    assert documents(ours, {"disks": []}) == documents({"disks": []}, ours) == []


@pytest.mark.parametrize(
    "value,kind",
    [(True, "boolean"), (1, "number"), (None, "null"), ([], "array"), ({}, "object")],
)
def test_another_type_is_a_difference(value: Any, kind: str) -> None:
    assert documents({"a": "x"}, {"a": value}) == [(DifferenceKind.TYPE, "a", "string", kind)]


def test_values_below_another_type_are_not_compared() -> None:
    assert documents({"a": {"b": 1}}, {"a": []}) == [(DifferenceKind.TYPE, "a", "object", "array")]


def test_types_within_an_array_are_joined() -> None:
    assert documents({"a": ["x", 1]}, {"a": ["x"]}) == [
        (DifferenceKind.TYPE, "a[]", "number or string", "string")
    ]


def test_order_of_members_is_shown_from_its_difference() -> None:
    ours = {"a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1, "g": 1}
    theirs = {"a": 1, "c": 1, "b": 1, "d": 1, "e": 1, "f": 1, "g": 1}
    assert documents({"x": ours}, {"x": theirs}) == [
        (DifferenceKind.MEMBER_ORDER, "x", "b, c, d, e", "c, b, d, e")
    ]


def test_repeated_member_is_a_difference_of_order() -> None:
    (one,) = texts('{"a":1,"a":2}', '{"a":1}')
    assert (one.kind, one.left, one.right) == (DifferenceKind.MEMBER_ORDER, "a", "")


def test_blanks_are_one_difference_of_spacing() -> None:
    for theirs in ('{"a": 1}', '{"a":1}\n', ' {"a":1}'):
        (one,) = texts('{"a":1}', theirs)
        assert (one.kind, one.left) == (DifferenceKind.SPACING, "compact")


def test_part_is_named_by_its_path_in_the_document() -> None:
    target = f"/metadata/instance/network/interface/3?{V}"
    assert documents({"ipv4": {}}, {}, target) == [
        (DifferenceKind.FIELD, "network.interface[].ipv4", "object", ABSENT)
    ]


CUT = '{"compute":{"userData":"c2VjcmV0'


@pytest.mark.parametrize(
    "ours, theirs, summary, other_summary",
    [
        ("{}", CUT, "JSON", "32 characters that are not JSON"),
        (b"\xff", b"\xfe", *["4 characters that are not JSON"] * 2),
        ("{}", "", "JSON", ABSENT),
    ],
)
def test_malformed_body_is_compared_and_shown_with_values(
    ours: str | bytes, theirs: str | bytes, summary: str, other_summary: str
) -> None:
    assert texts(ours, ours) == []
    assert texts(ours, theirs) == [
        AnswerDifference(DifferenceKind.BODY, "", summary, other_summary)
    ]
    (one,) = body(
        an_answer(ours), an_answer(theirs), BodyContext(locate(INSTANCE), with_values=True)
    )
    assert (one.kind, one.left) == (
        DifferenceKind.BODY,
        "\\xff" if isinstance(ours, bytes) else ours,
    )


def test_refusals_are_compared_byte_for_byte() -> None:
    ours, theirs = '{ "error": "Not found" }', '{"error":"Not found"}'
    look = BodyContext(locate(INSTANCE), with_values=False)
    found = list(body(an_answer(ours, 404), an_answer(theirs, 404), look))
    assert found == [AnswerDifference(DifferenceKind.BODY, "", ours, theirs)]
    assert list(body(an_answer(ours, 404), an_answer(ours, 404), look)) == []


def test_values_are_compared_on_request() -> None:
    ours = {"a": "x", "b": [{"c": 1}, {"c": 2}]}
    theirs = {"a": "y", "b": [{"c": 1}]}
    assert documents(ours, theirs, values=True) == [
        (DifferenceKind.VALUE, "a", '"x"', '"y"'),
        (DifferenceKind.FIELD, "b[1]", "object", ABSENT),
    ]


def test_values_that_always_differ_are_not_compared() -> None:
    ours = {"signature": "a", "timeStamp": {"createdOn": "1", "expiresOn": "2"}, "nonce": "7"}
    theirs = {"signature": "b", "timeStamp": {"createdOn": "3", "expiresOn": "4"}, "nonce": "8"}
    assert documents(ours, theirs, values=True) == []


def test_named_versions_are_compared_by_value() -> None:
    ours, theirs = {"apiVersions": ["1", "2", "3"]}, {"apiVersions": ["3", "2", "4"]}
    assert documents(ours, theirs, "/metadata/versions") == [
        (DifferenceKind.API_VERSION, "1", "there", ABSENT),
        (DifferenceKind.API_VERSION, "4", ABSENT, "there"),
        (DifferenceKind.MEMBER_ORDER, "apiVersions", "2, 3", "3, 2"),
    ]
    assert documents({"apiVersions": ["1", "2"]}, {"apiVersions": ["2"]}, "/metadata/versions") == [
        (DifferenceKind.API_VERSION, "1", "there", ABSENT)
    ]


def attested(signed: str, encoding: str = "pkcs7") -> Any:
    return an_answer(compact({"encoding": encoding, "signature": signed}), signed=signed)


def test_signed_payloads_are_compared() -> None:
    look = BodyContext(locate(f"/metadata/attested/document?{V}"), with_values=False)
    ours, theirs = attested('{"nonce":"1","vmId":"a"}'), attested('{"vmId":"b"}')
    (one,) = body(ours, theirs, look)
    assert (one.kind, one.subject, one.left) == (DifferenceKind.FIELD, "signed.nonce", "string")
    (one,) = body(ours, attested('{"nonce":"2","vmId":"b"}', "pkcs8"), look)
    assert (one.kind, one.subject, one.right) == (DifferenceKind.VALUE, "encoding", '"pkcs8"')
    for unread, summary in (("", ABSENT), ("no JSON", "7 characters that are not JSON")):
        (one,) = body(ours, attested(unread), look)
        assert one == AnswerDifference(DifferenceKind.BODY, "signed", "JSON", summary)


def test_listings_are_compared_by_their_names() -> None:
    assert texts("location\nname\nplan/", "name\nplan\nzone\n", TEXT) == [
        AnswerDifference(DifferenceKind.SPACING, "", "none at the end", "a line end at the end"),
        AnswerDifference(
            DifferenceKind.FIELD,
            "compute.location",
            "without a slash",
            ABSENT,
            ("compute", "location"),
        ),
        AnswerDifference(
            DifferenceKind.TYPE,
            "compute.plan",
            "with a slash",
            "without a slash",
            ("compute", "plan"),
        ),
        AnswerDifference(
            DifferenceKind.FIELD, "compute.zone", ABSENT, "without a slash", ("compute", "zone")
        ),
    ]
    (one,) = texts("location\nname", "name\nlocation", TEXT)
    assert (one.kind, one.left, one.right) == (
        DifferenceKind.MEMBER_ORDER,
        "location, name",
        "name, location",
    )


def test_number_of_elements_is_no_difference() -> None:
    target = f"/metadata/instance/network/interface?{V}&format=text"
    assert texts("0/\n1/", "0/", target) == texts("0/", "", target) == []
    (one,) = texts("0/\n1/", "0/", target, values=True)
    assert (one.kind, one.subject, one.right) == (
        DifferenceKind.FIELD,
        "network.interface.1",
        ABSENT,
    )
    (one,) = texts("0/", "0", target)
    assert (one.kind, one.subject) == (DifferenceKind.TYPE, "network.interface[]")


def test_leaf_is_compared_by_its_line_end() -> None:
    target = f"/metadata/instance/compute/name?{V}&format=text"
    assert texts("a", "b", target) == []
    (one,) = texts("a", "a\n", target, values=True)
    assert one.kind is DifferenceKind.SPACING
    (one,) = texts("a", "b", target, values=True)
    assert (one.kind, one.subject, one.right) == (DifferenceKind.VALUE, "compute.name", "b")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(JSON, JSON, st.booleans())
def test_comparison_is_symmetric(ours: Any, theirs: Any, values: bool) -> None:
    there = {(kind, subject) for kind, subject, *_ in documents(ours, theirs, values=values)}
    back = {(kind, subject) for kind, subject, *_ in documents(theirs, ours, values=values)}
    assert there == back
    assert documents(ours, ours, values=True) == []
