"""The VM of a transcript, with the values of its answers."""

import json
from typing import Any

import pytest

from openimds.facts.versions import NEWEST
from openimds.interop.transcript.file import Transcript
from openimds.interop.transcript.to_vm import CapturedVm, captured_vm
from tests.support.transcripts import (
    a_document,
    a_transcript,
    an_answer,
    an_exchange,
    compact,
)
from tests.unit.vm.refused import Refused, refused

COMPUTE = {"name": "web-1", "sku": "server", "vmId": "v", "licenseType": ""}
BODY = {"compute": COMPUTE, "network": {"interface": []}}
BALANCER = {
    "loadbalancer": {
        "publicIpAddresses": [{"frontendIpAddress": "20.1.2.3", "privateIpAddress": "10.0.0.4"}],
        "inboundRules": [],
        "outboundRules": [],
    }
}


def value(*exchanges: Any, is_redacted: bool = False) -> object:
    held: Transcript = a_transcript(*exchanges, is_redacted=is_redacted)
    return json.loads(held.to_bytes())


def signed(version: str, payload: str) -> Any:
    target = f"/metadata/attested/document?api-version={version}&nonce=1"
    return an_exchange(target, an_answer("{}", signed=payload), "attested", version)


def balancer(version: str, body: object, status: int = 200) -> Any:
    target = f"/metadata/loadbalancer?api-version={version}"
    return an_exchange(target, an_answer(compact(body), status), "balancer", version)


def named(*versions: object) -> Any:
    body = compact({"apiVersions": versions})
    return an_exchange("/metadata/versions", an_answer(body), "versions")


def test_body_alone_is_a_vm() -> None:
    found = captured_vm({"compute": {"name": "a", "brandNew": "x"}}, "vm-1")
    assert (found.vm.name, found.set_aside, found.remarks) == ("a", ("compute.brandNew",), ())


def test_newest_document_is_used() -> None:
    older = {"compute": {"name": "old"}, "network": {}}
    refusal = an_answer('{"error":"x"}', 400)
    later = an_exchange("/metadata/instance?api-version=2099-01-01", refusal)
    held = value(a_document("2021-02-01", BODY), a_document("2017-08-01", older), later)
    found = captured_vm(held, "vm-1")
    assert (found.vm.name, found.vm.document) == ("web-1", BODY)
    assert (found.vm.load_balancer, found.vm.attested, found.remarks) == (None, None, ())


def test_extended_document_of_a_version_wins() -> None:
    extended = {**BODY, "extended": {"compute": {"hasCustomData": True}}}
    target = "/metadata/instance?api-version=2021-08-01&extended=true"
    fuller = an_exchange(target, an_answer(compact(extended)), "extended", "2021-08-01")
    for held in (
        (fuller, a_document("2021-08-01", BODY)),
        (a_document("2021-08-01", BODY), fuller),
    ):
        assert captured_vm(value(*held), "vm-1").vm.document == extended


def test_parts_texts_and_other_methods_are_no_documents() -> None:
    body = an_answer(compact({"compute": {"name": "wrong"}}))
    others = [
        an_exchange("/metadata/instance/compute?api-version=2099-01-01", body),
        an_exchange("/metadata/instance?api-version=2099-01-01&format=text", body),
        an_exchange("/metadata/instance?api-version=2099-01-01", body, method="OPTIONS"),
        an_exchange("/metadata/instance?api-version=2098-01-01", failure="hung"),
        an_exchange("/metadata/instance?api-version=2099-01-02", an_answer("<html>")),
        an_exchange("/metadata/instance?api-version=2099-01-03", an_answer("[]")),
        an_exchange("/metadata/instance?api-version=2099-01-04", an_answer(b"\xff")),
    ]
    assert captured_vm(value(*others, a_document("2021-02-01", BODY)), "vm-1").vm.name == "web-1"


def test_unknown_member_is_set_aside() -> None:
    held = value(a_document("2021-02-01", {"compute": {"brandNew": "x"}, "network": {}}))
    assert captured_vm(held, "vm-1").set_aside == ("compute.brandNew",)
    assert captured_vm(held, "vm-1").vm.name == "vm-1"


def test_newest_load_balancer_is_used() -> None:
    held = value(
        a_document("2021-02-01", BODY),
        balancer("2021-02-01", BALANCER),
        balancer("2020-10-01", {"loadbalancer": {}}),
        balancer("2025-04-07", {"error": "x"}, 404),
    )
    assert captured_vm(held, "vm-1").vm.load_balancer == BALANCER["loadbalancer"]


def test_unknown_member_of_a_load_balancer_is_dropped() -> None:
    body = {"loadbalancer": {"inboundRules": [{"frontendPort": 80, "brandNew": 1}]}}
    found = captured_vm(value(a_document("2021-02-01", BODY), balancer("2021-02-01", body)), "vm-1")
    assert found.vm.load_balancer == {"inboundRules": [{"frontendPort": 80}]}
    assert found.set_aside == ("loadBalancer.inboundRules[0].brandNew",)


def test_signed_document_overrides_differing_members() -> None:
    payload = {"vmId": "v", "sku": "other", "licenseType": "", "nonce": "1", "plan": {"name": "p"}}
    held = value(
        signed("2018-10-01", compact({"vmId": "old"})),
        signed("2021-02-01", compact(payload)),
        signed("2025-04-07", ""),
        a_document("2021-02-01", BODY),
    )
    assert captured_vm(held, "vm-1").vm.attested == {"sku": "other", "plan": {"name": "p"}}


@pytest.mark.parametrize("payload", [compact({"vmId": "v", "sku": "server"}), "[]", "no JSON"])
def test_equal_signed_document_adds_nothing(payload: str) -> None:
    held = value(a_document("2021-02-01", BODY), signed("2021-02-01", payload))
    assert captured_vm(held, "vm-1").vm.attested is None


def test_classic_vm_has_its_id_from_the_signed_document() -> None:
    body: dict[str, Any] = {"network": {"interface": []}}
    held = value(a_document("2021-02-01", body), signed("2021-02-01", compact({"vmId": "v"})))
    found = captured_vm(held, "vm-1")
    assert (found.vm.classic, found.vm.attested) == (True, {"vmId": "v"})


@pytest.mark.parametrize(
    "versions,remarks",
    [
        (
            ("2017-03-01", "2023-07-01", "2099-01-01", 7),
            ("its region knew no later api-version: --newest-version 2023-07-01 is like it",),
        ),
        (("2017-03-01", NEWEST), ()),
        (("2099-01-01",), ()),
        ((), ()),
    ],
)
def test_older_region_is_remarked(versions: tuple[object, ...], remarks: tuple[str]) -> None:
    held = value(named(*versions), a_document("2021-02-01", BODY))
    assert captured_vm(held, "vm-1").remarks == remarks


def test_malformed_list_of_versions_is_ignored() -> None:
    odd = an_exchange("/metadata/versions", an_answer('{"apiVersions":"2017-03-01"}'))
    assert captured_vm(value(odd, a_document("2021-02-01", BODY)), "vm-1").remarks == ()


def test_redacted_transcript_is_remarked() -> None:
    held = value(a_document("2021-02-01", BODY), is_redacted=True)
    found: CapturedVm = captured_vm(held, "vm-1")
    assert found.remarks == ("its ids, names, keys and addresses are placeholders",)


def test_transcript_without_a_document_is_refused() -> None:
    assert refused(captured_vm, value(named("2021-02-01")), "vm-1") == Refused(
        "exchanges",
        "no document of /metadata/instance",
        "one at least, answered with status 200",
        "Capture again, on the VM itself",
    )


def test_malformed_document_is_refused_with_its_version() -> None:
    held = value(a_document("2021-02-01", {"compute": {"zone": 1}, "network": {}}))
    where, seen, *_ = refused(captured_vm, held, "vm-1")
    assert (where, seen) == ("the document at 2021-02-01: compute.zone", "the number 1")
