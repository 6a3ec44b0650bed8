"""The requests of confidential VMs."""

import json
from base64 import b64encode, urlsafe_b64encode
from hashlib import sha512
from typing import Any

import pytest

from openimds.facts.confidential import AMD_PRODUCTS, Processor
from openimds.facts.versions import catalog
from openimds.protocol.confidential import processor
from openimds.protocol.handle import Subject, handle, resume
from openimds.protocol.pending import (
    Endorsement,
    Failed,
    Pending,
    PendingEndorsement,
    PendingQuote,
    Quote,
)
from openimds.protocol.request import parse_query
from openimds.protocol.response import Refusal, Response
from openimds.vm.fleet_file import parse_vm
from openimds.vm.types import Vm

THIM, QUOTE = "/metadata/THIM/amd/certification", "/acc/tdquote"
VM_ID = "6277b885-20b1-43ba-81a2-ee4e94e7c0af"
REPORT = bytes(range(256)) * 4


def a_vm(size: str) -> Vm:
    return parse_vm("web-1", {"compute": {"vmSize": size, "vmId": VM_ID}})


def ask(
    target: str, size: str = "Standard_DC4as_v5", method: str = "GET", **more: Any
) -> Response | Refusal | Pending:
    query = parse_query(method, target.encode(), **{"has_metadata_header": True, **more})
    return handle(query, Subject(a_vm(size), catalog()), 0)


def quote(body: bytes, size: str = "Standard_DC4es_v5") -> Response | Refusal | Pending:
    return ask(QUOTE, size, "POST", has_metadata_header=False, body=body)


@pytest.mark.parametrize(
    "size, maker",
    [
        ("Standard_DC4as_v5", Processor.AMD),
        ("standard_ec96ads_v5", Processor.AMD),
        ("Standard_DC8as_cc_v5", Processor.AMD),
        ("Standard_DC2as_v6", Processor.AMD),
        ("Standard_NCC40ads_H100_v5", Processor.AMD),
        ("Standard_DC4es_v5", Processor.INTEL),
        ("Standard_EC4eds_v6", Processor.INTEL),
        ("Standard_DC2ds_v3", None),
        ("Standard_DC2s", None),
        ("Standard_D4as_v5", None),
        ("Standard_E4es_v5", None),
        ("", None),
    ],
)
def test_processor_follows_from_the_size(size: str, maker: Processor | None) -> None:
    assert processor(a_vm(size)) is maker


def test_endorsement_without_parameters_is_that_of_the_machine() -> None:
    chip = sha512(VM_ID.encode()).digest()
    expected = PendingEndorsement("web-1", "Milan", chip, AMD_PRODUCTS["milan"].tcb)
    assert ask(THIM) == expected
    assert not expected.is_once, "it may be cached"


@pytest.mark.parametrize(
    "size, product",
    [
        ("Standard_DC4as_v6", "Genoa"),
        ("Standard_EC4as_v5", "Milan"),
        ("Standard_DC4as_v9", "Genoa"),
    ],
)
def test_line_of_processors_follows_from_the_size(size: str, product: str) -> None:
    pending = ask(THIM, size)
    assert isinstance(pending, PendingEndorsement)
    assert pending.product == product


def test_parameters_choose_line_processor_and_versions() -> None:
    query = f"?tcbVersion=D315000000000004&platformId={'aB' * 64}&productName=genoa"
    expected = PendingEndorsement("web-1", "Genoa", b"\xab" * 64, 0xD315_0000_0000_0004)
    assert ask(THIM + query) == expected


def test_version_of_zeros_is_the_present_one() -> None:
    assert ask(f"{THIM}?tcbVersion={'0' * 16}") == ask(THIM)


@pytest.mark.parametrize(
    "query",
    [
        "tcbVersion=D31500000000000",
        "tcbVersion=D3150000000000040",
        "tcbVersion=xyz1500000000000",
        "tcbVersion=0x15000000000004",
        "tcbVersion=+315000000000004",
        f"platformId={'ab' * 63}",
        f"platformId={'ab' * 65}",
        f"platformId={'zz' * 64}",
        f"platformId={'ab ' * 42}ab",
        "productName=Turin",
        "productName=Milan-B0",
    ],
)
def test_unfit_parameter_is_a_400(query: str) -> None:
    refused = ask(f"{THIM}?{query}")
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.row.key) == (400, "collateral_unfit")


def test_endorsement_without_the_header_is_a_400() -> None:
    refused = ask(THIM, has_metadata_header=False)
    assert isinstance(refused, Refusal)
    assert refused.row.key == "header_missing"


@pytest.mark.parametrize("size", ["Standard_D2s_v5", "Standard_DC4es_v5"])
def test_endorsement_of_another_machine_is_a_404(size: str) -> None:
    refused = ask(THIM, size)
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.row.key) == (404, "not_found")


def test_body_of_an_endorsement_has_four_members_in_order() -> None:
    query = parse_query("GET", THIM.encode(), has_metadata_header=True)
    pending = PendingEndorsement("web-1", "Milan", bytes(64), 0x0B)
    response = resume(query, pending, Endorsement("VCEK\n", "ASK\nARK\n"), 0)
    assert isinstance(response, Response)
    assert response.body == (
        b'{"vcekCert":"VCEK\\n","tcbm":"000000000000000B","certificateChain":"ASK\\nARK\\n",'
        b'"cacheControl":"86400"}'
    )


@pytest.mark.parametrize(
    "text",
    [
        b64encode(REPORT),
        urlsafe_b64encode(REPORT),
        urlsafe_b64encode(REPORT).rstrip(b"="),
    ],
    ids=["base64", "base64url", "unpadded"],
)
def test_report_is_taken_in_each_alphabet_without_the_header(text: bytes) -> None:
    wanted = PendingQuote("web-1", REPORT)
    assert quote(b'{"report":"%b"}' % text) == wanted
    assert wanted.is_once, "a quote is never cached"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"report":5}',
        b'{"report":"!!!!"}',
        b'{"report":"\xc3\xa4"}',
        b'{"report":"%b"}' % b64encode(REPORT[:-1]),
        b'{"report":"%b"}' % b64encode(REPORT + b"x"),
        b"[" * 60000,
    ],
)
def test_unfit_report_is_a_400(body: bytes) -> None:
    refused = quote(body)
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.row.key) == (400, "report_unfit")


def test_quote_of_another_machine_is_a_404() -> None:
    refused = quote(b'{"report":"%b"}' % b64encode(REPORT), "Standard_DC4as_v5")
    assert isinstance(refused, Refusal)
    assert refused.row.key == "not_found"


def test_quote_by_get_is_a_405() -> None:
    refused = ask(QUOTE, "Standard_DC4es_v5")
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.headers) == (405, (("Allow", "POST"),))


def test_body_of_a_quote_is_its_text() -> None:
    query = parse_query("POST", QUOTE.encode())
    response = resume(query, PendingQuote("web-1", REPORT), Quote("BAAC"), 0)
    assert isinstance(response, Response)
    assert json.loads(response.body) == {"quote": "BAAC"}


def test_full_queue_is_a_429() -> None:
    query = parse_query("POST", QUOTE.encode())
    refused = resume(query, PendingQuote("web-1", REPORT), Failed("throttled"), 0)
    assert isinstance(refused, Refusal)
    assert refused.status == 429
