"""Laws of the document that hold for every VM at every version."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st

from openimds.facts.document import FIELDS, OLD_NAMES, ONE_BY_DEFAULT, ONE_BY_RULE
from openimds.facts.fields import Derived
from openimds.facts.versions import catalog
from openimds.protocol.document import as_json, plan_at, tree_at
from openimds.protocol.handle import Subject, handle
from openimds.protocol.request import parse_query
from openimds.protocol.response import Refusal, Response
from openimds.vm.defaults import _RULES, complete
from openimds.vm.derivation import Derivation
from openimds.vm.from_capture import parse_capture
from openimds.vm.schema_tree import Group, Leaf, Many, newest_tree
from openimds.vm.types import Vm
from tests.property.fleets import VERSIONS, vms

FIRST_PUBLIC = VERSIONS.index(OLD_NAMES[0].before)
"""From here on no node has another name, and no field ends."""


def subject(vm: Vm) -> Subject:
    return Subject(vm, catalog())


def ask(vm: Subject, version: str, route: list[str], form: str = "json") -> Response | Refusal:
    path = "/".join(["/metadata/instance", *(quote(one, safe="") for one in route)])
    target = f"{path}?api-version={version}&format={form}&extended=true"
    reply = handle(parse_query("GET", target.encode(), has_metadata_header=True), vm, 0)
    assert isinstance(reply, Response | Refusal)
    return reply


def leaves(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    match node:
        case dict():
            for name, member in node.items():
                yield from leaves(member, (*path, name))
        case list():
            for position, element in enumerate(node):
                yield from leaves(element, (*path, str(position)))
        case _:
            yield path, node


def nodes(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, node
    children = node.items() if isinstance(node, dict) else enumerate(node)
    if not isinstance(node, dict | list):
        return
    for name, child in children:
        if isinstance(child, dict | list):
            yield from nodes(child, (*path, str(name)))
        else:
            yield (*path, str(name)), child


def walk(vm: Vm, node: Group, written: Any, trail: tuple[int, ...] = ()) -> dict[str, object]:
    """Return an object of a document straight from the rows, each default worked out anew."""
    document: dict[str, object] = {}
    for key, member in node.members.items():
        value = written.get(key)
        if isinstance(member, Group):
            value = walk(vm, member, value or {}, trail)
        elif isinstance(member, Many):
            assert isinstance(member.item, Group)
            if value is None:
                rule = ONE_BY_RULE.get(member.path)
                has_one = _RULES[rule](Derivation(vm, _RULES), trail) if rule else ""
                value = [{}] if has_one or member.path in ONE_BY_DEFAULT else []
            value = [walk(vm, member.item, one, (*trail, i)) for i, one in enumerate(value)]
        elif value is None:
            assert isinstance(member, Leaf)
            assert member.row
            value = member.row.default
            if isinstance(value, Derived):
                value = _RULES[value](Derivation(vm, _RULES), trail)
        document[node.names.get(key, key)] = value
    return document


def test_no_public_field_ever_ends() -> None:
    assert {row.until for row in FIELDS} == {"", OLD_NAMES[0].before}


@given(vms(), st.data())
def test_a_later_version_has_everything_of_an_earlier_one(vm: Vm, data: st.DataObject) -> None:
    public = VERSIONS[FIRST_PUBLIC:]
    earlier = data.draw(st.integers(0, len(public) - 2))
    later = data.draw(st.integers(earlier + 1, len(public) - 1))
    before = dict(leaves(complete(vm, plan_at(public[earlier]))))
    after = dict(leaves(complete(vm, plan_at(public[later]))))
    assert before.items() <= after.items()


@given(vms(), st.sampled_from(VERSIONS), st.data())
def test_a_route_is_an_index_into_the_document(vm: Vm, version: str, data: st.DataObject) -> None:
    about = subject(vm)
    whole = ask(about, version, [])
    assert isinstance(whole, Response)
    found = list(nodes(json.loads(whole.body)))
    route, node = data.draw(st.sampled_from(found))
    as_json, as_text = ask(about, version, [*route]), ask(about, version, [*route], "text")
    assert isinstance(as_text, Response)
    if isinstance(node, dict | list):
        assert json.loads(as_json.body) == node
    else:
        assert as_json.status == 400
        text = node if isinstance(node, str) else json.dumps(node)
        assert as_text.body.decode() == text


@given(vms(), st.sampled_from(VERSIONS), st.data())
def test_a_listing_has_exactly_the_existing_routes(
    vm: Vm, version: str, data: st.DataObject
) -> None:
    about = subject(vm)
    whole = ask(about, version, [])
    assert isinstance(whole, Response)
    directories = [one for one in nodes(json.loads(whole.body)) if isinstance(one[1], dict | list)]
    route, node = data.draw(st.sampled_from(directories))
    listing = ask(about, version, [*route], "text")
    names = listing.body.decode().split("\n") if listing.body else []
    for name in names:
        child = ask(about, version, [*route, name.removesuffix("/")])
        assert child.status == (200 if name.endswith("/") else 400)
    walkable = list(node) if isinstance(node, dict) else [str(one) for one in range(len(node))]
    assert [name.removesuffix("/") for name in names] == walkable


@given(vms(), st.sampled_from(VERSIONS), st.text(max_size=8).filter(lambda name: "?" not in name))
def test_an_unlisted_name_is_not_found(vm: Vm, version: str, name: str) -> None:
    about = subject(vm)
    whole = ask(about, version, [])
    assert isinstance(whole, Response)
    compute = json.loads(whole.body).get("compute", {})
    if name.strip("/").lower() in {key.lower() for key in compute} or not name.strip("/"):
        return
    assert ask(about, version, ["compute", name, "x"]).status == 404


@given(vms(), st.sampled_from(VERSIONS))
@settings(max_examples=150)
def test_a_captured_document_is_served_unchanged(vm: Vm, version: str) -> None:
    plan = plan_at(version, is_classic=vm.classic)
    before = complete(vm, plan)
    found = parse_capture(before, "other")
    assert found.set_aside == ()
    assert complete(found.vm, plan) == before


@given(vms())
def test_tags_and_tags_list_are_always_equal(vm: Vm) -> None:
    compute: Any = complete(vm)["compute"]
    joined = ";".join(f"{one['name']}:{one['value']}" for one in compute["tagsList"])
    assert compute["tags"] == joined


@given(vms())
def test_every_leaf_is_text_but_one(vm: Vm) -> None:
    odd = {path for path, value in leaves(complete(vm)) if not isinstance(value, str)}
    assert odd == {("extended", "compute", "hasCustomData")}


@given(vms())
def test_equal_vms_give_equal_documents(vm: Vm) -> None:
    assert complete(vm) == complete(vm)


@given(vms(), st.sampled_from(VERSIONS), st.booleans(), st.booleans())
@settings(max_examples=300)
def test_a_plan_gives_the_document_of_a_walk_over_the_rows(
    vm: Vm, version: str, is_classic: bool, is_extended: bool
) -> None:
    wanted = {"is_classic": is_classic, "is_extended": is_extended}
    expected = walk(vm, tree_at(version, **wanted), vm.document)
    assert as_json(complete(vm, plan_at(version, **wanted))) == as_json(expected)
    assert as_json(complete(vm)) == as_json(walk(vm, newest_tree(), vm.document))
