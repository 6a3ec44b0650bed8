import base64
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from openimds.credentials.pki.authority import CertificateAuthority
from openimds.credentials.pki.chain import ExternalCa
from openimds.credentials.pki.cms import open_envelope
from openimds.credentials.pki.document_signer import DocumentSigner
from openimds.credentials.pki.invalid_documents import (
    SCENARIOS,
    invalid_document,
    invalid_payload,
)
from openimds.credentials.pki.verify import VerificationReport, verify
from openimds.errors import ConfigError
from tests.unit.credentials.pki.recordings import CREATED_S, NONCE, PAYLOAD

URL = "http://127.0.0.1:8169"
PUBLIC = ("metadata.azure.com", "northeurope")
HOUR_S = 3600


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    return CertificateAuthority.open(None, CREATED_S, public_url=URL)


@pytest.fixture(scope="module")
def document_signer(authority: CertificateAuthority) -> DocumentSigner:
    return DocumentSigner(authority)


def serve(authority: CertificateAuthority) -> Callable[[str], bytes]:
    """Return a fetch function that serves the published certificates of a CA."""

    def fetch(url: str) -> bytes:
        name = url.removeprefix(f"{URL}/pkiops/certs/").removesuffix(".crt")
        if name not in authority.published():
            raise OSError("status 404")
        return authority.published()[name]

    return fetch


def check(document: str, authority: CertificateAuthority) -> VerificationReport:
    return verify(
        document,
        trust=authority.bundle(),
        nonce=NONCE,
        at_s=CREATED_S,
        fetch=serve(authority),
        domain="metadata.azure.com",
    )


def make(document_signer: DocumentSigner, name: str) -> str:
    """Make a document as the server does: spoil the payload, then sign it."""
    members = invalid_payload(json.loads(PAYLOAD), name, CREATED_S)
    payload = json.dumps(members, separators=(",", ":")).encode()
    return document_signer.document(payload, *PUBLIC, CREATED_S, name)


def test_document_without_scenario_is_valid(
    document_signer: DocumentSigner, authority: CertificateAuthority
) -> None:
    document = document_signer.document(PAYLOAD, *PUBLIC, CREATED_S)
    assert open_envelope(base64.b64decode(document, validate=True)).payload == PAYLOAD
    report = check(document, authority)
    assert report.holds
    assert all(item.holds for item in report.checks)


@pytest.mark.parametrize(
    "name, failing, reason",
    [
        ("expired-leaf", "certificate times", "to 2023-10-02 11:33:11 UTC, but it is"),
        ("unknown-intermediate", "chain", "the certificate of the issuer CN=OpenIMDS TLS"),
        ("wrong-cloud", "name", "northeurope.metadata.microsoftazure.de"),
        ("stale-nonce", "nonce", 'saw "20231002-173311", expected "20231002-183311"'),
        ("expired-document", "times", "2023-10-02 05:33:11 to 2023-10-02 11:33:11 UTC, but"),
        ("tampered-payload", "signature", "the certificate's key did not sign this content"),
    ],
)
def test_scenario_fails_exactly_one_check(
    document_signer: DocumentSigner,
    authority: CertificateAuthority,
    name: str,
    failing: str,
    reason: str,
) -> None:
    report = check(make(document_signer, name), authority)
    failed = {item.name: item.detail for item in report.checks if item.holds is False}
    assert list(failed) == [failing]
    assert reason in failed[failing]


def test_scenarios_are_complete_rows() -> None:
    assert list(SCENARIOS) == [
        "expired-leaf",
        "unknown-intermediate",
        "wrong-cloud",
        "stale-nonce",
        "expired-document",
        "tampered-payload",
        "revoked-leaf",
    ]
    assert all(row.spoils and row.why and row.evidence for row in SCENARIOS.values())


def test_unknown_scenario_suggests_the_nearest() -> None:
    assert invalid_document("wrong-cloud").name == "wrong-cloud"
    with pytest.raises(ConfigError, match='Did you mean "stale-nonce"'):
        invalid_document("stale-nonse")


def test_orphaned_intermediate_is_of_our_root_and_made_once(
    document_signer: DocumentSigner, authority: CertificateAuthority
) -> None:
    issuers = set()
    for _ in range(2):
        der = base64.b64decode(
            document_signer.document(PAYLOAD, *PUBLIC, CREATED_S, "unknown-intermediate")
        )
        (leaf,) = open_envelope(der).certificates
        authority_id = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        issuers.add(authority_id.key_identifier)
    assert len(issuers) == 1
    orphan = authority.orphaned_intermediate(CREATED_S).certificate
    _, tier, _ = x509.load_pem_x509_certificates(authority.chain_pem())
    orphan.verify_directly_issued_by(tier)
    assert orphan not in map(x509.load_der_x509_certificate, authority.published().values())


def test_orphaned_intermediate_works_without_the_root_key() -> None:
    issuer = CertificateAuthority.open(None, CREATED_S).orphaned_intermediate(CREATED_S)
    authority = CertificateAuthority.open(
        None, CREATED_S, external_ca=ExternalCa(issuer), public_url=URL
    )
    document = DocumentSigner(authority).document(
        PAYLOAD, *PUBLIC, CREATED_S, "unknown-intermediate"
    )
    report = check(document, authority)
    assert [item.name for item in report.checks if item.holds is False] == ["chain"]


def test_wrong_cloud_differs_from_the_vms_cloud(document_signer: DocumentSigner) -> None:
    domain = "metadata.microsoftazure.de"
    document = document_signer.document(PAYLOAD, domain, "germanycentral", CREATED_S, "wrong-cloud")
    (leaf,) = open_envelope(base64.b64decode(document)).certificates
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [
        "germanycentral.metadata.azure.cn",
        "metadata.azure.cn",
    ]


@pytest.mark.parametrize(
    "before, after",
    [
        (b"6277b885-20b1-43ba-81a2-ee4e94e7c0af", b"0277b885-20b1-43ba-81a2-ee4e94e7c0af"),
        (b"0a", b"1a"),
        (b"", b"0"),
    ],
)
def test_tampered_payload_differs_only_in_vmid(
    document_signer: DocumentSigner, before: bytes, after: bytes
) -> None:
    payload = PAYLOAD.replace(b"6277b885-20b1-43ba-81a2-ee4e94e7c0af", before)
    document = document_signer.document(payload, *PUBLIC, CREATED_S, "tampered-payload")
    tampered = open_envelope(base64.b64decode(document)).payload
    assert tampered == payload.replace(b'"vmId":"' + before, b'"vmId":"' + after)


def test_stale_nonce_is_that_of_the_previous_request() -> None:
    members = json.loads(PAYLOAD)
    stale = invalid_payload(members, "stale-nonce", CREATED_S, "0123456789")
    assert stale == members | {"nonce": "0123456789"}
    assert list(stale) == list(members)
    assert members["nonce"] == NONCE, "the argument is unchanged"


@pytest.mark.parametrize("name", ["", "expired-leaf", "wrong-cloud", "tampered-payload"])
def test_other_scenarios_leave_the_payload_unchanged(name: str) -> None:
    assert invalid_payload(json.loads(PAYLOAD), name, CREATED_S, "x") == json.loads(PAYLOAD)


def test_expired_document_of_a_classic_vm_gets_no_times() -> None:
    assert invalid_payload({"vmId": "a"}, "expired-document", CREATED_S) == {"vmId": "a"}


@pytest.mark.parametrize(
    "name, message",
    [
        ("", ""),
        ("expired-leaf", "certificate has expired"),
        ("unknown-intermediate", "unable to get local issuer certificate"),
    ],
)
def test_openssl_rejects_the_chain_scenarios(
    document_signer: DocumentSigner,
    authority: CertificateAuthority,
    tmp_path: Path,
    name: str,
    message: str,
) -> None:
    (tmp_path / "bundle.pem").write_bytes(authority.bundle())
    der = base64.b64decode(document_signer.document(PAYLOAD, *PUBLIC, CREATED_S, name))
    openssl = subprocess.run(
        [
            *("openssl", "smime", "-verify", "-inform", "DER", "-CAfile", "bundle.pem"),
            *("-purpose", "any", "-attime", str(int(CREATED_S))),
        ],
        cwd=tmp_path,
        input=der,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (openssl.returncode == 0) is (name == "")
    assert message in openssl.stderr.decode()
