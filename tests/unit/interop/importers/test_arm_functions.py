"""The functions of ARM's expressions that need only their arguments."""

from typing import Any

import pytest

from openimds.interop.importers.arm_functions import (
    FUNCTIONS,
    LONGEST_RANGE,
    LONGEST_TEXT,
    MOST_COMPARED,
    call,
)
from openimds.interop.importers.unread import UnreadError

LONG = "x" * 70_000

# The examples of Azure's reference of template functions, and their edges.
RESULTS: list[tuple[str, list[Any], object]] = [
    ("add", [5, 3], 8),
    ("array", ["a"], ["a"]),
    ("array", [["a"]], ["a"]),
    ("base64", ["one"], "b25l"),
    ("base64ToString", ["b25l"], "one"),
    ("bool", ["TRUE"], True),
    ("bool", [0], False),
    ("cidrHost", ["10.144.0.0/20", 3], "10.144.0.4"),
    ("cidrSubnet", ["10.144.0.0/20", 24, 1], "10.144.1.0/24"),
    ("coalesce", [None, "a", "b"], "a"),
    ("coalesce", [None], None),
    ("concat", ["a", 1, True], "a1True"),
    ("concat", [["a"], ["b", 1]], ["a", "b", 1]),
    ("contains", ["OneTwo", "Two"], True),
    ("contains", ["a1", 1], True),
    ("contains", [["a", "b"], "c"], False),
    ("contains", [{"One": 1}, "one"], True),
    ("createArray", [1, "a"], [1, "a"]),
    ("createObject", ["a", 1, "b", None], {"a": 1, "b": None}),
    ("div", [8, 3], 2),
    ("div", [-8, 3], -2),
    ("empty", [""], True),
    ("empty", [None], True),
    ("empty", [["a"]], False),
    ("endsWith", ["abcdef", "EF"], True),
    ("equals", ["ABC", "abc"], True),
    ("equals", [1, True], False),
    ("equals", [{"a": 1}, {"a": 1}], True),
    ("first", ["abc"], "a"),
    ("first", [""], ""),
    ("first", [[]], None),
    ("flatten", [[[1], [2, 3]]], [1, 2, 3]),
    ("format", ["{0}-{1}-{{x}} {0:D}", "a", 5], "a-5-{x} a"),
    ("greater", ["b", "a"], True),
    ("greaterOrEquals", [1, 1], True),
    ("indexOf", ["abcABC", "CA"], 2),
    ("int", ["4"], 4),
    ("int", [4], 4),
    ("intersection", [[1, 2, 3], [3, 2]], [2, 3]),
    ("intersection", [{"a": 1, "b": 2}, {"a": 1, "b": 3}], {"a": 1}),
    ("items", [{"b": 2, "a": 1}], [{"key": "a", "value": 1}, {"key": "b", "value": 2}]),
    ("join", [["a", 1], "-"], "a-1"),
    ("json", ['{"a": null}'], {"a": None}),
    ("last", [["a", "b"]], "b"),
    ("last", [[]], None),
    ("length", ["abc"], 3),
    ("less", [1, 2], True),
    ("lessOrEquals", [2, 1], False),
    ("max", [[1, 3, 2]], 3),
    ("min", [3, 1], 1),
    ("mod", [7, 3], 1),
    ("mod", [-7, 3], -1),
    ("mul", [4, 5], 20),
    ("not", [False], True),
    ("objectKeys", [{"b": 1, "a": 1}], ["a", "b"]),
    ("padLeft", [7, 3, "0"], "007"),
    ("padLeft", ["a", 2], " a"),
    ("range", [5, 3], [5, 6, 7]),
    ("range", [0, LONGEST_RANGE], list(range(LONGEST_RANGE))),
    ("replace", ["1-2-3", "-", ""], "123"),
    ("replace", ["abc", "", "x"], "abc"),
    ("shallowMerge", [[{"a": 1}, {"a": 2, "b": 3}]], {"a": 2, "b": 3}),
    ("skip", [[1, 2, 3], 2], [3]),
    ("skip", ["abc", -1], "abc"),
    ("split", ["a,b;c", [",", ";"]], ["a", "b", "c"]),
    ("split", ["a,b", ","], ["a", "b"]),
    ("split", ["a", []], ["a"]),
    ("startsWith", ["abc", "AB"], True),
    ("string", [{"a": True}], '{"a":true}'),
    ("string", [True], "True"),
    ("sub", [7, 3], 4),
    ("substring", ["abcdef", 1, 2], "bc"),
    ("substring", ["abc", 1], "bc"),
    ("take", ["abc", 2], "ab"),
    ("take", [[1], -1], []),
    ("tenantResourceId", ["A/b", "x"], "/providers/A/b/x"),
    ("extensionResourceId", ["/s", "A/b/c", "x", "y"], "/s/providers/A/b/x/c/y"),
    ("toLower", ["One"], "one"),
    ("TOUPPER", ["One"], "ONE"),
    ("trim", [" a "], "a"),
    ("union", [["a", "b"], ["b", "c"]], ["a", "b", "c"]),
    ("union", [{"a": {"x": 1}, "b": 1}, {"a": {"y": 2}, "b": 2}], {"a": {"x": 1, "y": 2}, "b": 2}),
]


@pytest.mark.parametrize("name, arguments, expected", RESULTS)
def test_function_gives_what_azure_documents(
    name: str, arguments: list[Any], expected: object
) -> None:
    result = call(name, arguments)
    assert (result, type(result)) == (expected, type(expected))


def test_every_function_has_an_example() -> None:
    assert {name.lower() for name, _, _ in RESULTS} == set(FUNCTIONS)


REFUSED: list[tuple[str, list[Any]]] = [
    ("add", ["a", "b"]),
    ("add", [1, True]),
    ("add", [2**62, 2**62]),
    ("bool", ["maybe"]),
    ("cidrSubnet", ["10.0.0.0/30", 31, 2]),
    ("cidrSubnet", ["10.0.0.0/8", 31, 10_000]),
    ("cidrSubnet", ["x", 31, 0]),
    ("concat", [None]),
    ("concat", [{}]),
    ("createObject", ["a"]),
    ("createObject", [1, 2]),
    ("div", [1, 0]),
    ("format", ["{1}", "a"]),
    ("format", []),
    ("greater", [1, "a"]),
    ("greater", [True, False]),
    ("json", ["{"]),
    ("json", ["[" * 100_000]),
    ("not", ["true"]),
    ("padLeft", ["a", 10**9]),
    ("resourceId", []),
    ("substring", ["abc", 2, 5]),
    ("tenantResourceId", ["A/b", "x", "y"]),
    ("tenantResourceId", ["a"]),
    ("toLower", [5]),
    ("unknown", []),
]


@pytest.mark.parametrize("name, arguments", REFUSED)
def test_arguments_that_do_not_fit_are_refused(name: str, arguments: list[Any]) -> None:
    with pytest.raises(UnreadError, match=rf"{name}\(\)"):
        call(name, arguments)


TOO_LARGE: list[tuple[str, list[Any]]] = [
    ("concat", [LONG, LONG]),
    ("format", ["{0}{0}", LONG]),
    ("join", [["a"] * 1000, "x" * 1000]),
    ("replace", ["aaa", "a", LONG]),
    ("range", [0, LONGEST_RANGE + 1]),
    ("union", [[1] * MOST_COMPARED, [1]]),
    ("intersection", [[1] * MOST_COMPARED, [1]]),
]


@pytest.mark.parametrize("name, arguments", TOO_LARGE)
def test_result_that_would_be_too_large_is_refused(name: str, arguments: list[Any]) -> None:
    with pytest.raises(UnreadError, match="more than"):
        call(name, arguments)


def test_text_of_the_largest_length_is_made() -> None:
    assert call("replace", ["a", "a", "b" * LONGEST_TEXT]) == "b" * LONGEST_TEXT
