"""`verify` with revocation: every status, every fault of a list or response, no stray fetch."""

from base64 import b64decode
from collections.abc import Callable, Mapping
from urllib.parse import unquote

import pytest

from openimds.credentials.pki.authority import CertificateAuthority
from openimds.credentials.pki.cms import envelope
from openimds.credentials.pki.document_signer import DocumentSigner
from openimds.credentials.pki.ocsp import TRY_LATER, decode_path
from openimds.credentials.pki.revocation_check import RevocationMode
from openimds.credentials.pki.verify import VerificationReport, verify
from openimds.facts.revocation import CRL_PATH
from tests.unit.credentials.pki.openssl_verify import DAY_S, PUBLIC, URL
from tests.unit.credentials.pki.recordings import CREATED_S, NONCE, PAYLOAD

Answer = bytes | None
"""The content of an address; None is a refusal."""


class Listener:
    """A public listener whose answers a test may replace, by a part of the address."""

    def __init__(self, authority: CertificateAuthority, now_s: float = CREATED_S) -> None:
        self.authority, self.now_s = authority, now_s
        self.replaced: dict[str, Answer] = {}
        self.urls: list[str] = []

    def __call__(self, url: str) -> bytes:
        self.urls.append(url)
        found: Answer = self._found(url.removeprefix(URL).removeprefix("/alternate"))
        for part, answer in self.replaced.items():
            if part in url:
                found = answer
        if found is None:
            raise OSError("status 404")
        return found

    def _found(self, path: str) -> Answer:
        if path.startswith("/ocsp/"):
            request = decode_path(unquote(path.removeprefix("/ocsp/")))
            return self.authority.ocsp_response(request, self.now_s)
        name = path.removeprefix(f"{CRL_PATH}/")
        return self.authority.revocation_list(name, self.now_s)


@pytest.fixture
def authority() -> CertificateAuthority:
    return CertificateAuthority.open(None, CREATED_S, public_url=URL)


@pytest.fixture
def listener(authority: CertificateAuthority) -> Listener:
    return Listener(authority)


def signed(authority: CertificateAuthority) -> bytes:
    leaf = authority.leaf(*PUBLIC, CREATED_S)
    return envelope(PAYLOAD, leaf.certificate, leaf.key)


def check(
    document: bytes,
    listener: Listener,
    mode: RevocationMode = "hard",
    *,
    trust: bytes | None = None,
    at_s: float = CREATED_S,
) -> VerificationReport:
    return verify(
        document,
        trust=trust or listener.authority.bundle(),
        nonce=NONCE,
        at_s=at_s,
        fetch=listener,
        revocation=mode,
    )


def outcome(report: VerificationReport) -> tuple[bool | None, str]:
    (found,) = [item for item in report.checks if item.name == "revocation"]
    return found.holds, found.detail


def test_good_chain_holds_by_its_lists(authority: CertificateAuthority, listener: Listener) -> None:
    report = check(signed(authority), listener)
    assert report.holds
    holds, detail = outcome(report)
    assert holds
    assert detail.startswith("good: metadata.azure.com by CRL, OpenIMDS TLS G2 RSA CA OCSP 01 by")
    assert [item.name for item in report.checks][3:5] == ["chain", "revocation"]
    assert len(listener.urls) == 3, "one list for each certificate but the root"


def test_default_asks_nothing(authority: CertificateAuthority, listener: Listener) -> None:
    report = check(signed(authority), listener, "off")
    assert "revocation" not in [item.name for item in report.checks]
    assert listener.urls == []


@pytest.mark.parametrize("source", ["CRL", "OCSP"])
@pytest.mark.parametrize("mode", ["soft", "hard"])
def test_revoked_leaf_fails(
    authority: CertificateAuthority, listener: Listener, mode: RevocationMode, source: str
) -> None:
    document = signed(authority)
    authority.revoke("leaf", "keyCompromise", CREATED_S)
    if source == "OCSP":
        listener.replaced[CRL_PATH] = None
    holds, detail = outcome(check(document, listener, mode))
    assert holds is False
    assert detail == "metadata.azure.com: revoked 2023-10-02 12:33:11 UTC, keyCompromise"


def test_revoked_intermediate_fails(authority: CertificateAuthority, listener: Listener) -> None:
    document = signed(authority)
    authority.revoke("intermediate", "unspecified", CREATED_S)
    holds, detail = outcome(check(document, listener))
    assert holds is False
    assert detail.startswith("OpenIMDS TLS G2 RSA CA OCSP 01: revoked ")
    assert detail.endswith("unspecified")


def test_second_address_serves_where_the_first_fails(
    authority: CertificateAuthority, listener: Listener
) -> None:
    listener.replaced[f"{URL}{CRL_PATH}"] = None
    report = check(signed(authority), listener)
    assert report.holds
    assert len(listener.urls) == 6


def test_ocsp_serves_where_no_list_can_be_had(
    authority: CertificateAuthority, listener: Listener
) -> None:
    listener.replaced[CRL_PATH] = None
    assert outcome(check(signed(authority), listener))[1].count("by OCSP") == 3


@pytest.mark.parametrize("mode, holds", [("soft", None), ("hard", False)])
@pytest.mark.parametrize(
    "replaced, reason",
    [
        ({CRL_PATH: None, "/ocsp": None}, "CRL: status 404; CRL: status 404; OCSP: status 404"),
        ({CRL_PATH: b"<html>", "/ocsp": TRY_LATER}, "OCSP: try later"),
        ({CRL_PATH: b"", "/ocsp": b"<html>"}, "OCSP: "),
    ],
)
def test_unknown_status_fails_only_in_hard(
    authority: CertificateAuthority,
    listener: Listener,
    mode: RevocationMode,
    replaced: Mapping[str, Answer],
    reason: str,
    *,
    holds: bool | None,
) -> None:
    listener.replaced.update(replaced)
    report = check(signed(authority), listener, mode)
    got, detail = outcome(report)
    assert got is holds
    assert "metadata.azure.com: unknown: CRL: " in detail
    assert reason in detail
    assert report.holds is (holds is None)


def swapped(part: str) -> Callable[[Listener, CertificateAuthority], bytes]:
    """Return the list of another certificate of the same authority."""

    def take(listener: Listener, authority: CertificateAuthority) -> bytes:
        check(signed(authority), listener)
        url = next(url for url in listener.urls if part in url)
        return listener(url)

    return take


@pytest.mark.parametrize("part", ["root-ca", "root-g2"])
def test_list_of_another_issuer_is_not_taken(
    authority: CertificateAuthority, listener: Listener, part: str
) -> None:
    other = swapped(part)(listener, authority)
    listener.replaced.update({"partition": other, "/ocsp": None})
    holds, detail = outcome(check(signed(authority), listener))
    assert holds is False
    assert "CRL: the list is not the issuer's" in detail


def test_list_of_another_partition_is_not_taken(
    authority: CertificateAuthority, listener: Listener
) -> None:
    document = signed(authority)
    authority.rotate("leaf", CREATED_S)
    fresh = signed(authority)
    check(fresh, listener)
    url = next(url for url in listener.urls if "partition" in url)
    listener.replaced.update({"partition": listener(url), "/ocsp": None})
    assert "the list is for another partition" in outcome(check(document, listener))[1]


def test_forged_list_is_not_taken(authority: CertificateAuthority, listener: Listener) -> None:
    check(signed(authority), listener)
    octets = bytearray(listener(next(url for url in listener.urls if "partition" in url)))
    octets[-1] ^= 1
    listener.replaced.update({"partition": bytes(octets), "/ocsp": None})
    assert "CRL: the list is not the issuer's" in outcome(check(signed(authority), listener))[1]


def test_stale_list_and_response_are_not_taken(
    authority: CertificateAuthority, listener: Listener
) -> None:
    at_s = CREATED_S + 11 * DAY_S
    detail = outcome(check(signed(authority), listener, at_s=at_s))[1]
    assert "CRL: the list is not valid at this time" in detail
    assert "OCSP: the response is not valid at this time" in detail


def test_response_of_another_authority_is_not_taken(
    authority: CertificateAuthority, listener: Listener
) -> None:
    document = signed(authority)
    listener.replaced[CRL_PATH] = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("openimds.credentials.pki.revocation_check.is_issued_by", lambda *_: False)
        detail = outcome(check(document, listener))[1]
    assert "OCSP: no responder of the issuer signed the response" in detail


def test_nothing_is_asked_below_an_untrusted_root(
    authority: CertificateAuthority, listener: Listener
) -> None:
    other = CertificateAuthority.open(None, CREATED_S).bundle()
    document = signed(authority)
    report = check(document, listener, trust=other)
    assert outcome(report) == (None, "not reached: the chain does not hold")
    assert not [url for url in listener.urls if CRL_PATH in url or "/ocsp" in url]


def test_chain_without_addresses_is_unknown() -> None:
    own = CertificateAuthority.open(None, CREATED_S)
    holds, detail = outcome(check(signed(own), Listener(own)))
    assert (holds, detail) == (False, "metadata.azure.com: unknown: it names no address")


def test_without_fetch_the_status_is_unknown(authority: CertificateAuthority) -> None:
    report = verify(
        signed(authority),
        trust=authority.bundle(),
        nonce=NONCE,
        at_s=CREATED_S,
        revocation="soft",
    )
    assert outcome(report) == (None, "metadata.azure.com: unknown: nothing is fetched")


def test_unreadable_document_is_not_asked_about(listener: Listener) -> None:
    report = check(b"{}", listener)
    assert "revocation" not in [item.name for item in report.checks]
    assert listener.urls == []


def test_document_of_a_revoked_leaf_fails_by_this_check_alone(
    authority: CertificateAuthority, listener: Listener
) -> None:
    signer = DocumentSigner(authority)
    payload, subject = PAYLOAD, PUBLIC
    good = signer.document(payload, *subject, CREATED_S)
    bad = signer.document(payload, *subject, CREATED_S, "revoked-leaf")
    report = check(b64decode(bad), listener)
    assert [item.name for item in report.checks if item.holds is False] == ["revocation"]
    assert "revoked 2023-10-02 12:33:11 UTC, keyCompromise" in outcome(report)[1]
    assert check(b64decode(bad), listener, "off").holds
    assert check(b64decode(good), listener).holds, "others keep their leaf"
    again = signer.document(payload, *subject, CREATED_S, "revoked-leaf")
    assert again == bad, "one revoked leaf for a region"
