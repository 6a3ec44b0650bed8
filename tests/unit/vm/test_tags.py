"""Tags: a mapping, a string and a list say the same."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from openimds.vm.tags import as_said, both, join, pairs_of, settle
from tests.unit.vm.refused import Refused, refused

WORD = st.text(st.characters(exclude_characters=";:", codec="utf-8"))
PLAIN_TAGS = st.dictionaries(WORD, WORD)
ANY_TAGS = st.dictionaries(st.text(), st.text())
WIRE_TEXT = st.text(st.sampled_from(";:ab"))
unhurried = settings(deadline=None)


def _listed(**tags: str) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in tags.items()]


LISTED = _listed(env="prod", team="web")
SETTLED = {"tags": "env:prod;team:web", "tagsList": LISTED}
OTHERS = Refused("vm.tagsList", "other tags than in tags", "the same tags", "Leave one of them out")
SHAPES = "a mapping, a list of {name, value}, or a string name:value;name:value"


@pytest.mark.parametrize(
    "compute",
    [
        {"tags": {"team": "web", "env": "prod"}},
        {"tagsList": {"team": "web", "env": "prod"}},
        {"tags": "env:prod;team:web"},
        {"tags": LISTED},
        {"tagsList": LISTED},
        {"tagsList": "env:prod;team:web"},
        {"tags": {"team": "web", "env": "prod"}, "tagsList": LISTED},
        SETTLED,
    ],
    ids=str,
)
def test_every_shape_gives_both_forms_of_the_wire(compute: dict[str, object]) -> None:
    assert settle({**compute, "zone": "1"}, "vm") == {**SETTLED, "zone": "1"}


@pytest.mark.parametrize("compute", [None, [], "tags", {}, {"zone": "1"}], ids=repr)
def test_what_says_no_tags_comes_back_as_it_came(compute: object) -> None:
    assert settle(compute, "vm") is compute


@pytest.mark.parametrize("none", [{}, [], ""], ids=repr)
def test_no_tags_can_be_said_in_every_shape(none: object) -> None:
    assert settle({"tags": none}, "vm") == {"tags": "", "tagsList": []}


def test_a_list_keeps_its_order_and_a_mapping_is_sorted_as_azure_sorts() -> None:
    assert both([("b", "1"), ("a", "2")])["tags"] == "b:1;a:2"
    assert settle({"tagsList": LISTED[::-1]}, "vm") == {
        "tags": "team:web;env:prod",
        "tagsList": LISTED[::-1],
    }
    assert settle({"tags": {"b": "1", "B": "3", "a": "2"}}, "vm") == {
        "tags": "B:3;a:2;b:1",
        "tagsList": [
            {"name": "B", "value": "3"},
            {"name": "a", "value": "2"},
            {"name": "b", "value": "1"},
        ],
    }


@pytest.mark.parametrize(
    "text,pairs",
    [
        ("a:b", [("a", "b")]),
        ("a:", [("a", "")]),
        (":b", [("", "b")]),
        ("k:Kubernetes:1.27.7", [("k", "Kubernetes:1.27.7")]),
        ("a:b;c;d:e", [("a", "b;c"), ("d", "e")]),
        ("a:b;", [("a", "b;")]),
        ("a:b;;c:d", [("a", "b;"), ("c", "d")]),
        ("a", [("a", "")]),
    ],
)
def test_in_a_string_a_piece_without_a_colon_belongs_to_the_value_before(
    text: str, pairs: list[tuple[str, str]]
) -> None:
    settled = settle({"tags": text}, "vm")
    assert isinstance(settled, dict)
    assert pairs_of(settled) == pairs


def test_the_list_wins_where_the_string_cannot_tell() -> None:
    listed = [{"name": "a", "value": "b;c:d"}]
    said = {"tags": "a:b;c:d", "tagsList": listed}
    assert settle(said, "vm") == said


def test_what_a_list_leaves_out_is_empty() -> None:
    assert settle({"tagsList": [{"name": "a"}, {"value": "b"}]}, "vm") == {
        "tags": "a:;:b",
        "tagsList": [{"name": "a", "value": ""}, {"name": "", "value": "b"}],
    }


@pytest.mark.parametrize(
    "compute,expected",
    [
        ({"tags": 1}, Refused("vm.tags", "the number 1", SHAPES)),
        ({"tags": None}, Refused("vm.tags", "nothing (null)", SHAPES)),
        ({"tagsList": True}, Refused("vm.tagsList", "the boolean true", SHAPES)),
        (
            {"tags": {"a": 1}},
            Refused("vm.tags.a", "the number 1", "a string", "Put it in quotes"),
        ),
        (
            {"tags": {1: "a"}},
            Refused("vm.tags", "the key the number 1", "a string", "Put it in quotes"),
        ),
        (
            {"tagsList": [{"name": "a", "value": "b"}, {"key": "c"}]},
            Refused("vm.tagsList[1]", 'unknown key "key"', "one of name, value"),
        ),
        (
            {"tagsList": ["a:b"]},
            Refused("vm.tagsList[0]", 'the string "a:b"', "a mapping of names to values"),
        ),
        ({"tags": "a:b", "tagsList": _listed(a="c")}, OTHERS),
        ({"tags": {"a": "b"}, "tagsList": _listed(a="c")}, OTHERS),
        ({"tags": _listed(a="b"), "tagsList": {}}, OTHERS),
    ],
    ids=str,
)
def test_what_is_no_set_of_tags_is_refused(compute: object, expected: Refused) -> None:
    assert refused(settle, compute, "vm") == expected


def test_at_the_top_the_path_has_no_dot_in_front() -> None:
    assert refused(settle, {"tags": 1}, "").where == "tags"


@unhurried
@given(ANY_TAGS)
def test_both_forms_of_a_mapping_say_the_same(tags: dict[str, str]) -> None:
    settled = settle({"tags": tags}, "vm")
    assert isinstance(settled, dict)
    pairs = pairs_of(settled)
    assert dict(pairs) == tags
    assert pairs == sorted(pairs)
    assert settled["tags"] == ";".join(f"{name}:{value}" for name, value in pairs)


@unhurried
@given(PLAIN_TAGS)
def test_string_and_list_lead_back_to_the_same(tags: dict[str, str]) -> None:
    settled = settle({"tags": tags}, "vm")
    assert isinstance(settled, dict)
    for key in ("tags", "tagsList"):
        assert settle({key: settled[key]}, "vm") == settled


@unhurried
@given(PLAIN_TAGS)
def test_what_was_settled_stays_settled(tags: dict[str, str]) -> None:
    """A document that a VM shows can be given back to it."""
    settled = settle({"tags": tags}, "vm")
    assert settle(settled, "vm") == settled


@unhurried
@given(ANY_TAGS)
@example({"a;b": "c"})
def test_what_was_settled_stays_settled_whatever_the_names(tags: dict[str, str]) -> None:
    settled = settle({"tags": tags}, "vm")
    assert settle(settled, "vm") == settled


@unhurried
@given(WIRE_TEXT.filter(lambda text: ":" in text.partition(";")[0]))
def test_a_string_whose_first_piece_has_a_colon_comes_back_whole(text: str) -> None:
    settled = settle({"tags": text}, "vm")
    assert isinstance(settled, dict)
    assert settled["tags"] == text == join(pairs_of(settled))


@unhurried
@given(WIRE_TEXT)
@example("no colon")
def test_a_string_always_comes_back_whole(text: str) -> None:
    settled = settle({"tags": text}, "vm")
    assert isinstance(settled, dict)
    assert settled["tags"] == text


@pytest.mark.parametrize(
    "compute",
    [
        {"zone": "1"},
        {"tags": "b:1;a:2", "tagsList": _listed(b="1", a="2")},
        {"tags": "a:1;a:2", "tagsList": [*_listed(a="1"), *_listed(a="2")]},
        {"tags": "a:1;a:1", "tagsList": [*_listed(a="1"), *_listed(a="1")]},
        {"tags": "a", "tagsList": _listed(a="")},
    ],
    ids=str,
)
def test_what_a_mapping_cannot_say_stays_as_on_the_wire(compute: dict[str, object]) -> None:
    assert as_said(compute) == compute
    assert settle(compute, "vm") == compute


def test_what_stands_beside_the_tags_stays() -> None:
    assert as_said({"zone": "1", **SETTLED}) == {
        "zone": "1",
        "tags": {"env": "prod", "team": "web"},
    }


@unhurried
@given(ANY_TAGS)
def test_a_mapping_is_written_as_it_was(tags: dict[str, str]) -> None:
    settled = settle({"tags": tags}, "vm")
    assert isinstance(settled, dict)
    assert as_said(settled) == {"tags": tags}


@unhurried
@given(st.lists(st.tuples(st.sampled_from("ab;"), st.sampled_from("12:"))))
def test_a_list_that_was_written_is_read_back(pairs: list[tuple[str, str]]) -> None:
    settled = both(pairs)
    assert settle(as_said(settled), "vm") == settled
