"""Plain values from text in three formats, and refusals of malformed text."""

import pytest

from openimds.vm.decode import decode
from tests.unit.vm.refused import Refused, refused

VALUE = {"a": {"b": [1, True, "x"]}}
BOM = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    "text,name",
    [
        (b'{"a": {"b": [1, true, "x"]}}', "f.json"),
        (b'{"a": {"b": [1, true, "x"]}}', "f.JSON"),
        (b'\n {"a": {"b": [1, true, "x"]}}', "f"),
        (b'[a]\nb = [1, true, "x"]', "f.toml"),
        (b"a: {b: [1, true, x]}", "f.yaml"),
        (b"a: {b: [1, true, x]}", "f.yml"),
        (b"a: {b: [1, true, x]}", "f.txt"),
        (b"a: {b: [1, true, x]}", "dir.json/f"),
        (b'{"a": {"b": [1, true, "x"]}}', "f.yaml"),
    ],
)
@pytest.mark.parametrize("mark", [b"", BOM], ids=["plain", "bom"])
def test_the_file_ending_selects_the_format(text: bytes, name: str, mark: bytes) -> None:
    assert decode(mark + text, name) == VALUE


def test_text_beyond_ascii_is_utf8() -> None:
    assert decode('{"a": "Zürich"}'.encode(), "f.json") == {"a": "Zürich"}
    assert decode("a: Zürich".encode(), "f.yaml") == {"a": "Zürich"}
    assert decode('a = "Zürich"'.encode(), "f.toml") == {"a": "Zürich"}


@pytest.mark.parametrize("name", ["f.json", "f.toml", "f.yaml", "f"])
def test_bytes_that_are_not_utf8_are_refused(name: str) -> None:
    assert refused(decode, b"a: \xff", name) == Refused(
        name, "bytes that are not UTF-8 at 3", "text"
    )


def test_utf16_text_is_refused_at_its_first_byte() -> None:
    text = '{"compute": {}}'.encode("utf-16")
    assert refused(decode, text, "f.json").seen == "bytes that are not UTF-8 at 0"


@pytest.mark.parametrize(
    "text,name,seen",
    [
        ('{"a": 1, "b": {"d": 1, "c": 2, "c": 3}}', "f.json", 'the name "c" twice in one object'),
        ('[{"a": 1}, {"a": 1, "a": 2}]', "f.json", 'the name "a" twice in one object'),
        ('{"a": 1, "a": 2}', "f", 'the name "a" twice in one object'),
    ],
)
def test_a_name_twice_in_json_is_refused(text: str, name: str, seen: str) -> None:
    assert refused(decode, text.encode(), name) == Refused(name, seen, "each name once")


@pytest.mark.parametrize(
    "text,name,expected,place",
    [
        ("", "f.json", "JSON text", "line 1 column 1"),
        ('{"a": 1\n  "b"}', "f.json", "JSON text", "line 2 column 3"),
        ("{", "f", "YAML text", "line 2, column 1"),
        ("a = 1\n= 2", "f.toml", "TOML text", "line 2, column 1"),
        ("[a]\n[a]", "f.toml", "TOML text", "line 2, column 3"),
        ("a: [1", "f.yaml", "YAML text", "line 2, column 1"),
        ("a: [1", "f.yml", "YAML text", "line 2, column 1"),
        ("a: [1", "f", "YAML text", "line 2, column 1"),
    ],
)
def test_malformed_text_is_refused_with_its_place(
    text: str, name: str, expected: str, place: str
) -> None:
    error = refused(decode, text.encode(), name)
    assert (error.where, error.expected, error.hint) == (name, expected, "")
    assert place in error.seen
    assert "\n" not in error.seen


def test_a_yaml_mapping_in_braces_needs_no_file_ending() -> None:
    assert decode(b"{vms: {web-1: {}}}", "f") == {"vms": {"web-1": {}}}


def test_a_name_twice_in_yaml_is_refused_as_in_json() -> None:
    error = refused(decode, b"a: 1\na: 2", "f.yaml")
    assert error == Refused(
        "f.yaml", 'the name "a" twice in one mapping (line 2)', "each name once"
    )


@pytest.mark.parametrize(
    "text,name",
    [
        ("[" * 100_000, "f.json"),
        ("a = " + "[" * 100_000, "f.toml"),
        ("[" * 100_000 + "]" * 100_000, "f.yaml"),
        ('{"a":' * 100_000, "f"),
    ],
    ids=["json", "toml", "yaml", "json by guess"],
)
def test_deeply_nested_text_is_refused(text: str, name: str) -> None:
    assert refused(decode, text.encode(), name) == Refused(
        name, "values nested too deeply", "a fleet or a document"
    )
