import base64
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from openimds.credentials.pki.authority import CertificateAuthority
from openimds.credentials.pki.chain_files import ExternalCa
from openimds.credentials.pki.cms import open_envelope
from openimds.credentials.pki.document_signer import DocumentSigner
from openimds.credentials.pki.invalid_documents import (
    SCENARIOS,
    invalid_document,
    invalid_payload,
)
from openimds.credentials.pki.verify import VerificationReport, verify
from openimds.errors import ConfigError
from tests.unit.credentials.pki.recorded import CREATED_S, NONCE, PAYLOAD

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
    """Return what fetches a certificate from a server that has just what the authority offers."""

    def fetch(url: str) -> bytes:
        name = url.removeprefix(f"{URL}/pki/").removesuffix(".crt")
        if name not in authority.published():
            raise OSError("status 404")
        return authority.published()[name]

    return fetch


def judged(document: str, authority: CertificateAuthority) -> VerificationReport:
    return verify(
        document,
        trust=authority.bundle(),
        nonce=NONCE,
        at_s=CREATED_S,
        fetch=serve(authority),
        domain="metadata.azure.com",
    )


def made(document_signer: DocumentSigner, name: str) -> str:
    """Return a document as the server makes it: the payload rehearsed, then signed."""
    said = invalid_payload(json.loads(PAYLOAD), name, CREATED_S)
    payload = json.dumps(said, separators=(",", ":")).encode()
    return document_signer.document(payload, *PUBLIC, CREATED_S, name)


def test_a_document_without_scenario_holds_and_is_one_line_of_base64(
    document_signer: DocumentSigner, authority: CertificateAuthority
) -> None:
    document = document_signer.document(PAYLOAD, *PUBLIC, CREATED_S)
    assert open_envelope(base64.b64decode(document, validate=True)).payload == PAYLOAD
    report = judged(document, authority)
    assert report.holds
    assert all(check.holds for check in report.checks)


@pytest.mark.parametrize(
    "name, check, reason",
    [
        ("expired-leaf", "certificate times", "to 2023-10-02 11:33:11 UTC, but it is"),
        ("unknown-intermediate", "chain", "no certificate of the issuer CN=OpenIMDS TLS Issuing"),
        ("wrong-cloud", "name", "northeurope.metadata.microsoftazure.de"),
        ("stale-nonce", "nonce", 'saw "20231002-173311", expected "20231002-183311"'),
        ("expired-document", "times", "2023-10-02 05:33:11 to 2023-10-02 11:33:11 UTC, but"),
        ("tampered-payload", "signature", "the certificate's key did not sign this content"),
    ],
)
def test_each_scenario_spoils_one_thing(
    document_signer: DocumentSigner,
    authority: CertificateAuthority,
    name: str,
    check: str,
    reason: str,
) -> None:
    report = judged(made(document_signer, name), authority)
    found = {one.name: one.detail for one in report.checks if one.holds is False}
    assert list(found) == [check]
    assert reason in found[check]


def test_the_scenarios_are_those_of_the_tests_above() -> None:
    assert list(SCENARIOS) == [
        "expired-leaf",
        "unknown-intermediate",
        "wrong-cloud",
        "stale-nonce",
        "expired-document",
        "tampered-payload",
    ]
    assert all(row.spoils and row.why and row.evidence for row in SCENARIOS.values())


def test_an_unknown_scenario_is_told_with_the_nearest() -> None:
    assert invalid_document("wrong-cloud").name == "wrong-cloud"
    with pytest.raises(ConfigError, match='Did you mean "stale-nonce"'):
        invalid_document("stale-nonse")


def test_an_unknown_intermediate_is_of_our_root_and_stays_the_same(
    document_signer: DocumentSigner, authority: CertificateAuthority
) -> None:
    issuers = set()
    for _ in range(2):
        der = base64.b64decode(
            document_signer.document(PAYLOAD, *PUBLIC, CREATED_S, "unknown-intermediate")
        )
        (leaf,) = open_envelope(der).certificates
        known = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        issuers.add(known.key_identifier)
    assert len(issuers) == 1
    stray = authority.stray(CREATED_S).certificate
    stray.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.root_pem()))
    assert stray not in map(x509.load_der_x509_certificate, authority.published().values())


def test_an_unknown_intermediate_can_be_had_where_the_roots_key_is_elsewhere() -> None:
    brought = ExternalCa(CertificateAuthority.open(None, CREATED_S).stray(CREATED_S))
    theirs = CertificateAuthority.open(None, CREATED_S, brought=brought, public_url=URL)
    document = DocumentSigner(theirs).document(PAYLOAD, *PUBLIC, CREATED_S, "unknown-intermediate")
    found = [check.name for check in judged(document, theirs).checks if check.holds is False]
    assert found == ["chain"]


def test_the_wrong_cloud_is_never_the_right_one(document_signer: DocumentSigner) -> None:
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
def test_a_forger_changes_only_the_vm(
    document_signer: DocumentSigner, before: bytes, after: bytes
) -> None:
    payload = PAYLOAD.replace(b"6277b885-20b1-43ba-81a2-ee4e94e7c0af", before)
    document = document_signer.document(payload, *PUBLIC, CREATED_S, "tampered-payload")
    found = open_envelope(base64.b64decode(document)).payload
    assert found == payload.replace(b'"vmId":"' + before, b'"vmId":"' + after)


def test_a_stale_nonce_is_that_of_the_request_before() -> None:
    said = json.loads(PAYLOAD)
    got = invalid_payload(said, "stale-nonce", CREATED_S, "0123456789")
    assert got == said | {"nonce": "0123456789"}
    assert list(got) == list(said)
    assert said["nonce"] == NONCE, "what was given stays as it was"


@pytest.mark.parametrize("name", ["", "expired-leaf", "wrong-cloud", "tampered-payload"])
def test_other_scenarios_leave_the_payload_alone(name: str) -> None:
    assert invalid_payload(json.loads(PAYLOAD), name, CREATED_S, "x") == json.loads(PAYLOAD)


def test_the_payload_of_a_classic_vm_gets_no_times_it_never_had() -> None:
    assert invalid_payload({"vmId": "a"}, "expired-document", CREATED_S) == {"vmId": "a"}


@pytest.mark.parametrize(
    "name, said",
    [
        ("", ""),
        ("expired-leaf", "certificate has expired"),
        ("unknown-intermediate", "unable to get local issuer certificate"),
    ],
)
def test_openssl_sees_what_is_wrong_with_a_chain(
    document_signer: DocumentSigner,
    authority: CertificateAuthority,
    tmp_path: Path,
    name: str,
    said: str,
) -> None:
    (tmp_path / "bundle.pem").write_bytes(authority.bundle())
    der = base64.b64decode(document_signer.document(PAYLOAD, *PUBLIC, CREATED_S, name))
    got = subprocess.run(
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
    assert (got.returncode == 0) is (name == "")
    assert said in got.stderr.decode()
