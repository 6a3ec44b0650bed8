"""The request checks one by one; the goldens judge whole responses."""

import json

import pytest

from openimds.facts.versions import NEWEST, catalog
from openimds.protocol.checks import check
from openimds.protocol.handle import Subject, handle
from openimds.protocol.request import parse_query
from openimds.protocol.response import Refusal, Response, refuse, throttled
from openimds.vm.types import Vm

TODAY = catalog()
SUBJECT = Subject(Vm("web-1"), TODAY)
NOW_S = 1_795_377_286.0


def say(target: str, method: str = "GET", about: Subject = SUBJECT) -> Response | Refusal:
    reply = handle(parse_query(method, target.encode(), has_metadata_header=True), about, NOW_S)
    assert isinstance(reply, Response | Refusal)
    return reply


def test_the_first_check_that_refuses_wins() -> None:
    asked = parse_query("HEAD", b"/metadata/instance?x=1&x=2", is_forwarded=True)
    refusals = []
    for better in (
        {"method": "PUT"},
        {"has_metadata_header": True},
        {"method": "GET"},
        {"is_forwarded": False},
    ):
        found = check(asked, TODAY)
        assert found
        refusals.append(found.row.key)
        asked = type(asked)(**{**{n: getattr(asked, n) for n in asked.__struct_fields__}, **better})
    found = check(asked, TODAY)
    assert found
    assert [*refusals, found.row.key] == [
        "head",
        "header_missing",
        "verb_not_allowed",
        "forwarded",
        "duplicate_parameter",
    ]


@pytest.mark.parametrize("newest", ["2021-02-01", "2025-04-07", NEWEST])
def test_a_region_knows_its_versions_only(newest: str) -> None:
    region = Subject(Vm("web-1"), catalog(newest))
    reply = say("/metadata/instance?api-version=2099-01-01", about=region)
    assert isinstance(reply, Refusal)
    assert json.loads(reply.body)["newest-versions"][0] == newest
    listed = say("/metadata/versions", about=region)
    assert json.loads(listed.body)["apiVersions"][-1] == newest


def test_the_documented_error_of_2025_comes_out_to_the_byte() -> None:
    reply = say("/metadata/instance", about=Subject(Vm("web-1"), catalog("2025-04-07")))
    assert reply.body == (
        b'{"error":"Bad request. api-version is invalid or was not specified in the request. For '
        b'more information refer to aka.ms/azureimds","newest-versions":["2025-04-07",'
        b'"2024-07-17","2024-03-15"]}'
    )


@pytest.mark.parametrize(
    "target, key",
    [
        ("/metadata/scheduledevents?api-version=2021-12-13", "not_found"),
        ("/metadata/scheduledevents?api-version=2099-01-01", "version_unknown"),
        ("/metadata/scheduledevents", "version_unknown"),
        ("/metadata/instance?api-version=2020-07-01", "version_unknown"),
        ("/metadata/attested/document?api-version=2018-04-02", "version_unknown"),
        ("/metadata/loadbalancer?api-version=2019-11-01", "version_unknown"),
        ("/metadata/identity/oauth2/token?api-version=2018-02-01&resource=", "resource_missing"),
        ("/metadata/instance?api-version=2021-02-01&format=xml", "format_unknown"),
        ("/metadata/instance/none?api-version=2021-02-01&format=xml", "not_found"),
        ("/metadata/instance/compute/vmId?api-version=2021-02-01&format=JSON", "leaf_needs_text"),
    ],
)
def test_a_refusal_has_its_row(target: str, key: str) -> None:
    reply = say(target)
    assert isinstance(reply, Refusal)
    assert reply.row.key == key


def test_blanks_are_filled_as_json() -> None:
    reply = say('/metadata/loadbalancer?api-version="\\')
    assert json.loads(reply.body)["error"].startswith(
        'Parameter value is not allowed, or parameter value ""\\" is not allowed for parameter'
    )


def test_a_classic_vm_has_no_compute() -> None:
    classic = Subject(Vm("web-1", classic=True), TODAY)
    reply = say("/metadata/instance/compute?api-version=2021-02-01", about=classic)
    assert reply == refuse("not_found", parse_query("GET", b"/metadata/instance/compute"))


def test_the_root_is_one_step_above_the_instance() -> None:
    reply = say(f"/metadata?api-version={NEWEST}")
    below = say(f"/metadata/instance?api-version={NEWEST}")
    assert json.loads(reply.body) == {"instance": json.loads(below.body)}


@pytest.mark.parametrize(
    "target, body",
    [
        ("/metadata/instance?format=text", b"Too many requests"),
        ("/metadata/instance", b'{ "error": "Too many requests" }'),
        ("/metadata/versions?format=text", b'{ "error": "Too many requests" }'),
        ("/nowhere?format=text", b'{ "error": "Too many requests" }'),
        ("/metadata/loadbalancer", b'{"error":"Too many requests"}'),
        (
            "/metadata/identity/oauth2/token",
            (
                b'{"error":"invalid_request","error_description":"Temporarily throttled, too many '
                b'requests"}'
            ),
        ),
    ],
)
def test_a_throttled_query_has_the_body_of_its_category(target: str, body: bytes) -> None:
    reply = throttled(parse_query("GET", target.encode()))
    assert (reply.row.status, reply.body) == (429, body)


def test_cached_documents_are_bounded_and_of_their_own_vm() -> None:
    about = Subject(Vm("web-1"), TODAY)
    targets = [
        f"/metadata/instance?api-version={version}"
        for version in ("2017-08-01", "2019-06-01", "2021-02-01", "2021-02-01")
    ]
    fresh = [say(target, about=Subject(Vm("web-1"), TODAY)).body for target in targets]
    assert [say(target, about=about).body for target in targets] == fresh
    assert len(about.documents) <= 2
    other = Subject(Vm("web-2"), TODAY, documents=about.documents)
    assert json.loads(say(targets[-1], about=other).body)["compute"]["name"] == "web-2"
