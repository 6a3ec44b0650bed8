import base64
import json
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import (
    PKCS7Options,
    PKCS7SignatureBuilder,
)
from cryptography.x509.oid import NameOID
from hypothesis import example, given, settings
from hypothesis import strategies as st

from openimds.credentials.pki.certificates import LeafSubject, Validity
from openimds.credentials.pki.cms import enclose
from openimds.credentials.pki.verify import NAMES, verify
from tests.swagger import files
from tests.unit.credentials.pki.recordings import (
    CREATED_S,
    CUT_SHORT,
    EXPIRES_S,
    NONCE,
    PAYLOAD,
    SAMPLE,
    SAMPLE_AT_S,
    SAMPLE_DER,
    SAMPLE_NONCE,
)
from tests.unit.credentials.pki.valid_document import (
    YEAR_S,
    authority,
    check,
    der,
    failures,
    leaf,
    payload_with,
    signed,
    text,
    unmade,
)


@pytest.mark.parametrize(
    "document",
    [
        json.dumps({"encoding": "pkcs7", "signature": text}),
        json.dumps({"encoding": "pkcs7", "signature": text}).encode() + b"\n",
        text,
        f"{text}\n",
        base64.encodebytes(der),
        der,
        b"-----BEGIN PKCS7-----\n" + base64.encodebytes(der) + b"-----END PKCS7-----\n",
    ],
    ids=["json", "json line", "base64", "base64 line", "base64 lines", "der", "pem"],
)
def test_valid_document_passes_in_every_encoding(document: bytes) -> None:
    report = check(document)
    assert [(item.name, item.holds) for item in report.checks] == [(name, True) for name in NAMES]
    assert report.holds
    assert report.payload == json.loads(PAYLOAD)


def test_path_to_the_root_is_in_the_detail() -> None:
    (chain,) = [item for item in check().checks if item.name == "chain"]
    assert chain.detail.startswith(
        "metadata.azure.com < OpenIMDS TLS G2 RSA CA OCSP 01 < OpenIMDS "
    )


# Documents from elsewhere.


def test_documented_sample_fails_only_by_its_missing_vmid() -> None:
    report = verify(SAMPLE, trust=None, nonce=SAMPLE_NONCE, at_s=SAMPLE_AT_S)
    assert failures(report) == {"payload": "vmId is missing"}
    assert unmade(report) == ["chain"]


def test_documented_sample_does_not_lead_to_our_root() -> None:
    report = check(SAMPLE_DER, nonce=SAMPLE_NONCE, at_s=SAMPLE_AT_S)
    assert failures(report)["chain"] == (
        "the certificate of the issuer CN=testsubdomain.metadata.azure.com is missing"
    )


def test_truncated_swagger_example_fails_by_its_encoding() -> None:
    report = check(CUT_SHORT)
    assert failures(report) == {
        "encoding": "base64 of 1319 characters, which is not a multiple of 4",
        "structure": "ContentInfo: it ends too early, by 1",
    }
    assert unmade(report) == [*NAMES[2:]]
    assert not report.holds


@pytest.mark.skipif(not files.FOLDER.is_dir(), reason=files.NO_FOLDER)
def test_every_swagger_example_is_the_truncated_one() -> None:
    examples = [*files.FOLDER.glob("*/examples/*ttestedData.json")]
    assert len(examples) == 23
    for path in examples:
        body = json.loads(path.read_text())["responses"]["200"]["body"]
        assert body["signature"] == CUT_SHORT, path
        assert set(failures(check(json.dumps(body)))) == {"encoding", "structure"}, path


def test_name_of_an_odd_string_type_gives_a_report() -> None:
    issuer = b"\x1eOpenIMDS TLS G2 RSA CA OCSP 01"
    assert der.count(b"\x0c" + issuer) == 2  # The leaf's issuer, and the signer's.
    for tag in (0x03, 0x04, 0x16, 0x1E):
        report = check(der.replace(b"\x0c" + issuer, bytes([tag]) + issuer))
        assert not report.holds
    for place in (0, 1):
        parts = der.split(b"\x0c" + issuer)
        tags = [b"\x0c", b"\x0c"]
        tags[place] = b"\x03"
        mixed = parts[0] + tags[0] + issuer + parts[1] + tags[1] + issuer + parts[2]
        assert not check(mixed).holds


# Encoding.


@pytest.mark.parametrize(
    "document, reason",
    [
        ("", "not the canonical base64 of its octets"),
        ("M!!!", "not base64: "),
        ("{", "not JSON: "),
        ("{" + '"a":[' * 100_000, "not JSON: "),
        ('{"error":"Not failed"}', 'saw the encoding null, expected "pkcs7"'),
        ('{"encoding":"cms","signature":"MAA="}', 'saw the encoding "cms", expected "pkcs7"'),
        ('{"encoding":"pkcs7"}', "the member signature is missing"),
        (
            json.dumps({"encoding": "pkcs7", "signature": text[:76] + "\n" + text[76:]}),
            "not base64:",
        ),
        ("\ud800", "not base64: "),
    ],
    ids=range(9),
)
def test_other_input_fails_by_its_encoding(document: str, reason: str) -> None:
    report = check(document)
    assert failures(report)["encoding"].startswith(reason)
    assert unmade(report) == [*NAMES[1:]]


def test_unused_bits_of_base64_must_be_zero() -> None:
    padded = base64.b64encode(SAMPLE_DER).decode()
    assert padded.endswith("rQ=")
    assert failures(check(padded.replace("rQ=", "rR="))).keys() == {"encoding"}


# Structure.


def test_ordinary_cms_message_fails_by_its_structure() -> None:
    message = (
        PKCS7SignatureBuilder()
        .set_data(PAYLOAD)
        .add_signer(leaf.certificate, leaf.key, SHA256())
        .add_certificate(x509.load_pem_x509_certificate(authority.chain_pem()))
        .sign(Encoding.DER, [PKCS7Options.Binary])
    )
    failed = failures(check(message))
    assert failed.keys() == {"structure", "signature"}
    assert failed["signature"] == "it does not cover the content directly"
    parts = [part.partition(":")[0] for part in failed["structure"].split("; ")]
    assert parts[:4] == [
        "digestAlgorithms",
        "the number of certificates",
        "the signer's digestAlgorithm",
        "the presence of signedAttrs",
    ]
    # Builders differ here: cryptography before 43 writes the OID of RSA with SHA-256.
    assert parts[4:] in ([], ["the signatureAlgorithm"])


def test_ordinary_digest_oid_breaks_only_the_structure() -> None:
    message = (
        PKCS7SignatureBuilder()
        .set_data(PAYLOAD)
        .add_signer(leaf.certificate, leaf.key, SHA256())
        .sign(Encoding.DER, [PKCS7Options.Binary, PKCS7Options.NoAttributes])
    )
    failed = failures(check(message))
    assert failed.keys() == {"structure"}
    assert "2.16.840.1.101.3.4.2.1" in failed["structure"]


def test_detached_message_is_checked_as_far_as_possible() -> None:
    options = [PKCS7Options.DetachedSignature, PKCS7Options.NoCerts, PKCS7Options.NoAttributes]
    message = (
        PKCS7SignatureBuilder()
        .set_data(PAYLOAD)
        .add_signer(leaf.certificate, leaf.key, SHA256())
        .sign(Encoding.DER, options)
    )
    report = check(message)
    assert failures(report).keys() == {"structure", "payload", "nonce"}
    assert unmade(report) == ["signature", "chain", "certificate times", "name", "times"]


def test_signer_of_another_certificate_breaks_the_structure() -> None:
    other = authority.leaf("metadata.azure.com", "westus", CREATED_S).certificate
    ours, theirs = (item.serial_number.to_bytes(19) for item in (leaf.certificate, other))
    at = der.rindex(ours)
    report = check(der[:at] + theirs + der[at + 19 :])
    assert failures(report)["structure"] == (
        "the presence of the signer's certificate: saw False, Azure's is True"
    )


# Signature.


def test_negative_serial_number_breaks_the_structure() -> None:
    serial = b"\x02\x13" + leaf.certificate.serial_number.to_bytes(19)
    negative = serial[:2] + b"\x80" + serial[3:]
    failed = failures(check(der.replace(serial, negative, 1)))
    assert failed == {"structure": "certificates: the serial number is not positive"}


def test_changed_payload_breaks_the_signature() -> None:
    report = check(der.replace(b"6277b885", b"6277b886"))
    assert failures(report) == {"signature": "the certificate's key did not sign this content"}


def test_unknown_digest_breaks_the_signature() -> None:
    odd = bytes.fromhex("2a864886f70d01010b")
    tail = der.rindex(odd)
    failed = failures(check(der[:tail] + odd[:-1] + b"\x0d" + der[tail + 9 :]))
    assert failed["signature"] == "its digest 1.2.840.113549.1.1.13 is not SHA-256"


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(der) - 1), st.integers(1, 255))
@example(len(der) - 1, 1)
def test_changed_octet_is_always_noticed(position: int, by: int) -> None:
    spoilt = bytearray(der)
    spoilt[position] ^= by
    assert not check(bytes(spoilt)).holds


def test_changed_lowest_bit_of_any_octet_is_noticed() -> None:
    unseen = []
    for position in range(len(der)):
        spoilt = bytearray(der)
        spoilt[position] ^= 1
        if check(bytes(spoilt)).holds:
            unseen.append(position)
    assert unseen == []


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, len(der)))
def test_arbitrary_input_gives_a_report(noise: bytes, position: int) -> None:
    for document in (noise, der[:position] + noise, der[:position] + noise + der[position:]):
        assert check(document).holds is (document == der)


def test_key_other_than_rsa_breaks_the_signature() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "metadata.azure.com")])
    other = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(datetime(2023, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2024, 1, 1, tzinfo=UTC))
        .sign(key, SHA256())
    )
    signature = key.sign(PAYLOAD, ec.ECDSA(SHA256()))
    failed = failures(check(enclose(PAYLOAD, other, signature)))
    assert failed.keys() == {"signature", "chain"}
    assert failed["signature"] == "the certificate's key is not RSA"


# Times of the certificate, and its name.


@pytest.mark.parametrize("shift_s, holds", [(0, True), (1, False)])
def test_leaf_is_valid_to_its_last_second(shift_s: int, holds: bool) -> None:
    validity = Validity(CREATED_S - YEAR_S, CREATED_S)
    leaf = authority.leaves.issue(LeafSubject("metadata.azure.com", ""), validity)
    document = signed(PAYLOAD, leaf)
    report = check(document, at_s=CREATED_S + shift_s)
    assert failures(report).keys() == (set() if holds else {"certificate times"})


def test_leaf_is_not_valid_before_its_begin() -> None:
    starts = leaf.certificate.not_valid_before_utc.timestamp()
    assert "certificate times" in failures(check(at_s=starts - 1))


@pytest.mark.parametrize(
    "subject, domain, holds",
    [
        (("metadata.azure.com", ""), "", True),
        (("metadata.azure.us", "usgovvirginia"), "", True),
        (("metadata.azure.cn", "chinaeast2"), "metadata.azure.cn", True),
        (("metadata.microsoftazure.de", "x"), "metadata.microsoftazure.de", True),
        (("metadata.azure.cn", "chinaeast2"), "metadata.azure.com", False),
        (("notmetadata.azure.com", ""), "", False),
        (("metadata.azure.com.example", ""), "", False),
    ],
)
def test_name_must_be_a_clouds_domain_or_below(
    subject: tuple[str, str], domain: str, holds: bool
) -> None:
    validity = Validity(CREATED_S - 60, CREATED_S + 60)
    document = signed(PAYLOAD, authority.leaves.issue(LeafSubject(*subject), validity))
    assert ("name" not in failures(check(document, domain=domain))) is holds


# The payload.


@pytest.mark.parametrize(
    "payload, reason",
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "vmId is missing"),
        (b'{"vmId":7}', "vmId is missing"),
    ],
)
def test_payload_without_vmid_fails(payload: bytes, reason: str) -> None:
    assert failures(check(signed(payload), nonce=None))["payload"].startswith(reason)


def test_unchecked_nonce_is_shown() -> None:
    report = check(nonce=None)
    (nonce,) = [item for item in report.checks if item.name == "nonce"]
    assert (nonce.holds, nonce.detail) == (None, f'not checked; the document\'s is "{NONCE}"')
    assert report.holds


@pytest.mark.parametrize("seen", [None, "", "20231002-183312"])
def test_another_nonce_fails(seen: str | None) -> None:
    shown = "none" if seen is None else f'"{seen}"'
    failed = failures(check(signed(payload_with(nonce=seen))))
    assert failed == {"nonce": f'saw {shown}, expected "{NONCE}"'}


@pytest.mark.parametrize(
    "at_s, holds",
    [(CREATED_S - 1, False), (CREATED_S, True), (EXPIRES_S - 1, True), (EXPIRES_S, False)],
)
def test_document_is_valid_from_creation_to_just_before_its_end(at_s: float, holds: bool) -> None:
    assert failures(check(at_s=at_s)).keys() == (set() if holds else {"times"})


def test_checked_time_is_in_the_detail() -> None:
    at_s = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()
    assert failures(check(at_s=at_s))["times"] == (
        "2023-10-02 12:33:11 to 2023-10-02 18:33:11 UTC, but it is 2024-01-02 03:04:05"
    )


@pytest.mark.parametrize(
    "stamp",
    [
        None,
        {},
        {"createdOn": "10/02/23 12:33:11 -0000"},
        {"createdOn": "10/02/23 12:33:11 -0000", "expiresOn": "2023-10-02T18:33:11Z"},
        {"createdOn": "10/02/23 12:33:11 -0000", "expiresOn": "10/02/23 18:33:11 +0000"},
        {"createdOn": "10/02/23 12:33:11 -0000", "expiresOn": "13/02/23 18:33:11 -0000"},
        {"createdOn": "10/2/23 12:33:11 -0000", "expiresOn": "10/02/23 18:33:11 -0000"},
        {"createdOn": 0, "expiresOn": 1},
    ],
)
def test_times_in_another_format_fail(stamp: object) -> None:
    assert "expected two like" in failures(check(signed(payload_with(timeStamp=stamp))))["times"]


def test_document_of_a_classic_vm_has_no_times_to_check() -> None:
    report = check(signed({"nonce": NONCE, "vmId": "a"}))
    assert unmade(report) == ["times"]
    assert report.holds


def test_signature_by_the_wrong_key_fails() -> None:
    wrong = enclose(PAYLOAD, leaf.certificate, bytes(256))
    assert failures(check(wrong)).keys() == {"signature"}
