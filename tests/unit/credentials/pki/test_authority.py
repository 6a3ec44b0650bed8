import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID

from openimds.credentials.keys.files import write_key
from openimds.credentials.pki.authority import CertificateAuthority
from openimds.credentials.pki.certificates import KeyIssuer, LeafSubject, Validity
from tests.unit.credentials.pki.trust import (
    DAY_S,
    NOW_S,
    PUBLIC,
    URL,
    certificates,
    common_names,
    run,
    verify,
)


@pytest.fixture(scope="module")
def kept() -> CertificateAuthority:
    """Return an authority that tests look at and do not change."""
    return CertificateAuthority.open(None, NOW_S, public_url=URL)


# What a leaf says, held against the recording of 2023 (S25).


def test_a_leaf_is_that_of_the_recording(kept: CertificateAuthority) -> None:
    leaf = kept.leaf(*PUBLIC, NOW_S).certificate
    subject = "CN=metadata.azure.com,O=Microsoft Corporation,L=Redmond,ST=WA,C=US"
    assert leaf.subject.rfc4514_string() == subject
    key = leaf.public_key()
    assert isinstance(key, RSAPublicKey)
    assert key.key_size == 2048
    assert leaf.signature_algorithm_oid.dotted_string == "1.2.840.113549.1.1.12"  # SHA-384
    assert leaf.serial_number.bit_length() in range(153, 160)  # 20 octets, positive
    assert leaf.not_valid_before_utc == datetime(2023, 7, 24, 11, tzinfo=UTC)
    assert leaf.not_valid_after_utc == datetime(2024, 6, 27, 12, tzinfo=UTC)


def test_a_leaf_has_the_extensions_of_the_recording(kept: CertificateAuthority) -> None:
    said = kept.leaf(*PUBLIC, NOW_S).certificate.extensions
    names = said.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.DNSName) == [
        "northeurope.metadata.azure.com",
        "metadata.azure.com",
    ]
    usage = said.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert usage.value.key_encipherment
    assert not usage.value.key_cert_sign
    limits = said.get_extension_for_class(x509.BasicConstraints)
    assert limits.critical
    assert not limits.value.ca
    assert list(said.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    ]
    above = certificates(kept.chain_pem())[0].extensions
    known = said.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert known == above.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


def test_a_leaf_names_no_crl_and_no_ocsp_that_nobody_serves(kept: CertificateAuthority) -> None:
    said = kept.leaf(*PUBLIC, NOW_S).certificate.extensions
    (access,) = said.get_extension_for_class(x509.AuthorityInformationAccess).value
    assert access.access_method.dotted_string == "1.3.6.1.5.5.7.48.2"  # caIssuers
    with pytest.raises(x509.ExtensionNotFound):
        said.get_extension_for_class(x509.CRLDistributionPoints)


def test_what_a_leaf_says_of_its_issuer_is_published(kept: CertificateAuthority) -> None:
    said = kept.leaf(*PUBLIC, NOW_S).certificate.extensions
    (access,) = said.get_extension_for_class(x509.AuthorityInformationAccess).value
    offered = {f"{URL}/pki/{name}.crt": der for name, der in kept.published().items()}
    intermediate = x509.load_der_x509_certificate(offered[access.access_location.value])
    assert intermediate == certificates(kept.chain_pem())[0]


def test_a_leaf_of_a_server_without_address_names_none() -> None:
    leaf = CertificateAuthority.open(None, NOW_S).leaf(*PUBLIC, NOW_S).certificate
    with pytest.raises(x509.ExtensionNotFound):
        leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess)


@pytest.mark.parametrize(
    "region, names",
    [
        ("West Europe", ["westeurope.metadata.azure.us", "metadata.azure.us"]),
        ("", ["metadata.azure.us"]),
        ("ÄÖ--", ["metadata.azure.us"]),
        ("x" * 64, ["x" * 63 + ".metadata.azure.us", "metadata.azure.us"]),
    ],
)
def test_a_region_becomes_one_label_or_none(
    kept: CertificateAuthority, region: str, names: list[str]
) -> None:
    leaf = kept.leaf("metadata.azure.us", region, NOW_S).certificate
    found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert found.get_values_for_type(x509.DNSName) == names


# Whom openssl trusts.


@pytest.mark.parametrize(
    "domain",
    ["metadata.azure.com", "metadata.azure.us", "metadata.azure.cn", "metadata.microsoftazure.de"],
)
def test_openssl_trusts_a_leaf_of_every_cloud(
    kept: CertificateAuthority, domain: str, tmp_path: Path
) -> None:
    leaf = kept.leaf(domain, "somewhere", NOW_S).certificate
    assert "leaf.pem: OK" in verify(leaf, kept.bundle(), tmp_path)


def test_openssl_trusts_nothing_of_another_authority(
    kept: CertificateAuthority, tmp_path: Path
) -> None:
    other = CertificateAuthority.open(None, NOW_S)
    said = verify(kept.leaf(*PUBLIC, NOW_S).certificate, other.bundle(), tmp_path, is_ok=False)
    assert "unable to get local issuer certificate" in said


def test_the_root_vouches_for_no_other_names(kept: CertificateAuthority, tmp_path: Path) -> None:
    span = Validity(NOW_S - DAY_S, NOW_S + DAY_S)
    leaf = kept.issue(LeafSubject("login.example.com", ""), span).certificate
    said = verify(leaf, kept.bundle(), tmp_path, is_ok=False)
    assert "permitted subtree violation" in said


@pytest.mark.parametrize(
    "name", ["IP:10.0.0.4", "IP:fd00::4", "email:root@example.com", "URI:https://example.com/"]
)
def test_the_root_vouches_for_no_names_of_other_kinds(
    kept: CertificateAuthority, name: str, tmp_path: Path
) -> None:
    leaf = other_leaf(kept, name, tmp_path)
    said = verify(leaf, kept.bundle(), tmp_path, is_ok=False)
    assert "subtree violation" in said


@pytest.mark.parametrize("name", ["email:a@metadata.azure.com", "DNS:x.metadata.azure.com"])
def test_the_metadata_names_are_what_is_left(
    kept: CertificateAuthority, name: str, tmp_path: Path
) -> None:
    assert "OK" in verify(other_leaf(kept, name, tmp_path), kept.bundle(), tmp_path)


def other_leaf(authority: CertificateAuthority, name: str, at: Path) -> x509.Certificate:
    """Return what openssl makes of another name with the key of an authority's intermediate."""
    issuer = authority._chain.issuer
    assert isinstance(issuer, KeyIssuer)
    write_key(at / "ca.key", issuer.key)
    (at / "ca.pem").write_bytes(authority.chain_pem())
    said = ("-addext", f"subjectAltName={name}", "-addext", "basicConstraints=CA:FALSE")
    made = ("-newkey", "rsa:2048", "-noenc", "-keyout", "other.key", "-out", "other.csr")
    run("req", "-new", *made, "-subj", "/O=Other", *said, at=at)
    # Without -days it would begin today, and these tests are in 2023.
    (at / "index").write_text("")
    (at / "serial").write_text("01\n")
    (at / "ca.cnf").write_text(
        "[ca]\ndefault_ca=c\n[c]\ndatabase=index\nserial=serial\nnew_certs_dir=.\n"
        "default_md=sha256\npolicy=p\ncopy_extensions=copy\nx509_extensions=x\n"
        "[p]\norganizationName=supplied\n[x]\nsubjectKeyIdentifier=hash\n"
        "authorityKeyIdentifier=keyid\n"
    )
    times = ("-startdate", "20230701000000Z", "-enddate", "20240701000000Z")
    files = ("-cert", "ca.pem", "-keyfile", "ca.key", "-in", "other.csr", "-out", "other.pem")
    run("ca", "-batch", "-notext", "-config", "ca.cnf", *times, *files, at=at)
    return x509.load_pem_x509_certificate((at / "other.pem").read_bytes())


def test_the_bundle_begins_with_the_root(kept: CertificateAuthority) -> None:
    root, intermediate = common_names(kept.bundle())
    assert root.startswith("OpenIMDS Root CA ")
    assert intermediate == "OpenIMDS TLS Issuing CA 01"
    assert common_names(kept.root_pem()) == [root]
    assert common_names(kept.chain_pem()) == [intermediate, root]


# Leaves are made once, and again in time.


def test_a_leaf_is_made_once_for_a_region(kept: CertificateAuthority) -> None:
    leaf = kept.leaf(*PUBLIC, NOW_S)
    assert kept.leaf(*PUBLIC, NOW_S + 100 * DAY_S) is leaf
    other = kept.leaf("metadata.azure.com", "westus", NOW_S)
    assert other.certificate != leaf.certificate
    assert other.key is leaf.key


def test_a_leaf_is_renewed_when_a_month_is_left() -> None:
    authority = CertificateAuthority.open(None, NOW_S, days=339)
    leaf = authority.leaf(*PUBLIC, NOW_S)
    assert authority.leaf(*PUBLIC, NOW_S + 309 * DAY_S) is leaf
    later = NOW_S + 309 * DAY_S + 1
    fresh = authority.leaf(*PUBLIC, later)
    assert fresh is not leaf
    assert fresh.certificate.not_valid_after_utc.timestamp() == later + 339 * DAY_S


def test_a_short_leaf_is_renewed_when_half_is_left() -> None:
    authority = CertificateAuthority.open(None, NOW_S, days=10)
    leaf = authority.leaf(*PUBLIC, NOW_S)
    assert authority.leaf(*PUBLIC, NOW_S + 5 * DAY_S) is leaf
    assert authority.leaf(*PUBLIC, NOW_S + 5 * DAY_S + 1) is not leaf


@pytest.mark.parametrize("jump_s", [-5 * 365 * DAY_S, 5 * 365 * DAY_S, 15 * 365 * DAY_S])
def test_a_clock_that_jumps_finds_a_chain_that_is_valid(jump_s: float) -> None:
    authority = CertificateAuthority.open(None, NOW_S)
    authority.leaf(*PUBLIC, NOW_S)
    leaf = authority.leaf(*PUBLIC, NOW_S + jump_s).certificate
    now = datetime.fromtimestamp(NOW_S + jump_s, UTC)
    for one in (leaf, *certificates(authority.chain_pem())):
        assert one.not_valid_before_utc <= now <= one.not_valid_after_utc


def test_only_so_many_leaves_are_kept() -> None:
    authority = CertificateAuthority.open(None, NOW_S)
    first = authority.leaf("metadata.azure.com", "r0", NOW_S)
    for number in range(1, 256):
        authority.leaf("metadata.azure.com", f"r{number}", NOW_S)
    assert authority.leaf("metadata.azure.com", "r0", NOW_S) is first
    authority.leaf("metadata.azure.com", "one-more", NOW_S)
    assert authority.leaf("metadata.azure.com", "r0", NOW_S) is first, "it was asked for last"
    assert len(authority._leaves) == 256


def test_many_threads_get_one_leaf() -> None:
    authority = CertificateAuthority.open(None, NOW_S)
    start = threading.Barrier(8)
    got: list[object] = []

    def ask() -> None:
        start.wait()
        got.append(authority.leaf(*PUBLIC, NOW_S))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 8
    assert len(set(map(id, got))) == 1
