"""Redaction removes every value that identifies a VM, and nothing else."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openimds.facts.balancer import LISTS
from openimds.facts.document import FIELDS
from openimds.facts.events import MEMBERS
from openimds.facts.redaction import Redaction
from openimds.facts.versions import NEWEST
from openimds.interop.transcript import captured_vm, read, redact
from openimds.interop.transcript.exchange import Exchange, RecordedResponse
from openimds.interop.transcript.file import Transcript
from openimds.interop.transcript.sensitivity import REDACTIONS
from openimds.protocol.document import plan_at
from openimds.vm.defaults import complete
from openimds.vm.types import Vm
from tests.golden.test_goldens import HEAD
from tests.support.transcripts import (
    GUID,
    a_document,
    a_transcript,
    an_answer,
    an_exchange,
    compact,
    lines,
)

V = "api-version=2021-02-01"
ID = "6277b885-20b1-43ba-81a2-ee4e94e7c0af"
FIRST = "00000000-0000-0000-0000-000000000001"
SETS = "providers/Microsoft.Compute/virtualMachineScaleSets"


def bare(*exchanges: Exchange) -> list[RecordedResponse]:
    """Return the answers as they are shared."""
    found = [one.answer for one in redact(a_transcript(*exchanges)).exchanges]
    return [one for one in found if one]


def compute(**members: Any) -> Any:
    """Return what is left of a `compute`."""
    (response,) = bare(a_document("2021-02-01", {"compute": members}))
    return json.loads(response.body)["compute"]


def test_every_field_has_a_row() -> None:
    assert REDACTIONS["instance"].keys() == {row.path for row in FIELDS}


def test_every_member_of_a_load_balancer_has_a_row() -> None:
    known = {f"loadbalancer.{row.name}[].{name}" for row in LISTS for name in row.names}
    assert REDACTIONS["loadbalancer"].keys() == known


def test_only_the_description_of_an_event_is_free_text() -> None:
    rows = REDACTIONS["scheduledevents"]
    assert {f"Events[].{row.name}" for row in MEMBERS} <= {path.removesuffix("[]") for path in rows}
    assert [path for path in rows if rows[path] is Redaction.OTHER] == ["Events[].Description"]


def test_every_other_byte_of_a_document_stays() -> None:
    text = '{ "compute" : {"vmSize":"\\u0041" ,\n "name": "w\\u0065b"} }\n'
    (response,) = bare(an_exchange(f"/metadata/instance?{V}", an_answer(text)))
    assert response.body == '{ "compute" : {"vmSize":"\\u0041" ,\n "name": "name-1"} }\n'
    assert response.headers == tuple(
        line.replace(GUID, FIRST) for line in lines(len(response.body))
    )


def test_wrong_length_stays_wrong() -> None:
    response = an_answer(compact({"compute": {"name": "web"}}), headers=["content-length: 7"])
    (shared,) = bare(an_exchange(f"/metadata/instance?{V}", response))
    assert shared.headers == ("content-length: 7",)


def test_unknown_header_keeps_only_its_name() -> None:
    odd = ["X-Host:  secret ", "x-empty:", "Server: IMDS/1", f"x-id:{GUID}", "no colon"]
    (shared,) = bare(an_exchange("/metadata/nothing", an_answer("{}", headers=odd)))
    assert shared.headers == (
        "X-Host:  redacted ",
        "x-empty:",
        "Server: IMDS/1",
        f"x-id:{FIRST}",
        "no colon",
    )


@pytest.mark.parametrize(
    "target,text,left",
    [
        ("/metadata/instance/compute/name?format=text", "web", "name-1"),
        ("/metadata/instance/compute/vmSize?format=text", "Standard", "Standard"),
        ("/metadata/instance/compute?format=text", "name\nplan/\n", "name\nplan/\n"),
        ("/metadata/instance/compute?format=text", "name\nwe b", "name\nredacted"),
        ("/metadata/instance/compute?format=text", '{"name":"web"}', '{"name":"name-1"}'),
        ("/metadata?format=text", "instance/", "instance/"),
        ("/metadata?x=1", '{"instance":{"compute":{"name":"web"}}}', None),
        ("/metadata?x=1", '{"other":{"name":"web"}}', '{"other":{"name":"redacted-1"}}'),
        ("/metadata/instance", "half a docu", "redacted"),
        ("/metadata/nothing?format=text", "secret", "redacted"),
        ("/metadata/versions", '{"apiVersions":["2021-02-01"]}', '{"apiVersions":["2021-02-01"]}'),
    ],
)
def test_text_is_redacted_by_its_path(target: str, text: str, left: str | None) -> None:
    (response,) = bare(an_exchange(target, an_answer(text)))
    assert response.body == (left or '{"instance":{"compute":{"name":"name-1"}}}')


def test_attested_document_keeps_its_payload() -> None:
    signed = compact({"nonce": "1", "vmId": ID, "brandNew": "x"})
    body = compact({"encoding": "pkcs7", "signature": "MII="})
    response = an_answer(body, signed=signed)
    (shared,) = bare(an_exchange(f"/metadata/attested/document?{V}", response))
    assert shared.body == '{"encoding":"pkcs7","signature":"redacted"}'
    assert json.loads(shared.signed) == {
        "nonce": "1",
        "vmId": FIRST,
        "brandNew": "redacted-1",
    }


def test_load_balancer_keeps_its_rules() -> None:
    rule = {
        "frontendIpAddress": "[2603:1030::5]",
        "protocol": "tcp",
        "frontendPort": 80,
        "privateIpAddress": "10.1.2.4",
    }
    body = compact({"loadbalancer": {"inboundRules": [rule]}})
    (shared,) = bare(an_exchange(f"/metadata/loadbalancer?{V}", an_answer(body)))
    assert json.loads(shared.body)["loadbalancer"]["inboundRules"] == [
        {
            "frontendIpAddress": "[2001:db8::1]",
            "protocol": "tcp",
            "frontendPort": 80,
            "privateIpAddress": "10.0.0.1",
        }
    ]


def test_event_keeps_its_type_and_status() -> None:
    event = {
        "EventId": ID.upper(),
        "EventType": "Freeze",
        "Resources": ["_web-1", "web-1"],
        "Description": "of ann",
        "DurationInSeconds": 5,
    }
    body = compact({"DocumentIncarnation": 3, "Events": [event]})
    target = "/metadata/scheduledevents?api-version=2020-07-01"
    (shared,) = bare(an_exchange(target, an_answer(body)))
    assert json.loads(shared.body) == {
        "DocumentIncarnation": 3,
        "Events": [
            {
                "EventId": FIRST,
                "EventType": "Freeze",
                "Resources": ["_name-1", "name-1"],
                "Description": "redacted-1",
                "DurationInSeconds": 5,
            }
        ],
    }


def test_refusal_keeps_all_but_known_values() -> None:
    refusal = '{ "error": "Not found: Webserver-1 in instance" }'
    held = redact(
        a_transcript(
            a_document("2021-02-01", {"compute": {"name": "webserver-1", "plan": {}}}),
            an_exchange("/metadata/nothing", an_answer(refusal, 404)),
            an_exchange("/metadata/nothing?x", failure="webserver-1 reset"),
            an_exchange("/metadata/nothing?y", an_answer(b"\xff", 404)),
        )
    )
    _, first, second, third = held.exchanges
    assert first.answer
    assert first.answer.body == '{ "error": "Not found: name-1 in instance" }'
    assert second.failure == "name-1 reset"
    assert third.answer
    assert (third.answer.body, third.answer.body_base64) == ("redacted", "")


def test_name_that_is_a_word_of_azure_breaks_no_refusal() -> None:
    document = a_document(
        "2021-02-01", {"compute": {"name": "instance", "resourceGroupName": "ab"}}
    )
    refusal = an_exchange("/metadata/nothing", an_answer("instance ab", 404))
    assert bare(document, refusal)[1].body == "instance ab"


def test_turned_away_answer_is_redacted() -> None:
    one = an_exchange("/metadata/nothing", an_answer("{}"))
    away = an_answer("slow down", 429, headers=["X-Host: secret"])
    held = a_transcript(Exchange(one.question, one.version, one.request, one.answer, "", away))
    turned_away = redact(held).exchanges[0].turned_away
    assert turned_away
    assert (turned_away.body, turned_away.headers) == ("slow down", ("X-Host: redacted",))


@pytest.mark.parametrize(
    "url,left",
    [
        ("http://169.254.169.254", "http://169.254.169.254"),
        ("http://127.0.0.1:8169", "http://127.0.0.1:8169"),
        ("http://[::1]:8169", "http://[::1]:8169"),
        ("http://imds.acme.example", "http://redacted.invalid"),
    ],
)
def test_url_is_kept_if_its_host_is_well_known(url: str, left: str) -> None:
    from msgspec import structs

    held = redact(structs.replace(a_transcript(), url=url, left_out=("tokens",)))
    assert (held.url, held.is_redacted) == (left, True)
    assert held.left_out == (
        "tokens",
        "signatures and unreadable bodies, which --redact drops",
    )


def everything(vm: Vm) -> Transcript:
    """Return what all versions say of a VM."""
    bodies = {
        version: complete(vm, plan_at(version, is_extended=True))
        for version in ("2017-03-01", "2021-02-01", NEWEST)
    }
    texts = [
        an_exchange(f"/metadata/instance/compute/{name}?{V}&format=text", an_answer(str(text)))
        for name, text in bodies["2021-02-01"]["compute"].items()  # type: ignore[attr-defined]
        if isinstance(text, str)
    ]
    return a_transcript(*(a_document(*one) for one in bodies.items()), *texts)


def test_vm_with_every_field_keeps_no_secret() -> None:
    held = everything(HEAD.vm)
    shared = redact(held).to_bytes().decode().lower()
    secrets = [
        str(value).lower()
        for path, value in leaves(complete(HEAD.vm))
        if REDACTIONS["instance"][path] is not Redaction.KEPT
        and value not in ("", "true", "false", False)
    ]
    assert len(secrets) > 40
    # A name such as "web" or the number of a compartment is part of other words, or was nobody's.
    long = {one for one in secrets if len(one) > 6}
    assert {one for one in long if one in shared} == set()


def test_redacted_transcript_is_served_like_any_other() -> None:
    held = redact(everything(HEAD.vm))
    again = read(json.loads(held.to_bytes()))
    assert captured_vm(json.loads(again.to_bytes()), "vm-1").set_aside == ()
    assert redact(everything(HEAD.vm)).exchanges == held.exchanges


def leaves(node: Any, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(node, dict):
        return [
            one for key, value in node.items() for one in leaves(value, f"{path}.{key}".strip("."))
        ]
    if isinstance(node, list):
        return [one for value in node for one in leaves(value, f"{path}[]")]
    return [(path, node)]


SECRET = st.text("zqxjkvw", min_size=8, max_size=12)
"""Letters that hardly make a word of anybody else's."""
SHAPES = st.recursive(
    SECRET | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcdef"), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """A document whose secret values are made of rare letters, known members and unknown ones."""
    compute: dict[str, Any] = {
        name: draw(SECRET)
        for name in draw(
            st.sets(st.sampled_from(["name", "resourceGroupName", "vmId", "userData"]))
        )
    }
    secret = draw(SECRET)
    compute["resourceId"] = f"/subscriptions/{secret}/resourceGroups/{draw(SECRET)}/{draw(SECRET)}"
    compute["tags"] = ";".join(
        f"{draw(SECRET)}:{draw(SECRET)}" for _ in range(draw(st.integers(0, 2)))
    )
    compute["brandNew"] = draw(SHAPES)
    nic = {"macAddress": draw(SECRET), "ipv6": {"ipAddress": [{"privateIpAddress": draw(SECRET)}]}}
    return {"compute": compute, "network": {"interface": [nic]}, "future": draw(SHAPES)}


@settings(deadline=None, max_examples=60)
@given(documents(), st.sampled_from([None, 2]), SECRET)
def test_no_secret_survives_in_any_document(
    document: dict[str, Any], indent: int | None, header: str
) -> None:
    text = json.dumps(document, indent=indent)
    secrets = set(re.findall("[zqxjkvw]{8,}", text)) | {header}
    name = document["compute"].get("name", "")
    held = a_transcript(
        an_exchange(f"/metadata/instance?{V}", an_answer(text, headers=[f"X-Odd: {header}"])),
        an_exchange(f"/metadata/instance/compute/name?{V}&format=text", an_answer(name)),
        an_exchange("/metadata/nothing", an_answer(f"no {name} here", 404)),
    )
    shared = redact(held).to_bytes().decode()
    assert {one for one in secrets if one in shared} == set()
