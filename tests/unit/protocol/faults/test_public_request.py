"""Requests at the public listener: their documents, addresses, and the faults that match."""

from typing import Any

import pytest

from openimds.facts.effects import PublicResource
from openimds.protocol.faults.input import read_fault
from openimds.protocol.faults.matching import matches_public
from openimds.protocol.faults.public_request import PublicRequest, public_request

ISSUER = "/pkiops/certs/a.crt"
LIST = "/pkiops/crl/partition/a_Partition00001.crl"


@pytest.mark.parametrize(
    "path, host, resource, name, address",
    [
        ("/pkiops/certs/a.crt", "h", PublicResource.ISSUERS, "a.crt", "first"),
        ("/alternate/pkiops/certs/a.crt", "h", PublicResource.ISSUERS, "a.crt", "second"),
        (
            "/pkiops/certs/a.crt",
            "caissuers.microsoft.com",
            PublicResource.ISSUERS,
            "a.crt",
            "second",
        ),
        (LIST, "www.microsoft.com", PublicResource.LISTS, LIST[12:], "first"),
        (LIST, "CRL2.microsoft.com", PublicResource.LISTS, LIST[12:], "second"),
        ("/ocsp", "h", PublicResource.OCSP, "", "first"),
        ("/ocsp//MEI=", "h", PublicResource.OCSP, "/MEI=", "first"),
    ],
)
def test_document_and_address_are_read(
    path: str, host: str, resource: PublicResource, name: str, address: str
) -> None:
    got = public_request("GET", path, host)
    bare = path.removeprefix("/alternate")
    assert got == PublicRequest(resource, "GET", bare, name, address)
    assert public_request("GET", f"/base{path}", host, ["/other", "/base"]) == got
    assert public_request("GET", path, host, ["/base"]) == got


@pytest.mark.parametrize(
    "path", ["/", "/pki/bundle.pem", "/common/discovery/keys", "/pkiops/certsx/a", "/ocspx"]
)
def test_other_paths_have_no_faults(path: str) -> None:
    assert public_request("GET", path, "h") is None


@pytest.mark.parametrize(
    "members, expected",
    [
        ({}, True),
        ({"address": "first"}, False),
        ({"address": "second"}, True),
        ({"path": "/pkiops/crl"}, True),
        ({"path": "*partition00001*"}, True),
        ({"path": "/pkiops/certs"}, False),
        ({"method": "POST"}, False),
    ],
)
def test_fault_matches_by_its_selectors(members: dict[str, Any], *, expected: bool) -> None:
    asked = public_request("GET", f"/alternate{LIST}", "h")
    assert asked
    (spec,) = read_fault({"effect": "revocation-list", **members})
    assert matches_public(spec, asked) is expected
    (other,) = read_fault({"effect": "issuer-certificate"})
    assert not matches_public(other, asked)
