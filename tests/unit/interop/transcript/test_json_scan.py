"""The JSON scanner: positions, kinds and refusals."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from openimds.interop.transcript.json_scan import scan

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def rebuilt(text: str) -> Any:
    """Put a value together from its nodes alone."""
    by_steps = {node.steps: node for node in scan(text).nodes}

    def build(steps: tuple[str | int, ...]) -> Any:
        node = by_steps[steps]
        if node.kind == "object":
            return {name: build((*steps, name)) for name in node.names}
        if node.kind == "array":
            count = sum(one[:-1] == steps for one in by_steps if one)
            return [build((*steps, n)) for n in range(count)]
        assert json.loads(text[node.start : node.end]) == node.value
        return node.value

    return build(())


@given(VALUES, st.sampled_from([None, 2]))
@example([], None)
@example({}, 2)
def test_nodes_give_the_whole_value_back(value: Any, indent: int | None) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    assert rebuilt(text) == value


@given(VALUES)
def test_blanks_in_strings_do_not_count(value: Any) -> None:
    text = json.dumps(value, separators=(",", ":"))
    assert not scan(text).has_blanks
    assert scan(f" {text}").has_blanks
    assert scan(f"{text}\n").has_blanks


def test_nodes_have_position_and_kind() -> None:
    nodes = scan('{"a":[1,"x",true,null],"b":{}}').nodes
    assert [(node.steps, node.kind, node.start, node.end) for node in nodes] == [
        ((), "object", 0, 30),
        (("a",), "array", 5, 22),
        (("a", 0), "number", 6, 7),
        (("a", 1), "string", 8, 11),
        (("a", 2), "boolean", 12, 16),
        (("a", 3), "null", 17, 21),
        (("b",), "object", 27, 29),
    ]
    assert nodes[0].names == ("a", "b")


def test_repeated_name_is_kept_twice() -> None:
    assert scan('{"a":1,"a":2}').nodes[0].names == ("a", "a")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1",
        "[1,]",
        "[1 2]",
        '{"a":1,}',
        '{"a" 1}',
        '{"a":1 "b":2}',
        "{1:2}",
        "{} {}",
        "[NaN]",
        "tru",
        '"a',
        '{"a":1',
        "<html>",
    ],
)
def test_malformed_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        scan(text)


def test_depth_is_bounded() -> None:
    assert len(scan("[" * 65 + "]" * 65).nodes) == 65
    with pytest.raises(ValueError, match="nested too deeply"):
        scan("[" * 66 + "]" * 66)
