"""Documents of the issuer that comes next: right ones, which only who pins the old one refuses."""

import json
from pathlib import Path

import pytest

from openimds.credentials.keys.files import KeyFileError
from openimds.credentials.pki.authority import CertificateAuthority, Part
from openimds.credentials.pki.chain_files import ExternalCa
from openimds.credentials.pki.document_signer import DocumentSigner
from openimds.credentials.pki.invalid_documents import ROTATIONS
from openimds.credentials.pki.verify import VerificationReport, verify
from tests.unit.credentials.pki.recorded import CREATED_S, NONCE, PAYLOAD
from tests.unit.credentials.pki.test_invalid_documents import PUBLIC, URL, serve
from tests.unit.credentials.pki.trust import certificates

each = pytest.mark.parametrize("scenario, part", ROTATIONS.items())


@pytest.fixture
def authority() -> CertificateAuthority:
    return CertificateAuthority.open(None, CREATED_S, public_url=URL)


def made(authority: CertificateAuthority, scenario: str = "") -> str:
    payload = json.dumps(json.loads(PAYLOAD), separators=(",", ":")).encode()
    return DocumentSigner(authority).document(payload, *PUBLIC, CREATED_S, scenario)


def judged(
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


def broken(report: VerificationReport) -> list[str]:
    return [check.name for check in report.checks if check.holds is False]


@each
def test_who_fetches_the_issuer_does_not_notice_and_who_pins_it_does(
    authority: CertificateAuthority, scenario: str, part: Part
) -> None:
    # Of the old bundle a reader that pins has everything, and still lacks the new intermediate.
    before = authority.bundle()
    document = made(authority, scenario)
    assert judged(document, before, authority, fetches=True).holds
    assert broken(judged(document, before, authority, fetches=False)) == ["chain"]
    # The new bundle brings what it lacked.
    assert judged(document, authority.bundle(), authority, fetches=False).holds
    # Nothing was replaced: the documents of before go on, under the issuer that is in use.
    assert judged(made(authority), before, authority, fetches=False).holds


@each
def test_the_next_issuer_is_made_once_and_is_not_in_use(
    authority: CertificateAuthority, scenario: str, part: Part
) -> None:
    generation, lineage = authority.generation, authority.chain_pem()
    first = authority.successor(part, CREATED_S).certificate
    assert authority.successor(part, CREATED_S).certificate == first
    assert (authority.generation, authority.chain_pem()) == (generation, lineage)
    offered = {
        certificates(one.pem.encode())[0]: one.in_use for one in authority.certificate_infos()
    }
    assert offered[first] is False


def test_a_real_replacement_ends_the_rehearsal(authority: CertificateAuthority) -> None:
    coming = authority.successor("intermediate", CREATED_S).certificate
    authority.rotate("intermediate", CREATED_S)
    assert coming not in certificates(authority.bundle())
    assert authority.successor("intermediate", CREATED_S).certificate != coming


def test_nothing_of_it_is_written(tmp_path: Path) -> None:
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
def test_an_issuer_of_ones_own_has_no_next_one(
    authority: CertificateAuthority, scenario: str, part: Part
) -> None:
    brought = ExternalCa(authority.successor("intermediate", CREATED_S))
    own = CertificateAuthority.open(None, CREATED_S, public_url=URL, brought=brought)
    with pytest.raises(KeyFileError, match=r"root\.key: not there"):
        made(own, scenario)
