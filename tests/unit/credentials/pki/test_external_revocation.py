"""Lists and OCSP responses of CAs whose keys are elsewhere, brought as files."""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from openimds.credentials.pki.authority import CertificateAuthority
from openimds.credentials.pki.certificate_info import list_name
from openimds.credentials.pki.external_revocation import MAX_FILES, MAX_OCTETS
from openimds.credentials.pki.lazy_ca import CA, CaSettings, LazyCa
from openimds.credentials.pki.ocsp import UNAUTHORIZED
from openimds.errors import ConfigError
from tests.unit.credentials.pki.openssl_verify import DAY_S, NOW_S, PUBLIC, URL, certificates, run
from tests.unit.credentials.pki.own_ca import DAY, OwnCa, write, write_chain

ROOT = OwnCa("Lab-Root")
POLICY = OwnCa("Lab-Policy", ROOT)
ISSUER = OwnCa("Lab-Issuer", POLICY, usages=("key_cert_sign",))
CHAIN = (ISSUER, POLICY, ROOT)


class Served:
    """A CA of the chain above, with files that were brought."""

    def __init__(self, at: Path) -> None:
        self.at = at
        self.notices: list[str] = []
        self.certificates, self.key = write_chain(at, *CHAIN)
        self.lists: list[Path] = []
        self.responses: list[Path] = []

    def crl(self, crl: x509.CertificateRevocationList, form: Encoding = Encoding.DER) -> None:
        self.lists.append(write(self.at, crl.public_bytes(form), f"{len(self.lists)}.crl"))

    def ocsp(self, octets: bytes) -> None:
        self.responses.append(write(self.at, octets, f"{len(self.responses)}.ocsp"))

    def open(self, now_s: float = NOW_S, url: str = URL) -> LazyCa:
        settings = CaSettings(
            None,
            url,
            self.certificates,
            self.key,
            notify=self.notices.append,
            lists=tuple(self.lists),
            responses=tuple(self.responses),
        )
        ca = LazyCa(settings)
        ca.check(now_s)
        return ca


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(tmp_path)


def request(certificate: x509.Certificate, issuer: OwnCa, digest: SHA1 | SHA256) -> bytes:
    builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer.certificate, digest)
    return builder.build().public_bytes(Encoding.DER)


def test_all_answers_of_a_chain_leave_nothing_lacking(served: Served) -> None:
    served.crl(ROOT.crl())
    served.crl(POLICY.crl(), Encoding.PEM)
    served.ocsp(ROOT.response(POLICY.certificate))
    served.ocsp(POLICY.response(ISSUER.certificate))
    ca = served.open()
    alone = ["Lab-Issuer has no key usage for lists: leaves name a responder alone"]
    assert served.notices == alone
    status = ca.revocation_status(NOW_S)
    assert status.lacks == alone
    assert {one.subject for one in status.certificates} == {"CN=Lab-Policy", "CN=Lab-Issuer"}
    assert all(one.in_use and one.revoked_at is None for one in status.certificates)
    assert [one.revoked for one in status.lists] == [0, 0]


def test_list_is_served_by_its_name_and_by_the_certificates(served: Served) -> None:
    crl = POLICY.crl()
    served.crl(crl, Encoding.PEM)
    ca = served.open()
    octets = crl.public_bytes(Encoding.DER)
    for name in (f"{list_name(POLICY.certificate)}.crl", "lab-policy.crl"):
        assert ca.revocation_list(name, NOW_S) == octets
    assert ca.revocation_list("lab-root.crl", NOW_S) is None


@pytest.mark.parametrize("digest", [SHA1(), SHA256()])
def test_response_is_served_as_it_was_brought(served: Served, digest: SHA1 | SHA256) -> None:
    octets = POLICY.response(ISSUER.certificate, digest=digest)
    served.ocsp(octets)
    ca = served.open()
    assert ca.ocsp_response(request(ISSUER.certificate, POLICY, digest), NOW_S) == octets
    other = SHA256() if digest.name == "sha1" else SHA1()
    asked = request(ISSUER.certificate, POLICY, other)
    assert ca.ocsp_response(asked, NOW_S) == UNAUTHORIZED


def test_strict_verifier_accepts_a_leaf_with_brought_lists(served: Served, tmp_path: Path) -> None:
    served.crl(ROOT.crl())
    served.crl(POLICY.crl())
    ca = served.open()
    leaf = ca.authority(NOW_S).leaf(*PUBLIC, NOW_S).certificate
    answer = ca.ocsp_response(request(leaf, ISSUER, SHA1()), NOW_S)
    assert ocsp.load_der_ocsp_response(answer).certificate_status == ocsp.OCSPCertStatus.GOOD
    (tmp_path / "root.pem").write_bytes(ROOT.certificate.public_bytes(Encoding.PEM))
    lists = [ca.revocation_list(f"{one.slug}.crl", NOW_S) for one in (ROOT, POLICY)]
    pem = [x509.load_der_x509_crl(one or b"").public_bytes(Encoding.PEM) for one in lists]
    (tmp_path / "lists.pem").write_bytes(b"".join(pem))
    policy = POLICY.certificate.public_bytes(Encoding.PEM)
    (tmp_path / "policy.pem").write_bytes(policy)
    (tmp_path / "issuer.pem").write_bytes(ISSUER.certificate.public_bytes(Encoding.PEM))
    options = ("-attime", str(int(NOW_S)), "-crl_check_all", "-CAfile", "root.pem")
    text = run("verify", *options, "-untrusted", "policy.pem", "-CRLfile", "lists.pem",
               "issuer.pem", at=tmp_path)  # fmt: skip
    assert "issuer.pem: OK" in text


def test_lacking_answers_are_reported_at_start_and_later(served: Served) -> None:
    ca = served.open()
    assert served.notices[1:] == [
        "CN=Lab-Issuer: there is no list of CN=Lab-Policy; bring one by --attest-crl",
        "CN=Lab-Issuer: there is no OCSP response about it; bring one by --attest-ocsp",
        "CN=Lab-Policy: there is no list of CN=Lab-Root; bring one by --attest-crl",
        "CN=Lab-Policy: there is no OCSP response about it; bring one by --attest-ocsp",
    ]
    assert ca.revocation_status(NOW_S).lacks == served.notices


def test_certificate_with_other_addresses_is_reported(tmp_path: Path) -> None:
    plain = OwnCa("Plain", ROOT, is_addressed=False)
    paths = write_chain(tmp_path, plain, ROOT)
    crl = write(tmp_path, ROOT.crl().public_bytes(Encoding.DER), "root.crl")
    response = write(tmp_path, ROOT.response(plain.certificate), "plain.ocsp")
    notices: list[str] = []
    settings = CaSettings(
        None, URL, *paths, notify=notices.append, lists=(crl,), responses=(response,)
    )
    LazyCa(settings).check(NOW_S)
    assert notices == [
        f"CN=Plain: it names no list of {URL}/pkiops/crl/ (it names none)",
        f"CN=Plain: it names no responder {URL}/ocsp (it names none)",
    ]


def test_chain_without_its_root_is_reported(tmp_path: Path) -> None:
    paths = write_chain(tmp_path, POLICY)
    notices: list[str] = []
    LazyCa(CaSettings(None, URL, *paths, notify=notices.append)).check(NOW_S)
    assert notices == [
        "CN=Lab-Policy: the certificate of its issuer, CN=Lab-Root, is not in the chain"
    ]


@pytest.mark.parametrize(
    "starts, ends, sentence",
    [
        (-DAY, timedelta(hours=23), "it ends at 2023-07-25 11:00:00 UTC: bring a newer one"),
        (-2 * DAY, timedelta(0), "it has ended at 2023-07-24 12:00:00 UTC: bring a newer one"),
        (timedelta(hours=1), 9 * DAY, "it begins at 2023-07-24 13:00:00 UTC: check the clock"),
        (-DAY, 9 * DAY, ""),
    ],
)
def test_validity_of_a_list_is_reported(
    served: Served, starts: timedelta, ends: timedelta, sentence: str
) -> None:
    served.crl(POLICY.crl(starts=starts, ends=ends))
    ca = served.open()
    about = [text for text in served.notices if text.startswith("attest_crl: ")]
    assert about == ([f"attest_crl: {served.lists[0]}: {sentence}"] if sentence else [])
    assert ca.revocation_list("lab-policy.crl", NOW_S), "it is served all the same"


def test_list_that_ends_later_is_reported_by_the_status(served: Served) -> None:
    served.crl(POLICY.crl())
    ca = served.open()
    lacks = ca.revocation_status(NOW_S + 31 * DAY_S).lacks
    assert any("0.crl: it has ended" in text for text in lacks)
    assert not any("0.crl: it has ended" in text for text in served.notices)


@pytest.mark.parametrize("way", ["list", "response"])
def test_intermediate_revoked_by_its_issuer_is_reported(served: Served, way: str) -> None:
    if way == "list":
        served.crl(POLICY.crl(ISSUER.certificate))
    served.ocsp(POLICY.response(ISSUER.certificate, is_revoked=way == "response"))
    ca = served.open()
    assert "CN=Lab-Issuer: its issuer has revoked it, so verifiers refuse it" in served.notices
    rows = {one.subject: one for one in ca.revocation_status(NOW_S).certificates}
    assert rows["CN=Lab-Issuer"].reason == "superseded"
    assert rows["CN=Lab-Issuer"].revoked_at == "2023-07-23T12:00:00+00:00"


STRANGER = OwnCa("Stranger")
SAME_NAME = OwnCa("Lab-Policy")
DER = Encoding.DER
BAD_LISTS: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "expected a list of revoked certificates"),
    "text": (lambda: b"<html>not found</html>", "expected a list of revoked certificates"),
    "cut": (lambda: POLICY.crl().public_bytes(DER)[:-9], "expected a list of revoked certif"),
    "certificate": (
        lambda: POLICY.certificate.public_bytes(Encoding.PEM),
        "expected a list of revoked certificates",
    ),
    "stranger": (
        lambda: STRANGER.crl().public_bytes(DER),
        "saw a list of CN=Stranger, expected one of an issuer in the chain: CN=Lab-Issuer; CN=L",
    ),
    "forged": (
        lambda: SAME_NAME.crl().public_bytes(DER),
        "saw a list in the name of CN=Lab-Policy that another key has signed",
    ),
    "usage": (
        lambda: ISSUER.crl().public_bytes(DER),
        "saw a list of CN=Lab-Issuer, whose keyUsage lacks cRLSign",
    ),
    "large": (lambda: b"0" * (MAX_OCTETS + 1), f"saw more than {MAX_OCTETS} octets"),
}
BAD_RESPONSES: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "expected an OCSP response in DER"),
    "cut": (lambda: POLICY.response(ISSUER.certificate)[:-9], "expected an OCSP response in DER"),
    "unsigned": (lambda: UNAUTHORIZED, "saw the unsigned error unauthorized"),
    "endless": (
        lambda: POLICY.response(ISSUER.certificate, ends=None),
        "saw a response without nextUpdate",
    ),
    "stranger": (
        lambda: POLICY.response(STRANGER.certificate),
        "expected one about a certificate of the chain: CN=Lab-Issuer; CN=Lab-Policy",
    ),
    "forged": (
        lambda: (it := POLICY.response(ISSUER.certificate))[:-1] + bytes([it[-1] ^ 1]),
        "saw a response that neither CN=Lab-Policy nor a responder of it has signed",
    ),
    "other issuer": (
        lambda: SAME_NAME.response(ISSUER.certificate),
        "saw a response about the serial number",
    ),
    "large": (lambda: b"0" * (MAX_OCTETS + 1), f"saw more than {MAX_OCTETS} octets"),
}


@pytest.mark.parametrize("kind", BAD_LISTS)
def test_list_that_does_not_fit_stops_the_start(served: Served, kind: str) -> None:
    make, message = BAD_LISTS[kind]
    served.lists.append(write(served.at, make(), "bad.crl"))
    with pytest.raises(ConfigError) as caught:
        served.open()
    assert str(caught.value).startswith(f"attest_crl: {served.at}/bad.crl: saw ")
    assert message in str(caught.value)


@pytest.mark.parametrize("kind", BAD_RESPONSES)
def test_response_that_does_not_fit_stops_the_start(served: Served, kind: str) -> None:
    make, message = BAD_RESPONSES[kind]
    served.responses.append(write(served.at, make(), "bad.ocsp"))
    with pytest.raises(ConfigError) as caught:
        served.open()
    assert str(caught.value).startswith(f"attest_ocsp: {served.at}/bad.ocsp: saw ")
    assert message in str(caught.value)


def test_two_answers_of_one_kind_are_refused(served: Served) -> None:
    served.crl(POLICY.crl())
    served.crl(POLICY.crl(ISSUER.certificate))
    with pytest.raises(ConfigError, match=r"1\.crl: saw a list of this issuer in an earlier file"):
        served.open()
    served.lists.clear()
    for _ in range(2):
        served.ocsp(POLICY.response(ISSUER.certificate))
    with pytest.raises(ConfigError, match=r"1\.ocsp: saw a response about this certificate in an"):
        served.open()


def test_missing_file_a_pipe_and_too_many_are_refused(served: Served) -> None:
    served.lists.append(served.at / "none.crl")
    with pytest.raises(ConfigError, match=r"none\.crl: saw no such file or directory, expected a"):
        served.open()
    os.mkfifo(served.at / "pipe.crl")
    served.lists[:] = [served.at / "pipe.crl"]
    with pytest.raises(ConfigError, match=r"pipe\.crl: saw no regular file"):
        served.open()
    served.lists[:] = [served.at / "none.crl"] * (MAX_FILES + 1)
    with pytest.raises(ConfigError, match=f"attest_crl: saw {MAX_FILES + 1} files, expected at mo"):
        served.open()


def test_answer_of_a_key_that_is_here_is_refused(tmp_path: Path) -> None:
    authority = CertificateAuthority.open(tmp_path / CA, NOW_S, public_url=URL)
    authority.leaf(*PUBLIC, NOW_S)
    authority.answers.refresh(NOW_S)
    root = certificates(authority.root_pem())[0]
    octets = authority.revocation_list(f"{list_name(root)}.crl", NOW_S)
    assert octets
    path = write(tmp_path, octets, "root.crl")
    with pytest.raises(ConfigError, match="whose key is here, expected one of an issuer whose key"):
        LazyCa(CaSettings(tmp_path, URL, lists=(path,))).check(NOW_S)


def test_list_replaces_that_of_a_root_whose_key_is_away(tmp_path: Path) -> None:
    authority = CertificateAuthority.open(tmp_path / CA, NOW_S, public_url=URL, generation="2023")
    root = certificates(authority.root_pem())[0]
    name = f"{list_name(root)}.crl"
    later = authority.revocation_list(name, NOW_S)
    assert later
    path = write(tmp_path, later, "root.crl")
    (tmp_path / CA / "root.key").unlink()
    (tmp_path / CA / "lists" / name).unlink()
    notices: list[str] = []
    ca = LazyCa(CaSettings(tmp_path, URL, notify=notices.append, lists=(path,), generation="2023"))
    ca.check(NOW_S)
    assert ca.revocation_list(name, NOW_S) == later
    assert len(notices) == 1
    assert "there is no OCSP response about it; bring one by --attest-ocsp" in notices[0]
