import json

import pytest

from openimds.protocol.document import MISSING, as_json, as_text, descend

DOCUMENT = {
    "compute": {"name": "web-1", "plan": {"name": ""}, "tagsList": [{"name": "a"}, {"name": "b"}]},
    "empty": [],
    "flags": {"yes": True, "no": False},
    "words": ["x", "y"],
}


@pytest.mark.parametrize(
    "route, node",
    [
        ("", DOCUMENT),
        ("compute/name", "web-1"),
        ("COMPUTE/Plan/NAME", ""),
        ("compute/tagsList/1/name", "b"),
        ("compute/tagsList/01/name", "b"),
        ("compute/tagsList/2", MISSING),
        ("compute/tagsList/-1", MISSING),
        ("compute/tagsList/+1", MISSING),
        ("compute/tagsList/one", MISSING),
        ("compute/tagsList/٣", MISSING),
        ("compute/tagsList/99999999999999999999", MISSING),
        ("compute/name/x", MISSING),
        ("compute//name", MISSING),
        ("compute/nothing", MISSING),
        ("nothing/at/all", MISSING),
        ("empty/0", MISSING),
    ],
)
def test_a_route_leads_to_its_node(route: str, node: object) -> None:
    assert descend(DOCUMENT, tuple(route.split("/")) if route else ()) == node


@pytest.mark.parametrize(
    "route, text",
    [
        ((), "compute/\nempty/\nflags/\nwords/"),
        (("compute",), "name\nplan/\ntagsList/"),
        (("compute", "tagsList"), "0/\n1/"),
        (("words",), "0\n1"),
        (("empty",), ""),
        (("compute", "name"), "web-1"),
        (("flags", "yes"), "true"),
        (("flags", "no"), "false"),
    ],
)
def test_text_is_raw_or_a_listing(route: tuple[str, ...], text: str) -> None:
    assert as_text(descend(DOCUMENT, route)) == text.encode()


def test_json_is_compact_and_keeps_what_it_is_given() -> None:
    assert as_json({"b": "é", "a": [True, ""]}) == '{"b":"é","a":[true,""]}'.encode()
    assert json.loads(as_json(DOCUMENT)) == DOCUMENT
