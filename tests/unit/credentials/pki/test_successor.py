"""Valid documents of the next issuer, rejected only by clients that pin."""

import json
from pathlib import Path

import pytest

from openimds.credentials.keys.files import KeyFileError
from openimds.credentials.pki.authority import CertificateAuthority, Part
from openimds.credentials.pki.chain import ExternalCa
from openimds.credentials.pki.document_signer import DocumentSigner
from openimds.credentials.pki.invalid_documents import ROTATIONS
from openimds.credentials.pki.verify import VerificationReport, verify
from tests.unit.credentials.pki.openssl_verify import certificates
from tests.unit.credentials.pki.recordings import CREATED_S, NONCE, PAYLOAD
from tests.unit.credentials.pki.test_invalid_documents import PUBLIC, URL, serve

each = pytest.mark.parametrize("scenario, part", ROTATIONS.items())


@pytest.fixture
def authority() -> CertificateAuthority:
    return CertificateAuthority.open(None, CREATED_S, public_url=URL)


def make(authority: CertificateAuthority, scenario: str = "") -> str:
    payload = json.dumps(json.loads(PAYLOAD), separators=(",", ":")).encode()
    return DocumentSigner(authority).document(payload, *PUBLIC, CREATED_S, scenario)


def check(
    document: str, trust: bytes, authority: CertificateAuthority, *, fetches: bool
) -> VerificationReport:
    return verify(
        document,
        trust=trust,
        nonce=NONCE,
        at_s=CREATED_S,
        fetch=serve(authority) if fetches else None,
        domain="metadata.azure.com",
    )


def failures(report: VerificationReport) -> list[str]:
    return [item.name for item in report.checks if item.holds is False]


@each
def test_new_issuer_fails_only_for_a_client_that_pins(
    authority: CertificateAuthority, scenario: str, part: Part
) -> None:
    # A client that pins the old bundle lacks the new intermediate.
    before = authority.bundle()
    document = make(authority, scenario)
    assert check(document, before, authority, fetches=True).holds
    assert failures(check(document, before, authority, fetches=False)) == ["chain"]
    # The new bundle has it.
    assert check(document, authority.bundle(), authority, fetches=False).holds
    # Nothing was replaced: other documents still come from the issuer in use.
    assert check(make(authority), before, authority, fetches=False).holds


@each
def test_successor_is_made_once_and_is_not_in_use(
    authority: CertificateAuthority, scenario: str, part: Part
) -> None:
    generation, lineage = authority.generation, authority.chain_pem()
    first = authority.successor(part, CREATED_S).certificate
    assert authority.successor(part, CREATED_S).certificate == first
    assert (authority.generation, authority.chain_pem()) == (generation, lineage)
    infos = authority.certificate_infos()
    in_use = {certificates(info.pem.encode())[0]: info.in_use for info in infos}
    assert in_use[first] is False


def test_rotation_drops_the_successor(authority: CertificateAuthority) -> None:
    successor = authority.successor("intermediate", CREATED_S).certificate
    authority.rotate("intermediate", CREATED_S)
    assert successor not in certificates(authority.bundle())
    assert authority.successor("intermediate", CREATED_S).certificate != successor


def test_successor_is_not_written(tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    authority = CertificateAuthority.open(folder, CREATED_S, public_url=URL)
    before = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for part in ROTATIONS.values():
        authority.successor(part, CREATED_S)
    assert {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert (
        CertificateAuthority.open(folder, CREATED_S, public_url=URL).bundle() != authority.bundle()
    )


@each
def test_external_ca_has_no_successor(
    authority: CertificateAuthority, scenario: str, part: Part
) -> None:
    external_ca = ExternalCa(authority.successor("intermediate", CREATED_S))
    own = CertificateAuthority.open(None, CREATED_S, public_url=URL, external_ca=external_ca)
    with pytest.raises(KeyFileError, match=r"root\.key: missing"):
        make(own, scenario)
