import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from openimds.credentials.keys.files import write_key
from openimds.credentials.pki.authority import CertificateAuthority
from openimds.credentials.pki.certificates import KeyIssuer, LeafSubject, Validity
from tests.unit.credentials.pki.openssl_verify import (
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
def shared() -> CertificateAuthority:
    """Return a CA that tests read and do not change."""
    return CertificateAuthority.open(None, NOW_S, public_url=URL)


def test_leaf_of_thirty_days_stands_beside_the_usual_one() -> None:
    authority = CertificateAuthority.open(None, NOW_S)
    usual, short = authority.leaf(*PUBLIC, NOW_S), authority.leaf(*PUBLIC, NOW_S, 30)
    life = short.certificate.not_valid_after_utc.timestamp() - NOW_S
    assert life == 30 * DAY_S
    assert authority.leaf(*PUBLIC, NOW_S + 15 * DAY_S, 30) is short
    assert authority.leaf(*PUBLIC, NOW_S + 15 * DAY_S + 1, 30) is not short
    assert authority.leaf(*PUBLIC, NOW_S + 15 * DAY_S + 1) is usual


def test_leaf_without_public_url_names_no_issuer_url() -> None:
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
def test_region_becomes_one_label_or_none(
    shared: CertificateAuthority, region: str, names: list[str]
) -> None:
    leaf = shared.leaf("metadata.azure.us", region, NOW_S).certificate
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert san.get_values_for_type(x509.DNSName) == names


# Verification by openssl.


@pytest.mark.parametrize(
    "domain",
    ["metadata.azure.com", "metadata.azure.us", "metadata.azure.cn", "metadata.microsoftazure.de"],
)
def test_openssl_trusts_a_leaf_of_every_cloud(
    shared: CertificateAuthority, domain: str, tmp_path: Path
) -> None:
    leaf = shared.leaf(domain, "somewhere", NOW_S).certificate
    assert "leaf.pem: OK" in verify(leaf, shared.bundle(), tmp_path)


def test_openssl_rejects_a_leaf_of_another_ca(shared: CertificateAuthority, tmp_path: Path) -> None:
    other = CertificateAuthority.open(None, NOW_S)
    output = verify(shared.leaf(*PUBLIC, NOW_S).certificate, other.bundle(), tmp_path, is_ok=False)
    assert "unable to get local issuer certificate" in output


def test_name_constraints_reject_other_domains(
    shared: CertificateAuthority, tmp_path: Path
) -> None:
    validity = Validity(NOW_S - DAY_S, NOW_S + DAY_S)
    leaf = shared.leaves.issue(LeafSubject("login.example.com", ""), validity).certificate
    output = verify(leaf, shared.bundle(), tmp_path, is_ok=False)
    assert "permitted subtree violation" in output


@pytest.mark.parametrize(
    "name", ["IP:10.0.0.4", "IP:fd00::4", "email:root@example.com", "URI:https://example.com/"]
)
def test_name_constraints_reject_other_kinds_of_names(
    shared: CertificateAuthority, name: str, tmp_path: Path
) -> None:
    leaf = other_leaf(shared, name, tmp_path)
    output = verify(leaf, shared.bundle(), tmp_path, is_ok=False)
    assert "subtree violation" in output


@pytest.mark.parametrize("name", ["email:a@metadata.azure.com", "DNS:x.metadata.azure.com"])
def test_name_constraints_permit_metadata_domains(
    shared: CertificateAuthority, name: str, tmp_path: Path
) -> None:
    assert "OK" in verify(other_leaf(shared, name, tmp_path), shared.bundle(), tmp_path)


def other_leaf(authority: CertificateAuthority, name: str, at: Path) -> x509.Certificate:
    """Issue a leaf of another name with openssl and the CA's intermediate."""
    issuer = authority.chain.issuer
    assert isinstance(issuer, KeyIssuer)
    write_key(at / "ca.key", issuer.key)
    (at / "ca.pem").write_bytes(authority.chain_pem())
    extensions = ("-addext", f"subjectAltName={name}", "-addext", "basicConstraints=CA:FALSE")
    key = ("-newkey", "rsa:2048", "-noenc", "-keyout", "other.key", "-out", "other.csr")
    run("req", "-new", *key, "-subj", "/O=Other", *extensions, at=at)
    # openssl x509 would issue from today on, and these tests are in 2023.
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


def test_bundle_begins_with_the_root(shared: CertificateAuthority) -> None:
    root, intermediate, tier = common_names(shared.bundle())
    assert root.startswith("OpenIMDS Root CA ")
    assert intermediate == "OpenIMDS TLS G2 RSA CA OCSP 01"
    assert common_names(shared.root_pem()) == [root]
    assert common_names(shared.chain_pem()) == [intermediate, tier, root]


# The cache of leaves.


def test_leaf_is_issued_once_for_a_region(shared: CertificateAuthority) -> None:
    leaf = shared.leaf(*PUBLIC, NOW_S)
    assert shared.leaf(*PUBLIC, NOW_S + 100 * DAY_S) is leaf
    other = shared.leaf("metadata.azure.com", "westus", NOW_S)
    assert other.certificate != leaf.certificate
    assert other.key is leaf.key


def test_leaf_is_renewed_when_a_month_is_left() -> None:
    authority = CertificateAuthority.open(None, NOW_S, days=339)
    leaf = authority.leaf(*PUBLIC, NOW_S)
    assert authority.leaf(*PUBLIC, NOW_S + 309 * DAY_S) is leaf
    later = NOW_S + 309 * DAY_S + 1
    fresh = authority.leaf(*PUBLIC, later)
    assert fresh is not leaf
    assert fresh.certificate.not_valid_after_utc.timestamp() == later + 339 * DAY_S


def test_short_leaf_is_renewed_when_half_is_left() -> None:
    authority = CertificateAuthority.open(None, NOW_S, days=10)
    leaf = authority.leaf(*PUBLIC, NOW_S)
    assert authority.leaf(*PUBLIC, NOW_S + 5 * DAY_S) is leaf
    assert authority.leaf(*PUBLIC, NOW_S + 5 * DAY_S + 1) is not leaf


@pytest.mark.parametrize("jump_s", [-5 * 365 * DAY_S, 5 * 365 * DAY_S, 15 * 365 * DAY_S])
def test_chain_is_valid_after_the_clock_jumps(jump_s: float) -> None:
    authority = CertificateAuthority.open(None, NOW_S)
    authority.leaf(*PUBLIC, NOW_S)
    leaf = authority.leaf(*PUBLIC, NOW_S + jump_s).certificate
    now = datetime.fromtimestamp(NOW_S + jump_s, UTC)
    for item in (leaf, *certificates(authority.chain_pem())):
        assert item.not_valid_before_utc <= now <= item.not_valid_after_utc


def test_leaf_cache_evicts_the_least_recently_used() -> None:
    authority = CertificateAuthority.open(None, NOW_S)
    first = authority.leaf("metadata.azure.com", "r0", NOW_S)
    for number in range(1, 256):
        authority.leaf("metadata.azure.com", f"r{number}", NOW_S)
    assert authority.leaf("metadata.azure.com", "r0", NOW_S) is first
    authority.leaf("metadata.azure.com", "r256", NOW_S)
    assert authority.leaf("metadata.azure.com", "r0", NOW_S) is first, (
        "it was the most recently used"
    )
    assert len(authority.leaves.cached) == 256


def test_concurrent_threads_get_one_leaf() -> None:
    authority = CertificateAuthority.open(None, NOW_S)
    start = threading.Barrier(8)
    leaves: list[object] = []

    def request_leaf() -> None:
        start.wait()
        leaves.append(authority.leaf(*PUBLIC, NOW_S))

    threads = [threading.Thread(target=request_leaf) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(leaves) == 8
    assert len(set(map(id, leaves))) == 1
