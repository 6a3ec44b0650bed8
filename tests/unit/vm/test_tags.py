"""Tags: a mapping, a string and a list have the same meaning."""

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from openimds.vm.schema_tree import newest_tree
from openimds.vm.tags import as_mapping, join, pairs, wire_forms
from openimds.vm.validate import validate
from tests.unit.vm.refused import Refused, refused

COMPUTE = newest_tree().members["compute"]
WORD = st.text(st.characters(exclude_characters=";:", codec="utf-8"))
TEXT = st.text(st.characters(codec="utf-8"))
PLAIN_TAGS = st.dictionaries(WORD, WORD)
ANY_TAGS = st.dictionaries(TEXT, TEXT)
WIRE_TEXT = st.text(st.sampled_from(";:ab"))
unhurried = settings(deadline=None)


def _listed(**tags: str) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in tags.items()]


def _read(compute: object, where: str = "vm") -> dict[str, Any]:
    """Return a `compute` as the fleet file's reader does."""
    found = validate(compute, COMPUTE, where)
    assert isinstance(found, dict)
    return found


def _as_written(compute: dict[str, Any]) -> dict[str, Any]:
    """Return a `compute` with a mapping of tags where that loses nothing."""
    tags = as_mapping(compute["tags"], compute["tagsList"])
    return compute if tags is None else {"tags": tags}


LISTED = _listed(env="prod", team="web")
WIRE = {"tags": "env:prod;team:web", "tagsList": LISTED}
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
        WIRE,
    ],
    ids=str,
)
def test_every_shape_gives_both_wire_forms(compute: dict[str, object]) -> None:
    assert _read({**compute, "zone": "1"}) == {**WIRE, "zone": "1"}


@pytest.mark.parametrize("compute", [{}, {"zone": "1"}], ids=repr)
def test_a_compute_without_tags_gets_none(compute: object) -> None:
    assert _read(compute) == compute


@pytest.mark.parametrize("empty", [{}, [], ""], ids=repr)
def test_every_shape_can_be_empty(empty: object) -> None:
    assert _read({"tags": empty}) == {"tags": "", "tagsList": []}


def test_a_list_keeps_its_order_and_a_mapping_is_sorted() -> None:
    """Azure sorts them so too."""
    assert wire_forms([("b", "1"), ("a", "2")])["tags"] == "b:1;a:2"
    assert _read({"tagsList": LISTED[::-1]}) == {
        "tags": "team:web;env:prod",
        "tagsList": LISTED[::-1],
    }
    assert _read({"tags": {"b": "1", "B": "3", "a": "2"}}) == {
        "tags": "B:3;a:2;b:1",
        "tagsList": [
            {"name": "B", "value": "3"},
            {"name": "a", "value": "2"},
            {"name": "b", "value": "1"},
        ],
    }


@pytest.mark.parametrize(
    "text,expected",
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
def test_a_piece_without_a_colon_belongs_to_the_value_before(
    text: str, expected: list[tuple[str, str]]
) -> None:
    assert pairs(_read({"tags": text})["tagsList"]) == expected


def test_the_list_wins_over_an_ambiguous_string() -> None:
    listed = [{"name": "a", "value": "b;c:d"}]
    compute = {"tags": "a:b;c:d", "tagsList": listed}
    assert _read(compute) == compute


def test_a_missing_member_of_a_list_is_empty() -> None:
    assert _read({"tagsList": [{"name": "a"}, {"value": "b"}]}) == {
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
def test_a_value_of_no_shape_is_refused(compute: object, expected: Refused) -> None:
    assert refused(_read, compute) == expected


def test_a_path_at_the_top_has_no_dot_in_front() -> None:
    assert refused(_read, {"tags": 1}, "").where == "tags"


@unhurried
@given(ANY_TAGS)
def test_both_forms_of_a_mapping_are_equal(tags: dict[str, str]) -> None:
    compute = _read({"tags": tags})
    found = pairs(compute["tagsList"])
    assert dict(found) == tags
    assert found == sorted(found)
    assert compute["tags"] == ";".join(f"{name}:{value}" for name, value in found)


@unhurried
@given(PLAIN_TAGS)
def test_string_and_list_are_read_alike(tags: dict[str, str]) -> None:
    compute = _read({"tags": tags})
    for key in ("tags", "tagsList"):
        assert _read({key: compute[key]}) == compute


@unhurried
@given(PLAIN_TAGS)
def test_a_served_document_is_read_back_unchanged(tags: dict[str, str]) -> None:
    compute = _read({"tags": tags})
    assert _read(compute) == compute


@unhurried
@given(ANY_TAGS)
@example({"a;b": "c"})
def test_tags_of_any_name_are_read_back_unchanged(tags: dict[str, str]) -> None:
    compute = _read({"tags": tags})
    assert _read(compute) == compute


@unhurried
@given(WIRE_TEXT.filter(lambda text: ":" in text.partition(";")[0]))
def test_a_string_is_kept_if_its_first_piece_has_a_colon(text: str) -> None:
    compute = _read({"tags": text})
    assert compute["tags"] == text == join(pairs(compute["tagsList"]))


@unhurried
@given(WIRE_TEXT)
@example("no colon")
def test_a_string_is_kept_to_the_letter(text: str) -> None:
    assert _read({"tags": text})["tags"] == text


@pytest.mark.parametrize(
    "compute",
    [
        {"tags": "b:1;a:2", "tagsList": _listed(b="1", a="2")},
        {"tags": "a:1;a:2", "tagsList": [*_listed(a="1"), *_listed(a="2")]},
        {"tags": "a:1;a:1", "tagsList": [*_listed(a="1"), *_listed(a="1")]},
        {"tags": "a", "tagsList": _listed(a="")},
    ],
    ids=str,
)
def test_no_mapping_is_given_where_it_would_lose_something(compute: dict[str, object]) -> None:
    assert _as_written(compute) == compute
    assert _read(compute) == compute


def test_equal_wire_forms_make_one_mapping() -> None:
    assert _as_written(WIRE) == {"tags": {"env": "prod", "team": "web"}}


@unhurried
@given(ANY_TAGS)
def test_a_mapping_is_written_as_it_was_read(tags: dict[str, str]) -> None:
    assert _as_written(_read({"tags": tags})) == {"tags": tags}


@unhurried
@given(st.lists(st.tuples(st.sampled_from("ab;"), st.sampled_from("12:"))))
def test_written_tags_are_read_back(tags: list[tuple[str, str]]) -> None:
    compute = wire_forms(tags)
    assert _read(_as_written(compute)) == compute
