"""YAML: safe, a name once, dates as text, merge keys."""

import re

import pytest
import yaml
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from openimds.errors import DuplicateNameError
from openimds.vm.yaml import dump, load

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    SCALARS, lambda below: st.lists(below) | st.dictionaries(st.text(), below), max_leaves=12
)
# Without what PyYAML takes for a date, a merge, a tag of its own, or an anchor set twice.
PIECES = [
    *"ab:1-[]{},*?'\"#|>%~.0",
    "\n",
    " ",
    "\n  ",
    ": ",
    "- ",
    "? ",
    " #",
    "!!str ",
    "true",
    "null",
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
YAML = "tag:yaml.org,2002:"
JUDGE: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
unhurried = settings(deadline=None)


@pytest.mark.parametrize(
    "text,value",
    [
        ("", None),
        ("a: 1", {"a": 1}),
        ("1: a\n'1': b", {1: "a", "1": "b"}),
        ("a: {b: [1, two, true, null]}", {"a": {"b": [1, "two", True, None]}}),
        ("[{a: 1}, {a: 2}]", [{"a": 1}, {"a": 2}]),
    ],
)
def test_plain_values_are_read(text: str, value: object) -> None:
    assert load(text) == value


@pytest.mark.parametrize(
    "text", ["2025-01-01", "2025-01-01T12:00:00Z", "2001-12-14 21:59:43.10 -5", "2025-13-45"]
)
def test_a_date_stays_text_as_it_was_written(text: str) -> None:
    assert load(f"version: {text}") == {"version": text}
    assert load(f"{text}: version") == {text: "version"}


def test_a_merge_key_adds_the_missing_names() -> None:
    text = """
    defaults: &base {compute: {zone: "1"}, classic: false}
    vms:
      a: {<<: *base}
      b: {<<: *base, classic: true}
      c: {classic: true, <<: *base}
    """
    value = load(text)
    assert isinstance(value, dict)
    assert value["vms"] == {
        "a": {"compute": {"zone": "1"}, "classic": False},
        "b": {"compute": {"zone": "1"}, "classic": True},
        "c": {"compute": {"zone": "1"}, "classic": True},
    }


def test_the_first_of_several_merged_mappings_wins() -> None:
    assert load("x: &x {a: 1}\ny: &y {a: 2, b: 3}\nz: {<<: [*x, *y]}") == {
        "x": {"a": 1},
        "y": {"a": 2, "b": 3},
        "z": {"a": 1, "b": 3},
    }


def test_an_alias_is_the_same_value_again() -> None:
    assert load("a: &key [ssh-rsa A]\nb: *key") == {"a": ["ssh-rsa A"], "b": ["ssh-rsa A"]}


@pytest.mark.parametrize(
    "text,value",
    [
        ("a: '1'", {"a": "1"}),
        ("a: !!str 1", {"a": "1"}),
        ("a: ! 1", {"a": "1"}),
        ("a: !!int '1'", {"a": 1}),
        ("a: 2.5", {"a": 2.5}),
        ("a: ~", {"a": None}),
        ("a: |\n  x\n  y\n", {"a": "x\ny\n"}),
        ("a: !!seq [1]", {"a": [1]}),
        ("a: ! [1]", {"a": [1]}),
        ("!!map {a: 1}", {"a": 1}),
        ('"<<": {a: 1}', {"<<": {"a": 1}}),
        ("a: =", {"a": "="}),
        ("a: !!binary aGk=", {"a": b"hi"}),
    ],
)
def test_tags_and_quotes_have_their_yaml_meaning(text: str, value: object) -> None:
    assert load(text) == value


@pytest.mark.parametrize(
    "text,words",
    [
        ("a: 1\na: 2", 'the name "a" twice in one mapping (line 2)'),
        ("vms:\n  a: {}\n  b: {}\n  a: {}", 'the name "a" twice in one mapping (line 4)'),
        ("a: {b: 1, b: 1}", 'the name "b" twice in one mapping (line 1)'),
    ],
)
def test_a_name_stands_once(text: str, words: str) -> None:
    with pytest.raises(DuplicateNameError, match=f"^{re.escape(words)}$"):
        load(text)


def test_a_merge_key_stands_once_too() -> None:
    with pytest.raises(DuplicateNameError, match=r'^the name "<<" twice'):
        load("{<<: {a: 1}, <<: {a: 2}}")


@pytest.mark.parametrize(
    "text,words",
    [
        ("[a]: 1", "a name that is no scalar (line 1)"),
        ("x: 1\n? {a: b}\n: 2", "a name that is no scalar (line 2)"),
        ("a: &list [1]\n*list : 2", "a name that is no scalar (line 2)"),
        ("a:\n  *b", "the alias *b of no value before it (line 2)"),
        ("&a {b: *a}", "the alias *a of no value before it (line 1)"),
        ("&a [*a]", "the alias *a of no value before it (line 1)"),
        ("a: 1\n---\nb: 2", "a second document (line 2)"),
        ("<<: 3", "something other than mappings behind << (line 1)"),
        ("a: 1\n<<: [{a: 1}, [b]]", "something other than mappings behind << (line 2)"),
        ("a: !!int x", '"x", which is not of its tag (line 1)'),
        ("a: !!bool maybe", '"maybe", which is not of its tag (line 1)'),
        ('a: !!int ""', '"", which is not of its tag (line 1)'),
        ("a: !!set {b}", f"the tag {YAML}set, which is not safe here (line 1)"),
        (
            "a:\n- !!python/object/apply:os.system [ls]",
            f"the tag {YAML}python/object/apply:os.system, which is not safe here (line 2)",
        ),
    ],
)
def test_a_value_that_is_not_plain_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        load(text)


@pytest.mark.parametrize(
    "text,place",
    [
        ("a: [", "(line 2, column 1)"),
        ("a: b: c", "(line 1, column 5)"),
        ("a: !python/name:os.system x", "(line 1, column 4)"),
        ("a: \0", "position 3"),
    ],
)
def test_malformed_yaml_is_refused_in_one_line_with_its_place(text: str, place: str) -> None:
    with pytest.raises(ValueError, match=f"^.+{re.escape(place)}$"):
        load(text)


@pytest.mark.parametrize(
    "text,value",
    [
        ("a: <<", {"a": "<<"}),
        ("- <<", ["<<"]),
        ("<<", "<<"),
        ("'<<': 1", {"<<": 1}),
        ("{'<<': 1, <<: {a: 2}}", {"<<": 1, "a": 2}),
    ],
)
def test_two_angles_elsewhere_are_text(text: str, value: object) -> None:
    assert load(text) == value


@unhurried
@given(VALUES, st.sampled_from([True, False, None]))
def test_pyyaml_output_is_read_back(value: object, style: bool | None) -> None:
    text = yaml.safe_dump(value, default_flow_style=style)
    assert load(text) == value


@unhurried
@given(TEXTS)
def test_pyyaml_reads_the_same_value(text: str) -> None:
    try:
        value = load(text)
    except ValueError:
        reject()
    assert repr(value) == repr(yaml.load(text, JUDGE))


def test_written_yaml_is_read_as_the_same_value() -> None:
    value = [{"b": "no", "a": ["1", "2026-11-22", "<<", "ä: x" * 60, "", None, 1.5, True]}, {}, []]
    text = dump(value)
    assert load(text) == value
    assert text.startswith("- b: 'no'\n  a:\n  - '1'\n")
    assert dump("x") == "x\n"
