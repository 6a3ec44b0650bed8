"""The OpenAPI document: tags, summaries, and examples that a server answers."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest

from openimds.admin.openapi import curl, example_query, example_value, openapi_document
from openimds.admin.operation import EVENT_STREAM, Content, Operation, Tag
from openimds.admin.operations import OPERATIONS
from openimds.errors import ConfigError
from openimds.vm.fleet_file import parse_vm
from openimds.vm.schema import vm_tree
from openimds.vm.schema_tree import Group, Many, Named, Node
from tests.support.talk import Talk, a_dispatcher, a_fleet, an_index
from tests.unit.admin.setup import AdminServer, with_server

DOCUMENT: dict[str, Any] = json.loads(openapi_document(OPERATIONS))
FREE = {"tags", "variables", "headers", "before", "after", "paths", "components"}
"""Members whose keys differ from server to server."""
IDS = [row.name for row in OPERATIONS]


def described(row: Operation) -> dict[str, Any]:
    operation: dict[str, Any] = DOCUMENT["paths"][row.path][row.method.lower()]
    return operation


def validate(value: object, schema: dict[str, Any]) -> None:
    jsonschema_rs.Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(
        value
    )


def shape(value: object) -> object:
    """Return a value with its scalars replaced by their JSON types; null stands for any."""
    match value:
        case dict():
            return {key: ... if key in FREE else shape(item) for key, item in value.items()}
        case list():
            return [shape(item) for item in value[:1]]
        case bool() | None:
            return value if value is None else "boolean"
        case int() | float():
            return "number"
        case _:
            return "string"


def agree(one: object, other: object) -> bool:
    if one is None or other is None:
        return True
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(agree(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return not one or not other or agree(one[0], other[0])
    return one == other


@pytest.mark.parametrize("row", OPERATIONS, ids=IDS)
def test_operation_has_a_tag_a_summary_and_an_example(row: Operation) -> None:
    operation = described(row)
    assert operation["tags"] == [row.tag.title]
    assert row.tag.title in {tag["name"] for tag in DOCUMENT["tags"]}
    assert 10 < len(operation["summary"]) <= 80
    assert not operation["summary"].endswith(".")
    (sample,) = operation["x-codeSamples"]
    words = shlex.split(sample["source"])
    assert words[0] == "curl"
    assert words[-1].startswith(f"http://127.0.0.1:8170{row.example_path}")
    assert ("-d" in words) is (row.takes is not None)
    bodies = [body for body in (row.takes, *row.answers.values()) if body]
    assert bodies or row.method == "DELETE"
    for parameter in operation.get("parameters", ()):
        assert ("example" in parameter) is (
            parameter["in"] != "header" and parameter["name"] != "cursor"
        )


@pytest.mark.parametrize("row", OPERATIONS, ids=IDS)
def test_examples_fit_their_schemas(row: Operation) -> None:
    operation = described(row)
    contents = [answer.get("content", {}) for answer in operation["responses"].values()]
    contents.append(operation.get("requestBody", {}).get("content", {}))
    examples = [
        (media["examples"]["usual"]["value"], media["schema"])
        for content in contents
        for media in content.values()
        if "examples" in media
    ]
    bodies = [body for body in (row.takes, *row.answers.values()) if body]
    assert len(examples) == sum(len(body.media) for body in bodies)
    examples += [
        (parameter["example"], parameter["schema"])
        for parameter in operation.get("parameters", ())
        if "example" in parameter
    ]
    for example, schema in examples:
        validate(example, schema)


def test_description_names_the_url_by_which_it_was_asked(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        for url in ("http://localhost:8170", "https://host:443"):
            client = server.client()
            client.base_url = url
            got = (
                await client.get("/openapi.json", headers={"Host": url[url.find("//") + 2 :]})
            ).json()
            assert got.pop("servers") == [{"url": url}]
            assert got == DOCUMENT

    with_server(tmp_path, work)


def test_paths_name_their_one_parameter() -> None:
    for row in OPERATIONS:
        assert ("{" in row.path) is (row.parameter is not None)
        assert row.parameter is None or f"{{{row.parameter.name}}}" in row.path
        assert "{" not in row.example_path


def test_every_tag_has_operations() -> None:
    assert {row.tag for row in OPERATIONS} == {*Tag}


def test_names_of_members_are_camel_case() -> None:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        for member in schema.get("properties", ()):
            assert "_" not in member, name


async def with_one_of_each(server: AdminServer) -> dict[str, str]:
    """Fill a server with one of each thing; return the examples that differ here."""
    await server.api.put("/v1/vms/web-1", json=example_of("put_vm"))
    await server.api.post("/v1/tokens", json={"name": "ci", "role": "operate"})
    await server.events_service.load()
    server.events_service.clock.is_virtual = True
    declared = await server.api.post("/v1/events", json=example_of("declare_events"))
    await server.api.post("/v1/scenarios", json=example_of("begin_scenario"))
    (await server.api.post("/v1/faults", json=example_of("set_faults"))).raise_for_status()
    dispatcher = a_dispatcher(an_index(*a_fleet(**{"web-1": {"reach": {"address": ["10.0.0.4"]}}})))
    dispatcher.set_observer(server.recorder)
    Talk(dispatcher, ("10.0.0.4", 5)).ask("/metadata/instance/compute/name?api-version=2021-02-01")
    return {"602D9444-D2CD-49C7-8624-8643E7171297": declared.json()["items"][0]["id"]}


def example_of(name: str) -> Any:
    (row,) = [one for one in OPERATIONS if one.name == name]
    content = row.takes or row.answers[row.status]
    assert content is not None
    return example_value(content)


@pytest.mark.parametrize("row", OPERATIONS, ids=IDS)
def test_example_request_gets_an_answer_like_the_example(tmp_path: Path, row: Operation) -> None:
    async def work(server: AdminServer) -> None:
        ids = await with_one_of_each(server)
        if row.tag is Tag.IDENTITIES:
            (identity,) = example_of("list_identities")["items"]
            patch = {"identities": {"user": [identity["resourceId"]]}}
            await server.api.patch("/v1/vms/web-1", json=patch)
        path = row.example_path
        for example, real in ids.items():
            path = path.replace(example, real)
        if row.name == "complete_event":
            await server.api.post(path.replace("complete", "start"))
        answer = row.answers[row.status]
        if answer and answer.media == (EVENT_STREAM,):
            async with server.follow("since=0", path) as feed:
                event = await feed.next()
            check(answer, json.loads(event["data"]))
            return
        sent, media = None, {}
        if row.takes:
            sent = msgspec.json.encode(example_value(row.takes))
            media = {"Content-Type": row.takes.media[0]}
        got = await server.api.request(
            row.method, path, params=example_query(row), headers=media, content=sent
        )
        assert got.status_code in row.answers, got.text
        if answer is None:
            assert got.content == b""
        else:
            is_json = got.headers["content-type"] == "application/json"
            check(answer, got.json() if is_json else got.text)

    def check(answer: Content, body: object) -> None:
        validate(
            body,
            described(row)["responses"][str(int(row.status))]["content"][answer.media[0]]["schema"],
        )
        assert agree(shape(body), shape(example_value(answer))), body

    with_server(tmp_path, work)


def test_curl_line_quotes_the_body() -> None:
    (row,) = [one for one in OPERATIONS if one.name == "set_clock"]
    assert shlex.split(curl(row))[-4:-1] == [
        "Content-Type: application/json",
        "-d",
        '{"advanceS":900}',
    ]


VALUES: tuple[object, ...] = (None, True, 7, -1, 1.5, "x", [], {})
"""A value of each JSON type, for every place in the body of a VM."""


def bodies(node: Node, *path: str | int) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of each place in a VM's body; a list has one item."""
    if path:
        yield path
    match node:
        case Group():
            for name, member in node.members.items():
                yield from bodies(member, *path, name)
        case Many():
            yield from bodies(node.item, *path, 0)
        case Named():
            yield from bodies(node.item, *path, "a")


def body_with(value: object, path: tuple[str | int, ...]) -> Any:
    """Return a body that has nothing but a value at a path."""
    for key in reversed(path):
        value = [value] if key == 0 else {key: value}
    return value


def is_accepted(body: Any) -> bool:
    try:
        parse_vm("web-1", body, is_stored=True)
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize("path", [*bodies(vm_tree())], ids=lambda path: ".".join(map(str, path)))
def test_vm_body_that_is_accepted_fits_its_schema(path: tuple[str | int, ...]) -> None:
    schema = {"$ref": "#/components/schemas/VmInput", "components": DOCUMENT["components"]}
    fits = jsonschema_rs.Draft202012Validator(schema).is_valid
    wrong = [v for v in VALUES if is_accepted(body_with(v, path)) and not fits(body_with(v, path))]
    assert wrong == []
