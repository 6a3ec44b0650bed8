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
from tests.unit.credentials.pki.openssl import (
    YEAR_S,
    authority,
    der,
    failures,
    judged,
    leaf,
    said,
    signed,
    text,
    unmade,
)
from tests.unit.credentials.pki.recorded import (
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
)
def test_every_check_holds_of_our_own_document_however_it_is_wrapped(document: bytes) -> None:
    report = judged(document)
    assert [(check.name, check.holds) for check in report.checks] == [
        (name, True) for name in NAMES
    ]
    assert report.holds
    assert report.payload == json.loads(PAYLOAD)


def test_the_path_to_the_root_is_told() -> None:
    (chain,) = [check for check in judged().checks if check.name == "chain"]
    assert chain.detail.startswith("metadata.azure.com < OpenIMDS TLS Issuing CA 01 < OpenIMDS Roo")


# What others made.


def test_the_sample_of_the_document_fails_only_where_it_is_unlike_azures() -> None:
    report = verify(SAMPLE, trust=None, nonce=SAMPLE_NONCE, at_s=SAMPLE_AT_S)
    assert failures(report) == {"payload": "it names no vmId"}
    assert unmade(report) == ["chain"]


def test_the_sample_does_not_lead_to_a_root_of_ours() -> None:
    report = judged(SAMPLE_DER, nonce=SAMPLE_NONCE, at_s=SAMPLE_AT_S)
    assert failures(report)["chain"] == (
        "no certificate of the issuer CN=testsubdomain.metadata.azure.com is at hand"
    )


def test_the_example_of_the_swagger_files_fails_where_it_is_cut() -> None:
    report = judged(CUT_SHORT)
    assert failures(report) == {
        "encoding": "base64 of 1319 characters: no whole fours",
        "structure": "ContentInfo: it ends too early, by 1",
    }
    assert unmade(report) == [*NAMES[2:]]
    assert not report.holds


@pytest.mark.skipif(not files.FOLDER.is_dir(), reason=files.NO_FOLDER)
def test_every_swagger_example_is_that_one() -> None:
    found = [*files.FOLDER.glob("*/examples/*ttestedData.json")]
    assert len(found) == 23
    for path in found:
        body = json.loads(path.read_text())["responses"]["200"]["body"]
        assert body["signature"] == CUT_SHORT, path
        assert set(failures(judged(json.dumps(body)))) == {"encoding", "structure"}, path


def test_a_name_of_a_strange_type_is_a_report_and_no_exception() -> None:
    issuer = b"\x1aOpenIMDS TLS Issuing CA 01"
    assert der.count(b"\x0c" + issuer) == 2  # The leaf's issuer, and the signer's.
    for tag in (0x03, 0x04, 0x16, 0x1E):
        report = judged(der.replace(b"\x0c" + issuer, bytes([tag]) + issuer))
        assert not report.holds
    for place in (0, 1):
        parts = der.split(b"\x0c" + issuer)
        tags = [b"\x0c", b"\x0c"]
        tags[place] = b"\x03"
        mixed = parts[0] + tags[0] + issuer + parts[1] + tags[1] + issuer + parts[2]
        assert not judged(mixed).holds


# Encoding.


@pytest.mark.parametrize(
    "document, reason",
    [
        ("", "not base64 as it would be written again"),
        ("M!!!", "not base64: "),
        ("{", "not JSON: "),
        ("{" + '"a":[' * 100_000, "not JSON: "),
        ('{"error":"Not found"}', 'saw the encoding null, expected "pkcs7"'),
        ('{"encoding":"cms","signature":"MAA="}', 'saw the encoding "cms", expected "pkcs7"'),
        ('{"encoding":"pkcs7"}', "there is no signature beside the encoding"),
        (json.dumps({"encoding": "pkcs7", "signature": text[:76] + "\n" + text[76:]}), "not base6"),
        ("\ud800", "not base64: "),
    ],
)
def test_what_is_no_document_fails_at_its_encoding(document: str, reason: str) -> None:
    report = judged(document)
    assert failures(report)["encoding"].startswith(reason)
    assert unmade(report) == [*NAMES[1:]]


def test_bits_that_base64_does_not_need_have_to_be_zero() -> None:
    padded = base64.b64encode(SAMPLE_DER).decode()
    assert padded.endswith("rQ=")
    assert failures(judged(padded.replace("rQ=", "rR="))).keys() == {"encoding"}


# Structure.


def test_an_ordinary_cms_message_is_not_what_azure_sends() -> None:
    made = (
        PKCS7SignatureBuilder()
        .set_data(PAYLOAD)
        .add_signer(leaf.certificate, leaf.key, SHA256())
        .add_certificate(x509.load_pem_x509_certificate(authority.chain_pem()))
        .sign(Encoding.DER, [PKCS7Options.Binary])
    )
    found = failures(judged(made))
    assert found.keys() == {"structure", "signature"}
    assert found["signature"] == "it is not over the content itself"
    parts = [part.partition(":")[0] for part in found["structure"].split("; ")]
    assert parts == [
        "digestAlgorithms",
        "the number of certificates",
        "the signer's digestAlgorithm",
        "the presence of signedAttrs",
    ]


def test_the_ordinary_digest_oid_alone_breaks_the_structure_only() -> None:
    made = (
        PKCS7SignatureBuilder()
        .set_data(PAYLOAD)
        .add_signer(leaf.certificate, leaf.key, SHA256())
        .sign(Encoding.DER, [PKCS7Options.Binary, PKCS7Options.NoAttributes])
    )
    found = failures(judged(made))
    assert found.keys() == {"structure"}
    assert "2.16.840.1.101.3.4.2.1" in found["structure"]


def test_a_message_without_its_certificate_or_content_is_judged_as_far_as_it_goes() -> None:
    options = [PKCS7Options.DetachedSignature, PKCS7Options.NoCerts, PKCS7Options.NoAttributes]
    made = (
        PKCS7SignatureBuilder()
        .set_data(PAYLOAD)
        .add_signer(leaf.certificate, leaf.key, SHA256())
        .sign(Encoding.DER, options)
    )
    report = judged(made)
    assert failures(report).keys() == {"structure", "payload", "nonce"}
    assert unmade(report) == ["signature", "chain", "certificate times", "name", "times"]


def test_a_signer_who_names_another_certificate_is_noticed() -> None:
    other = authority.leaf("metadata.azure.com", "westus", CREATED_S).certificate
    ours, theirs = (one.serial_number.to_bytes(20) for one in (leaf.certificate, other))
    at = der.rindex(ours)
    report = judged(der[:at] + theirs + der[at + 20 :])
    assert failures(report)["structure"] == (
        "the signer's certificate among them: saw False, Azure's is True"
    )


# Signature.


def test_a_certificate_whose_serial_number_is_negative_is_refused() -> None:
    serial = b"\x02\x14" + leaf.certificate.serial_number.to_bytes(20)
    negative = serial[:2] + b"\x80" + serial[3:]
    found = failures(judged(der.replace(serial, negative, 1)))
    assert found == {"structure": "certificates: a serial number that is not positive"}


def test_a_changed_payload_is_noticed() -> None:
    report = judged(der.replace(b"6277b885", b"6277b886"))
    assert failures(report) == {"signature": "the certificate's key did not sign this content"}


def test_an_unknown_digest_is_not_taken_for_sha256() -> None:
    odd = bytes.fromhex("2a864886f70d01010b")
    tail = der.rindex(odd)
    found = failures(judged(der[:tail] + odd[:-1] + b"\x0d" + der[tail + 9 :]))
    assert found["signature"] == "its digest 1.2.840.113549.1.1.13 is not SHA-256"


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(der) - 1), st.integers(1, 255))
@example(len(der) - 1, 1)
def test_no_octet_can_be_changed_unseen(position: int, by: int) -> None:
    spoilt = bytearray(der)
    spoilt[position] ^= by
    assert not judged(bytes(spoilt)).holds


def test_the_lowest_bit_of_no_octet_can_be_changed_unseen() -> None:
    unseen = []
    for position in range(len(der)):
        spoilt = bytearray(der)
        spoilt[position] ^= 1
        if judged(bytes(spoilt)).holds:
            unseen.append(position)
    assert unseen == []


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, len(der)))
def test_nothing_that_a_stranger_sends_raises(noise: bytes, position: int) -> None:
    for document in (noise, der[:position] + noise, der[:position] + noise + der[position:]):
        assert judged(document).holds is (document == der)


def test_a_key_that_is_not_rsa_is_not_azures() -> None:
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
    found = failures(judged(enclose(PAYLOAD, other, signature)))
    assert found.keys() == {"signature", "chain"}
    assert found["signature"] == "the certificate's key is not RSA"


# Times of the certificate, and its name.


@pytest.mark.parametrize("shift_s, holds", [(0, True), (1, False)])
def test_a_leaf_holds_to_its_last_second(shift_s: int, holds: bool) -> None:
    span = Validity(CREATED_S - YEAR_S, CREATED_S)
    made = signed(PAYLOAD, authority.issue(LeafSubject("metadata.azure.com", ""), span))
    report = judged(made, at_s=CREATED_S + shift_s)
    assert failures(report).keys() == (set() if holds else {"certificate times"})


def test_a_leaf_does_not_hold_before_its_time() -> None:
    starts = leaf.certificate.not_valid_before_utc.timestamp()
    assert "certificate times" in failures(judged(at_s=starts - 1))


@pytest.mark.parametrize(
    "site, domain, holds",
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
def test_the_name_is_a_clouds_domain_or_below(
    site: tuple[str, str], domain: str, holds: bool
) -> None:
    span = Validity(CREATED_S - 60, CREATED_S + 60)
    made = signed(PAYLOAD, authority.issue(LeafSubject(*site), span))
    assert ("name" not in failures(judged(made, domain=domain))) is holds


# What the payload says.


@pytest.mark.parametrize(
    "payload, reason",
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "it names no vmId"),
        (b'{"vmId":7}', "it names no vmId"),
    ],
)
def test_a_payload_that_names_no_vm_does_not_hold(payload: bytes, reason: str) -> None:
    assert failures(judged(signed(payload), nonce=None))["payload"].startswith(reason)


def test_a_nonce_that_was_not_asked_is_shown() -> None:
    report = judged(nonce=None)
    (check,) = [check for check in report.checks if check.name == "nonce"]
    assert (check.holds, check.detail) == (None, f'not asked; the document\'s is "{NONCE}"')
    assert report.holds


@pytest.mark.parametrize("seen", [None, "", "20231002-183312"])
def test_another_nonce_does_not_hold(seen: str | None) -> None:
    shown = "none" if seen is None else f'"{seen}"'
    found = failures(judged(signed(said(nonce=seen))))
    assert found == {"nonce": f'saw {shown}, expected "{NONCE}"'}


@pytest.mark.parametrize(
    "at_s, holds",
    [(CREATED_S - 1, False), (CREATED_S, True), (EXPIRES_S - 1, True), (EXPIRES_S, False)],
)
def test_a_document_holds_from_its_creation_until_just_before_its_end(
    at_s: float, holds: bool
) -> None:
    assert failures(judged(at_s=at_s)).keys() == (set() if holds else {"times"})


def test_the_time_that_was_asked_for_is_told() -> None:
    at_s = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()
    assert failures(judged(at_s=at_s))["times"] == (
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
def test_times_in_another_form_do_not_hold(stamp: object) -> None:
    assert "expected two like" in failures(judged(signed(said(timeStamp=stamp))))["times"]


def test_the_document_of_a_classic_vm_has_no_times_to_check() -> None:
    report = judged(signed({"nonce": NONCE, "vmId": "a"}))
    assert unmade(report) == ["times"]
    assert report.holds


def test_a_signature_by_the_wrong_key_is_noticed() -> None:
    wrong = enclose(PAYLOAD, leaf.certificate, bytes(256))
    assert failures(judged(wrong)).keys() == {"signature"}
