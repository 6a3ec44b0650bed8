"""The certificates of attested documents over the admin API."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from openimds.admin.handlers import certificates
from openimds.credentials.pki.authority import PARTS
from openimds.credentials.pki.invalid_documents import SCENARIOS
from openimds.facts.faults import BAD_DOCUMENTS
from tests.unit.admin.setup import AdminServer


def ask(folder: Path, *calls: tuple[str, str]) -> list[Any]:
    async def play() -> list[Any]:
        server = AdminServer(folder)
        return [await server.api.request(method, path) for method, path in calls]

    return asyncio.run(play())


def test_certificates_are_listed_with_their_public_facts(tmp_path: Path) -> None:
    (got,) = ask(tmp_path, ("GET", "/v1/certificates"))
    body = got.json()
    assert [one["isRoot"] for one in body["items"]] == [False, False, True]
    for one in body["items"]:
        certificate = x509.load_pem_x509_certificate(one["pem"].encode())
        assert one["subject"] == certificate.subject.rfc4514_string()
        assert one["sha256"] == certificate.fingerprint(SHA256()).hex()
        assert one["notAfter"] == certificate.not_valid_after_utc.isoformat()
        assert one["inUse"] is True
    bundle = x509.load_pem_x509_certificates(body["bundle"].encode())
    assert {one.subject.rfc4514_string() for one in bundle} == {
        one["subject"] for one in body["items"]
    }
    assert "PRIVATE" not in got.text


@pytest.mark.parametrize(
    "part, still",
    [("leaf", [False, False, True]), ("intermediate", [False, True]), ("root", [])],
)
def test_replaced_certificate_stays_published(tmp_path: Path, part: str, still: list[bool]) -> None:
    """`still` tells of each certificate that is in use still whether it is the root."""
    before, after = ask(
        tmp_path, ("GET", "/v1/certificates"), ("POST", f"/v1/certificates/rotate?part={part}")
    )
    assert after.status_code == 200
    old = {one["sha256"] for one in before.json()["items"]}
    assert old <= {one["sha256"] for one in after.json()["items"]}
    used = [one for one in after.json()["items"] if one["inUse"]]
    assert [one["isRoot"] for one in used if one["sha256"] in old] == still
    assert any(one["isRoot"] for one in used)


@pytest.mark.parametrize("query", ["", "?part=", "?part=trunk"])
def test_unknown_part_is_a_400(tmp_path: Path, query: str) -> None:
    (got,) = ask(tmp_path, ("POST", f"/v1/certificates/rotate{query}"))
    assert got.status_code == 400
    assert got.json()["detail"].endswith("expected one of leaf, intermediate, root")


@pytest.mark.parametrize(
    "maker, names",
    [
        ("amd", ["SEV-Milan", "ARK-Milan", "SEV-Genoa", "ARK-Genoa"]),
        ("intel", ["Intel SGX PCK Platform CA", "Intel SGX Root CA"]),
    ],
)
def test_certificates_of_a_maker_are_listed_without_keys(
    tmp_path: Path, maker: str, names: list[str]
) -> None:
    (got,) = ask(tmp_path, ("GET", f"/v1/certificates/hardware?of={maker}"))
    items = got.json()["items"]
    assert [f"CN={name}" in one["subject"] for one, name in zip(items, names, strict=True)] == (
        [True] * len(names)
    )
    assert [one["isRoot"] for one in items] == [False, True] * (len(names) // 2)
    assert "PRIVATE" not in got.text


@pytest.mark.parametrize("query", ["", "?of=", "?of=arm"])
def test_unknown_maker_is_a_400(tmp_path: Path, query: str) -> None:
    (got,) = ask(tmp_path, ("GET", f"/v1/certificates/hardware{query}"))
    assert got.status_code == 400
    assert got.json()["detail"].lower().endswith("expected one of amd, intel")


def test_rotation_takes_a_generation(tmp_path: Path) -> None:
    (got,) = ask(tmp_path, ("POST", "/v1/certificates/rotate?part=intermediate&generation=2019"))
    subjects = [one["subject"] for one in got.json()["items"] if one["inUse"]]
    assert subjects[0] == "CN=OpenIMDS IT TLS CA 02,O=OpenIMDS"


@pytest.mark.parametrize(
    "query, detail",
    [
        ("part=leaf&generation=2019", "expected part=intermediate or part=root"),
        ("part=root&generation=2020", "Expected one of 2019, 2021, 2023, 2024, 2026"),
    ],
)
def test_misplaced_or_unknown_generation_is_a_400(tmp_path: Path, query: str, detail: str) -> None:
    (got,) = ask(tmp_path, ("POST", f"/v1/certificates/rotate?{query}"))
    assert got.status_code == 400
    assert detail in got.json()["detail"]


def test_revoked_intermediate_is_replaced_and_listed(tmp_path: Path) -> None:
    before, after, listed = ask(
        tmp_path,
        ("GET", "/v1/certificates/revocation"),
        ("POST", "/v1/certificates/revoke?target=intermediate&reason=cACompromise"),
        ("GET", "/v1/certificates/revocation"),
    )
    used = {one["serial"]: one for one in before.json()["certificates"]}
    assert {one["inUse"] for one in used.values()} == {True}
    assert after.status_code == 200
    assert after.json() == listed.json()
    (revoked,) = [one for one in after.json()["certificates"] if one.get("revokedAt")]
    assert (revoked["reason"], revoked["inUse"]) == ("cACompromise", False)
    assert revoked["serial"] in used
    (crl,) = [one for one in after.json()["lists"] if one["revoked"]]
    (entry,) = x509.load_pem_x509_crl(crl["pem"].encode())
    assert f"{entry.serial_number:X}" == revoked["serial"].lstrip("0")


@pytest.mark.parametrize(
    "query, detail",
    [
        ("", 'target "": saw no such'),
        ("target=12", 'target "12": saw no such certificate'),
        ("target=leaf", 'target "leaf": saw no such certificate'),
        ("target=intermediate&reason=boredom", "Expected one of unspecified, "),
    ],
)
def test_bad_revocation_is_a_400(tmp_path: Path, query: str, detail: str) -> None:
    (got,) = ask(tmp_path, ("POST", f"/v1/certificates/revoke?{query}"))
    assert got.status_code == 400
    assert detail.lower() in got.json()["detail"].lower()


def test_parts_of_the_chain_are_those_of_the_authority() -> None:
    assert tuple(PARTS) == certificates.PARTS


def test_scenarios_of_the_facts_can_all_be_played() -> None:
    assert tuple(SCENARIOS) == BAD_DOCUMENTS
