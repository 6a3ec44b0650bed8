"""The payload to sign: by api-version, nonce and overrides."""

import json
from typing import Any

import pytest

from openimds.facts.versions import GENERAL, catalog
from openimds.protocol.attested_document import payload, to_bytes
from openimds.protocol.handle import Subject, handle, resume
from openimds.protocol.pending import PendingDocument, Signature
from openimds.protocol.request import parse_query
from openimds.protocol.response import Refusal, Response
from openimds.vm.fleet_file import parse_vm

RECORDED = (
    '{"licenseType":"","nonce":"20231002-183311","plan":{"name":"","product":"","publisher":""},'
    '"sku":"84sapha-gen2","subscriptionId":"6a73742d-8c0a-4b2d-9c60-67c592a0df50","timeStamp":'
    '{"createdOn":"10/02/23 12:33:11 -0000","expiresOn":"10/02/23 18:33:11 -0000"},"vmId":'
    '"6277b885-20b1-43ba-81a2-ee4e94e7c0af"}'
)
"""S25, asked with 2021-12-13 and without a nonce."""
RECORDED_S = 1_696_249_991.0
"""2023-10-02 12:33:11 UTC."""
SAP = {
    "sku": "84sapha-gen2",
    "subscriptionId": "6a73742d-8c0a-4b2d-9c60-67c592a0df50",
    "vmId": "6277b885-20b1-43ba-81a2-ee4e94e7c0af",
    "location": "northeurope",
}


def ask(version: str, more: str = "", **fields: Any) -> Refusal | PendingDocument:
    target = f"/metadata/attested/document?api-version={version}{more}"
    asked = parse_query("GET", target.encode(), has_metadata_header=True)
    got = handle(asked, Subject(parse_vm("web-1", fields), catalog()), RECORDED_S)
    assert isinstance(got, Refusal | PendingDocument)
    return got


def need(version: str, more: str = "", **fields: Any) -> PendingDocument:
    got = ask(version, more, **fields)
    assert isinstance(got, PendingDocument)
    return got


def test_the_recorded_payload_comes_out_to_the_byte() -> None:
    wanted = need("2021-12-13", compute=SAP)
    assert to_bytes(payload(wanted, RECORDED_S + 0.7)).decode() == RECORDED
    assert (wanted.domain, wanted.region) == ("metadata.azure.com", "northeurope")


@pytest.mark.parametrize("version", [row.name for row in GENERAL if row.name >= "2018-10-01"])
def test_members_appear_with_their_versions(version: str) -> None:
    since = {"subscriptionId": "2019-04-30", "sku": "2019-11-01", "licenseType": "2020-09-01"}
    expected = {"nonce", "plan", "timeStamp", "vmId"}
    expected |= {name for name, first in since.items() if version >= first}
    signed = payload(need(version), 0)
    assert signed.keys() == expected
    assert list(signed) == sorted(signed)


def test_no_document_exists_before_2018_10_01() -> None:
    got = ask("2018-04-02")
    assert isinstance(got, Refusal)
    assert got.row.key == "version_unknown"


@pytest.mark.parametrize("nonce", ["1234567890", "a", "A-b_c" + "9" * 27])
def test_a_nonce_is_signed_for_one_request_only(nonce: str) -> None:
    wanted = need("2021-02-01", f"&nonce={nonce}")
    assert wanted.is_once
    assert payload(wanted, 0)["nonce"] == nonce


@pytest.mark.parametrize("nonce", ["x" * 33, "a b", "a%22", "%C3%A9", "a.b", "a%0A"])
def test_a_malformed_nonce_is_refused(nonce: str) -> None:
    got = ask("2021-02-01", f"&nonce={nonce}")
    assert isinstance(got, Refusal)
    assert (got.status, got.row.key) == (400, "nonce_unfit")


def test_an_empty_nonce_is_no_nonce() -> None:
    wanted = need("2021-02-01", "&nonce=")
    assert not wanted.is_once
    assert payload(wanted, RECORDED_S)["nonce"] == "20231002-183311"


def test_overrides_win() -> None:
    attested = {
        "licenseType": "Windows_Server",
        "sku": "s",
        "subscriptionId": "u",
        "vmId": "v",
        "plan": {"product": "p"},
        "scenario": "expired-leaf",
    }
    wanted = need("2021-02-01", attested=attested, compute={"plan": {"name": "n", "product": "x"}})
    signed = payload(wanted, 0)
    assert signed["plan"] == {"name": "n", "product": "p", "publisher": ""}
    assert {name: signed[name] for name in ("licenseType", "sku", "subscriptionId", "vmId")} == {
        "licenseType": "Windows_Server",
        "sku": "s",
        "subscriptionId": "u",
        "vmId": "v",
    }
    assert wanted.scenario == "expired-leaf"


def test_a_classic_vm_has_its_vm_id_only() -> None:
    signed = payload(need("2021-02-01", classic=True), 0)
    assert signed.keys() == {"nonce", "timeStamp", "vmId"}


@pytest.mark.parametrize(
    "cloud, domain",
    [
        ("AzurePublicCloud", "metadata.azure.com"),
        ("AzureUSGovernmentCloud", "metadata.azure.us"),
        ("AzureChinaCloud", "metadata.azure.cn"),
        ("AzureGermanCloud", "metadata.microsoftazure.de"),
    ],
)
def test_every_cloud_has_its_domain(cloud: str, domain: str) -> None:
    assert need("2021-02-01", cloud=cloud).domain == domain


def test_the_body_is_documented_and_holds_for_a_second() -> None:
    asked = parse_query("GET", b"/metadata/attested/document", has_metadata_header=True)
    got = resume(asked, need("2021-02-01"), Signature("MII=", 300.5), 0)
    assert isinstance(got, Response)
    assert got.body == b'{"encoding":"pkcs7","signature":"MII="}'
    assert json.loads(got.body)["encoding"] == "pkcs7"
    assert got.until_s == 1, "a rotation shows with the next second"
    assert resume(asked, need("2021-02-01"), Signature("MII=", 300.5), 300.2).until_s == 300.5
