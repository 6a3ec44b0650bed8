from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from openimds.credentials.keys.files import read_key
from openimds.credentials.pki import chain_validation
from openimds.credentials.pki.authority import CertificateAuthority
from openimds.credentials.pki.certificates import LeafSubject, Validity
from openimds.credentials.pki.chain_validation import STRICT
from openimds.credentials.pki.cms import envelope
from openimds.credentials.pki.rehearsed_answers import RehearsedAnswers
from openimds.errors import ConfigError
from tests.unit.credentials.pki.openssl_verify import run
from tests.unit.credentials.pki.recordings import CREATED_S, PAYLOAD
from tests.unit.credentials.pki.valid_document import (
    URL,
    YEAR_S,
    authority,
    check,
    der,
    failures,
    signed,
    unmade,
)


def test_without_a_bundle_the_chain_is_not_checked() -> None:
    report = check(trust=None)
    assert unmade(report) == ["chain"]
    assert report.holds


def test_another_root_is_not_trusted() -> None:
    report = check(trust=CertificateAuthority.open(None, CREATED_S).bundle())
    issuer = "CN=OpenIMDS TLS G2 RSA CA OCSP 01,O=OpenIMDS"
    assert failures(report) == {"chain": f"the certificate of the issuer {issuer} is missing"}


def test_intermediate_may_be_passed_as_an_argument() -> None:
    first, tier, _ = x509.load_pem_x509_certificates(authority.chain_pem())
    assert failures(check(trust=authority.root_pem())).keys() == {"chain"}
    assert check(trust=authority.root_pem(), intermediates=authority.chain_pem()).holds
    trust = authority.root_pem() + tier.public_bytes(Encoding.PEM)
    assert check(trust=trust, intermediates=first.public_bytes(Encoding.DER)).holds


def serve(published: Mapping[str, bytes], urls: list[str]) -> Callable[[str], bytes]:
    def fetch(url: str) -> bytes:
        urls.append(url)
        name = url.rpartition("/pkiops/certs/")[2].removesuffix(".crt")
        if name not in published:
            raise OSError("status 404")
        return published[name]

    return fetch


def test_intermediate_and_tier_are_fetched_from_the_urls() -> None:
    urls: list[str] = []
    fetch = serve(authority.published(), urls)
    assert check(trust=authority.root_pem(), fetch=fetch).holds
    assert len(urls) == 2


def test_present_intermediate_is_not_fetched() -> None:
    urls: list[str] = []
    fetch = serve(authority.published(), urls)
    assert check(fetch=fetch).holds
    assert check(trust=None, fetch=fetch).holds
    assert urls == []


def test_new_root_is_reached_from_the_old_one_by_fetching() -> None:
    own = CertificateAuthority.open(None, CREATED_S, public_url=URL)
    old = own.root_pem()
    own.rotate("root", CREATED_S)
    made = signed(PAYLOAD, own.leaf("metadata.azure.com", "", CREATED_S))
    urls: list[str] = []
    assert check(made, trust=old, fetch=serve(own.published(), urls)).holds
    assert len(urls) == 3, "the intermediate, the tier, and the cross certificate"
    assert failures(check(made, trust=old)).keys() == {"chain"}


@pytest.mark.parametrize(
    "answer, reason",
    [
        (None, "status 404"),
        (b"<html>", "expected certificates in PEM or DER"),
        (authority.root_pem(), "did not issue it, or is not a trusted root"),
    ],
    ids=["nothing", "a page", "another certificate"],
)
def test_failed_fetch_is_in_the_reason(answer: bytes | None, reason: str) -> None:
    name = next(name for name in authority.published() if "ocsp" in name)
    fetch = serve({} if answer is None else {name: answer}, [])
    failed = failures(check(trust=authority.root_pem(), fetch=fetch))["chain"]
    assert f"; {URL}/pkiops/certs/{name}.crt: " in failed
    assert failed.endswith(reason)


def test_leaf_without_issuer_url_fails_with_a_reason() -> None:
    without_url = CertificateAuthority.open(None, CREATED_S)
    made = signed(PAYLOAD, without_url.leaf("metadata.azure.com", "", CREATED_S))
    failed = failures(check(made, trust=without_url.root_pem(), fetch=serve({}, [])))["chain"]
    assert failed.endswith("; the certificate names no URL of its issuer")


def test_name_outside_the_constraints_breaks_the_chain() -> None:
    validity = Validity(CREATED_S - 60, CREATED_S + 60)
    made = signed(PAYLOAD, authority.leaves.issue(LeafSubject("example.com", ""), validity))
    failed = failures(check(made))
    assert failed.keys() == {"chain", "name"}
    assert "permitted" in failed["chain"]


def test_expired_ca_certificates_break_the_chain() -> None:
    validity = Validity(CREATED_S + 30 * YEAR_S, CREATED_S + 31 * YEAR_S)
    made = signed(PAYLOAD, authority.leaves.issue(LeafSubject("metadata.azure.com", ""), validity))
    assert "chain" in failures(check(made, at_s=CREATED_S + 30 * YEAR_S + 60))


def test_bundle_without_root_fails_with_a_reason() -> None:
    first = x509.load_pem_x509_certificate(authority.chain_pem())
    failed = failures(check(trust=first.public_bytes(Encoding.PEM)))
    assert failed == {
        "chain": "the trust bundle has no root: none of its certificates is self-signed"
    }


@pytest.mark.parametrize("name", ["trust", "intermediates"])
def test_bundle_without_certificates_is_a_config_error(name: str) -> None:
    with pytest.raises(ConfigError, match="expected certificates in PEM or DER"):
        check(**{name: b"nonsense"})


def test_circle_of_issuers_ends() -> None:
    own = CertificateAuthority.open(None, CREATED_S, public_url=URL)
    made = signed(PAYLOAD, own.leaf("metadata.azure.com", "", CREATED_S))
    urls: list[str] = []
    circle = serve(own.published(), urls)
    other = CertificateAuthority.open(None, CREATED_S).root_pem()
    assert failures(check(made, trust=other, fetch=circle)).keys() == {"chain"}
    assert len(urls) == 6, "both URLs of the intermediate, of the tier, of an untrusted root"


def test_addresses_of_one_path_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chain_validation._MAX_FETCHED == 12
    monkeypatch.setattr(chain_validation, "_MAX_FETCHED", 3)
    urls: list[str] = []
    circle = serve(authority.published(), urls)
    other = CertificateAuthority.open(None, CREATED_S).root_pem()
    failed = failures(check(trust=other, fetch=circle))
    assert failed["chain"].endswith("not fetched, it would be more than 3")
    assert len(urls) == 3


@pytest.mark.parametrize("answer", ["damaged", "expired", "cross-signed"])
def test_second_address_serves_where_the_first_leads_nowhere(answer: str) -> None:
    rehearsed = RehearsedAnswers(lambda: authority, lambda: CREATED_S)
    published = authority.published()
    urls: list[str] = []

    def fetch(url: str) -> bytes:
        urls.append(url)
        name = url.rpartition("/")[2].removesuffix(".crt")
        if found := rehearsed.unknown_root(name):
            return found
        if "/alternate/" in url:
            return published[name]
        if answer == "damaged":
            return published[name][:-1] + bytes([published[name][-1] ^ 1])
        return rehearsed.certificate(published[name], answer)

    assert check(trust=authority.root_pem(), fetch=fetch).holds
    assert any("/alternate/" in url for url in urls)


# Certificates issued by openssl.


def issued(at: Path, leaf_usage: str, ca: tuple[str, ...] = ()) -> tuple[bytes, bytes]:
    """Return a document signed by a leaf of a root, and the root."""
    request = ["req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "3650", "-sha256"]
    run(*request, "-subj", "/CN=Corp", *ca, "-keyout", "r.key", "-out", "r.pem", at=at)
    extensions = ["basicConstraints=critical,CA:FALSE", "subjectAltName=DNS:metadata.azure.com"]
    if leaf_usage:
        extensions.append(f"extendedKeyUsage={leaf_usage}")
    more = [word for item in extensions for word in ("-addext", item)]
    by = ["-CA", "r.pem", "-CAkey", "r.key", "-keyout", "l.key", "-out", "l.pem"]
    run(*request, "-subj", "/CN=metadata.azure.com", *by, *more, at=at)
    leaf = x509.load_pem_x509_certificate((at / "l.pem").read_bytes())
    (at / "l.key").chmod(0o600)
    return envelope(PAYLOAD, leaf, read_key(at / "l.key")), (at / "r.pem").read_bytes()


looser = pytest.mark.skipif(bool(STRICT), reason="cryptography knows only the rules of the web")


@looser
@pytest.mark.parametrize("usage", ["serverAuth", "clientAuth", "serverAuth,clientAuth", ""])
def test_leaf_for_servers_or_clients_is_accepted(tmp_path: Path, usage: str) -> None:
    document, root = issued(tmp_path, usage)
    starts = x509.load_pem_x509_certificate(root).not_valid_before_utc.timestamp()
    report = check(document, trust=root, at_s=starts + 60)
    (chain,) = [item for item in report.checks if item.name == "chain"]
    assert (chain.holds, chain.detail) == (True, "metadata.azure.com < Corp")


@pytest.mark.skipif(not STRICT, reason="this version of cryptography takes looser rules")
@pytest.mark.parametrize(
    "usage, ca, holds",
    [
        ("serverAuth", "keyCertSign", True),
        ("serverAuth,clientAuth", "keyCertSign", True),
        ("clientAuth", "keyCertSign", False),
        ("codeSigning", "keyCertSign", False),
        ("serverAuth", "cRLSign", False),
    ],
)
def test_old_cryptography_keeps_to_the_rules_of_the_web(
    tmp_path: Path, usage: str, ca: str, *, holds: bool
) -> None:
    document, root = issued(tmp_path, usage, ("-addext", f"keyUsage={ca}"))
    starts = x509.load_pem_x509_certificate(root).not_valid_before_utc.timestamp()
    report = check(document, trust=root, at_s=starts + 60)
    (chain,) = [item for item in report.checks if item.name == "chain"]
    assert chain.holds is holds
    assert chain.detail.endswith("metadata.azure.com < Corp" if holds else STRICT)


@looser
@pytest.mark.parametrize(
    "usage, ca, reason",
    [
        ("codeSigning", (), "metadata.azure.com: for neither serverAuth nor clientAuth"),
        ("serverAuth", ("-addext", "keyUsage=cRLSign"), "Corp: its keyUsage lacks keyCertSign"),
    ],
)
def test_certificate_for_another_purpose_breaks_the_chain(
    tmp_path: Path, usage: str, ca: tuple[str, ...], reason: str
) -> None:
    document, root = issued(tmp_path, usage, ca)
    starts = x509.load_pem_x509_certificate(root).not_valid_before_utc.timestamp()
    report = check(document, trust=root, at_s=starts + 60)
    assert reason in failures(report)["chain"]


def test_nothing_is_fetched_if_signature_or_name_fails() -> None:
    urls: list[str] = []
    fetch = serve(authority.published(), urls)
    tampered = der.replace(b'"sku":"8', b'"sku":"9')
    for document, more in ((tampered, {}), (der, {"domain": "metadata.azure.cn"})):
        failed = failures(check(document, trust=authority.root_pem(), fetch=fetch, **more))
        assert failed["chain"].endswith("; it is not fetched because signature or name fails")
    assert urls == []
