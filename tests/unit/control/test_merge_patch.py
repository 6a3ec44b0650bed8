import pytest

from openimds.model.fleet import merge_patch

# Appendix A of RFC 7396: original, patch, result.
EXAMPLES: list[tuple[object, object, object]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize("target, patch, result", EXAMPLES)
def test_the_examples_of_the_standard(target: object, patch: object, result: object) -> None:
    before = repr(target)
    assert merge_patch(target, patch) == result
    assert repr(target) == before


LISTED = {"tags": "a:1;b:2", "tagsList": [{"name": "a", "value": "1"}, {"name": "b", "value": "2"}]}


@pytest.mark.parametrize(
    "patch, result",
    [
        ({"tags": {"a": None, "c": "3"}}, {"tags": {"b": "2", "c": "3"}}),
        ({"tags": "x:y"}, {"tags": "x:y"}),
        ({"tags": None}, {}),
        ({"vmSize": "S"}, {**LISTED, "vmSize": "S"}),
    ],
)
def test_a_patch_of_the_tags_replaces_both_their_forms(patch: object, result: object) -> None:
    assert merge_patch(LISTED, patch) == result
