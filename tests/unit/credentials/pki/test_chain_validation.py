from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from openimds.credentials.keys.files import read_key
from openimds.credentials.pki.authority import CertificateAuthority
from openimds.credentials.pki.certificates import LeafSubject, Validity
from openimds.credentials.pki.cms import envelope
from openimds.errors import ConfigError
from tests.unit.credentials.pki.openssl import (
    URL,
    YEAR_S,
    authority,
    der,
    failures,
    judged,
    signed,
    unmade,
)
from tests.unit.credentials.pki.recorded import CREATED_S, PAYLOAD
from tests.unit.credentials.pki.trust import run


def test_without_a_bundle_the_chain_counts_as_neither() -> None:
    report = judged(trust=None)
    assert unmade(report) == ["chain"]
    assert report.holds


def test_another_root_is_not_trusted() -> None:
    report = judged(trust=CertificateAuthority.open(None, CREATED_S).bundle())
    issuer = "CN=OpenIMDS TLS Issuing CA 01,O=OpenIMDS"
    assert failures(report) == {"chain": f"no certificate of the issuer {issuer} is at hand"}


def test_the_intermediate_may_come_by_hand() -> None:
    first = x509.load_pem_x509_certificate(authority.chain_pem())
    assert failures(judged(trust=authority.root_pem())).keys() == {"chain"}
    for given_ in (authority.chain_pem(), first.public_bytes(Encoding.DER)):
        assert judged(trust=authority.root_pem(), intermediates=given_).holds


def serve(offered: Mapping[str, bytes], asked: list[str]) -> Callable[[str], bytes]:
    def fetch(url: str) -> bytes:
        asked.append(url)
        name = url.removeprefix(f"{URL}/pki/").removesuffix(".crt")
        if name not in offered:
            raise OSError("status 404")
        return offered[name]

    return fetch


def test_the_intermediate_is_fetched_from_where_the_leaf_says() -> None:
    asked: list[str] = []
    fetch = serve(authority.published(), asked)
    assert judged(trust=authority.root_pem(), fetch=fetch).holds
    assert len(asked) == 1


def test_nothing_is_fetched_that_is_at_hand_or_not_asked_for() -> None:
    asked: list[str] = []
    fetch = serve(authority.published(), asked)
    assert judged(fetch=fetch).holds
    assert judged(trust=None, fetch=fetch).holds
    assert asked == []


def test_a_new_root_is_reached_from_the_old_one_by_what_it_fetches() -> None:
    mine = CertificateAuthority.open(None, CREATED_S, public_url=URL)
    old = mine.root_pem()
    mine.rotate("root", CREATED_S)
    made = signed(PAYLOAD, mine.leaf("metadata.azure.com", "", CREATED_S))
    asked: list[str] = []
    assert judged(made, trust=old, fetch=serve(mine.published(), asked)).holds
    assert len(asked) == 2
    assert failures(judged(made, trust=old)).keys() == {"chain"}


@pytest.mark.parametrize(
    "answer, reason",
    [
        (None, "status 404"),
        (b"<html>", "expected certificates in PEM or DER"),
        (authority.root_pem(), "did not issue it, or is no trusted root"),
    ],
)
def test_what_cannot_be_fetched_is_told(answer: bytes | None, reason: str) -> None:
    name = next(name for name in authority.published() if "issuing" in name)
    fetch = serve({} if answer is None else {name: answer}, [])
    found = failures(judged(trust=authority.root_pem(), fetch=fetch))["chain"]
    assert f"; {URL}/pki/{name}.crt: " in found
    assert found.endswith(reason)


def test_a_leaf_that_does_not_say_where_its_issuer_is_cannot_be_followed() -> None:
    silent = CertificateAuthority.open(None, CREATED_S)
    made = signed(PAYLOAD, silent.leaf("metadata.azure.com", "", CREATED_S))
    found = failures(judged(made, trust=silent.root_pem(), fetch=serve({}, [])))["chain"]
    assert found.endswith("; the certificate does not say where it is")


def test_names_that_the_root_does_not_vouch_for_break_the_chain() -> None:
    span = Validity(CREATED_S - 60, CREATED_S + 60)
    made = signed(PAYLOAD, authority.issue(LeafSubject("example.com", ""), span))
    found = failures(judged(made))
    assert found.keys() == {"chain", "name"}
    assert "permitted" in found["chain"]


def test_a_chain_whose_authorities_ended_does_not_hold() -> None:
    span = Validity(CREATED_S + 30 * YEAR_S, CREATED_S + 31 * YEAR_S)
    made = signed(PAYLOAD, authority.issue(LeafSubject("metadata.azure.com", ""), span))
    assert "chain" in failures(judged(made, at_s=CREATED_S + 30 * YEAR_S + 60))


def test_a_bundle_without_root_is_told() -> None:
    first = x509.load_pem_x509_certificate(authority.chain_pem())
    found = failures(judged(trust=first.public_bytes(Encoding.PEM)))
    assert found == {"chain": "the trust bundle has no root: nothing in it is signed by itself"}


@pytest.mark.parametrize("name", ["trust", "intermediates"])
def test_a_bundle_that_holds_no_certificates_is_the_operators_mistake(name: str) -> None:
    with pytest.raises(ConfigError, match="expected certificates in PEM or DER"):
        judged(**{name: b"nonsense"})


def test_a_circle_of_authorities_ends() -> None:
    mine = CertificateAuthority.open(None, CREATED_S, public_url=URL)
    made = signed(PAYLOAD, mine.leaf("metadata.azure.com", "", CREATED_S))
    asked: list[str] = []
    circle = serve(mine.published(), asked)
    other = CertificateAuthority.open(None, CREATED_S).root_pem()
    assert failures(judged(made, trust=other, fetch=circle)).keys() == {"chain"}
    assert len(asked) == 2, "the intermediate, and a root that is not trusted"


# Certificates of others, made by openssl.


def issued(at: Path, leaf_usage: str, ca: tuple[str, ...] = ()) -> tuple[bytes, bytes]:
    """Return a document signed by a leaf of a root, and the root."""
    request = ["req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "3650", "-sha256"]
    run(*request, "-subj", "/CN=Corp", *ca, "-keyout", "r.key", "-out", "r.pem", at=at)
    said = ["basicConstraints=critical,CA:FALSE", "subjectAltName=DNS:metadata.azure.com"]
    if leaf_usage:
        said.append(f"extendedKeyUsage={leaf_usage}")
    more = [word for one in said for word in ("-addext", one)]
    by = ["-CA", "r.pem", "-CAkey", "r.key", "-keyout", "l.key", "-out", "l.pem"]
    run(*request, "-subj", "/CN=metadata.azure.com", *by, *more, at=at)
    leaf = x509.load_pem_x509_certificate((at / "l.pem").read_bytes())
    (at / "l.key").chmod(0o600)
    return envelope(PAYLOAD, leaf, read_key(at / "l.key")), (at / "r.pem").read_bytes()


@pytest.mark.parametrize("usage", ["serverAuth", "clientAuth", "serverAuth,clientAuth", ""])
def test_a_leaf_may_be_for_servers_or_for_clients_under_a_root_without_key_usage(
    tmp_path: Path, usage: str
) -> None:
    document, root = issued(tmp_path, usage)
    starts = x509.load_pem_x509_certificate(root).not_valid_before_utc.timestamp()
    report = judged(document, trust=root, at_s=starts + 60)
    (chain,) = [one for one in report.checks if one.name == "chain"]
    assert (chain.holds, chain.detail) == (True, "metadata.azure.com < Corp")


@pytest.mark.parametrize(
    "usage, ca, reason",
    [
        ("codeSigning", (), "metadata.azure.com: for neither serverAuth nor clientAuth"),
        ("serverAuth", ("-addext", "keyUsage=cRLSign"), "Corp: its keyUsage lacks keyCertSign"),
    ],
)
def test_a_certificate_that_is_for_something_else_breaks_the_chain(
    tmp_path: Path, usage: str, ca: tuple[str, ...], reason: str
) -> None:
    document, root = issued(tmp_path, usage, ca)
    starts = x509.load_pem_x509_certificate(root).not_valid_before_utc.timestamp()
    report = judged(document, trust=root, at_s=starts + 60)
    assert reason in failures(report)["chain"]


def test_nothing_is_fetched_for_a_document_whose_signature_or_name_fails() -> None:
    asked: list[str] = []
    fetch = serve(authority.published(), asked)
    tampered = der.replace(b'"sku":"8', b'"sku":"9')
    for document, more in ((tampered, {}), (der, {"domain": "metadata.azure.cn"})):
        found = failures(judged(document, trust=authority.root_pem(), fetch=fetch, **more))
        assert found["chain"].endswith("; it is not fetched, as signature or name does not hold")
    assert asked == []
