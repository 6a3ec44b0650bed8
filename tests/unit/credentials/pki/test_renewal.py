"""Root, intermediate and token keys that renew by themselves, while years pass by the clock."""

import base64
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from cryptography import x509

from openimds.credentials.keys.files import KeyFileError
from openimds.credentials.keys.keyring import LIFE_S, Keyring
from openimds.credentials.pki.authority import CertificateAuthority
from openimds.credentials.pki.certificate_info import common_name, is_root
from openimds.credentials.pki.document_signer import DocumentSigner
from openimds.credentials.pki.lazy_ca import CA, CaSettings, LazyCa
from openimds.credentials.pki.renewal import INTERMEDIATE_DAYS, ROOT_DAYS
from openimds.credentials.pki.verify import verify
from openimds.credentials.service import CredentialsService
from openimds.protocol.access_token import TokenSettings
from tests.unit.credentials.pki.openssl_verify import DAY_S, NOW_S, PUBLIC, URL, certificates
from tests.unit.credentials.pki.own_ca import OwnCa, write_chain
from tests.unit.credentials.pki.test_rehearsal import payload_of

YEAR_S = 365 * DAY_S
ROOT_ENDS_S = NOW_S + 20 * YEAR_S
"""A root lives 20 years, an intermediate 10."""


def published_by(authority: CertificateAuthority) -> Callable[[str], bytes]:
    """Return a fetcher of the certificates that the authority publishes."""

    def fetch(url: str) -> bytes:
        name = url.rpartition("/")[2].removesuffix(".crt")
        found = authority.published().get(name)
        if found is None:
            raise OSError(f"{name} is not published")
        return found

    return fetch


def holds(authority: CertificateAuthority, document: bytes, trust: bytes, now_s: float) -> bool:
    report = verify(
        document,
        trust=trust,
        nonce="1234567890",
        at_s=now_s,
        fetch=published_by(authority),
        domain="metadata.azure.com",
    )
    return report.holds


def document(authority: CertificateAuthority, now_s: float) -> bytes:
    text = DocumentSigner(authority).document(payload_of(now_s), *PUBLIC, now_s)
    return base64.b64decode(text)


def roots(bundle: bytes) -> list[str]:
    return [common_name(one) for one in certificates(bundle) if is_root(one)]


def test_documents_hold_for_forty_years_and_across_restarts(tmp_path: Path) -> None:
    before, before_s = (b"", b""), 0.0
    seen: set[str] = set()
    for year in (0, 9, 16, 18, 20, 27, 34, 36, 38, 40):
        now_s = NOW_S + year * YEAR_S
        authority = CertificateAuthority.open(tmp_path, now_s, public_url=URL)
        made = document(authority, now_s)
        bundle = authority.bundle()
        assert holds(authority, made, bundle, now_s), year
        if now_s - before_s < 3 * YEAR_S:
            assert holds(authority, made, before[0], now_s), f"{year}: with the bundle of before"
            assert holds(authority, before[1], bundle, before_s), f"{year}: the document of before"
        again = CertificateAuthority.open(tmp_path, now_s, public_url=URL)
        # A tier whose cross-certified root has ended is issued anew, with the root's own address.
        assert {*certificates(again.bundle())} >= {*certificates(bundle)}
        assert holds(again, document(again, now_s), bundle, now_s), f"{year}: after a restart"
        before, before_s = (bundle, made), now_s
        seen |= {*roots(bundle)}
    assert len(seen) == 3, "a root signs for eighteen years"


def test_both_roots_are_trusted_until_the_old_one_ends(tmp_path: Path) -> None:
    authority = CertificateAuthority.open(tmp_path, NOW_S, public_url=URL)
    (old,) = roots(authority.bundle())
    due_s = ROOT_ENDS_S - ROOT_DAYS * DAY_S
    authority.renew(due_s - DAY_S)
    assert roots(authority.bundle()) == [old]
    trust = authority.bundle()
    authority.renew(due_s + DAY_S)
    new, kept = roots(authority.bundle())
    assert kept == old
    for now_s in (due_s + DAY_S, ROOT_ENDS_S - DAY_S):
        assert holds(authority, document(authority, now_s), trust, now_s)
        reopened = CertificateAuthority.open(tmp_path, now_s, public_url=URL)
        assert roots(reopened.bundle()) == [new, old]
    late_s = ROOT_ENDS_S + DAY_S
    made = document(authority, late_s)
    assert holds(authority, made, authority.bundle(), late_s)
    assert not holds(authority, made, trust, late_s)


def test_jump_past_the_end_of_the_root_makes_a_new_one() -> None:
    authority = CertificateAuthority.open(None, NOW_S, public_url=URL)
    document(authority, NOW_S)
    late_s = ROOT_ENDS_S + 5 * YEAR_S
    made = document(authority, late_s)
    assert holds(authority, made, authority.bundle(), late_s)
    current = certificates(authority.root_pem())
    names = [common_name(one) for one in certificates(authority.bundle())]
    assert len(current) == 1
    assert names.count(common_name(current[0])) == 1, "an ended root certifies nothing"


def test_renewals_are_counted_and_reported_once() -> None:
    sentences: list[str] = []
    ca = LazyCa(CaSettings(public_url=URL, notify=sentences.append))
    first = ca.certificate_infos(NOW_S)
    due_s = NOW_S + 10 * YEAR_S - INTERMEDIATE_DAYS * DAY_S
    for late_s in (-DAY_S, DAY_S, 2 * DAY_S):
        ca.keep_up(due_s + late_s)
    assert ca.replaced == {("intermediate", "age"): 1}
    ends = datetime.fromisoformat(first[0].not_after)
    sentence = (
        "the intermediate OpenIMDS TLS G2 RSA CA OCSP 01 was renewed by OpenIMDS TLS G2 RSA CA "
        f"OCSP 02; the former one, which ends at {ends:%F %T} UTC, stays published"
    )
    assert sentences == [sentence]
    for _ in range(2):
        ca.keep_up(ROOT_ENDS_S - DAY_S)
    assert ca.replaced == {("intermediate", "age"): 1, ("root", "age"): 1}
    assert sentences[1].startswith("the root OpenIMDS Root CA ")
    assert "both are in the trust bundle until 20" in sentences[1]
    assert len(sentences) == 2


def test_absent_root_key_is_reported_before_the_root_ends(tmp_path: Path) -> None:
    CertificateAuthority.open(tmp_path / CA, NOW_S, public_url=URL)
    (tmp_path / CA / "root.key").unlink()
    sentences: list[str] = []
    ca = LazyCa(CaSettings(tmp_path, URL, notify=sentences.append))
    ca.check(NOW_S)
    late_s = ROOT_ENDS_S - 100 * DAY_S
    for _ in range(2):
        ca.keep_up(late_s)
    about = [text for text in sentences if "put root.key into the folder of the CA" in text]
    assert len(about) == 1
    assert ca.revocation_status(late_s).lacks.count(about[0]) == 1
    assert not any("put root.key" in text for text in ca.revocation_status(NOW_S).lacks)


def test_end_of_an_external_ca_is_reported_a_month_ahead(tmp_path: Path) -> None:
    root = OwnCa("Lab-Root")
    paths = write_chain(tmp_path, OwnCa("Lab-Own", root), root)
    sentences: list[str] = []
    ca = LazyCa(CaSettings(None, URL, *paths, notify=sentences.append))
    ca.check(NOW_S)
    assert not any("its key is not here" in text for text in sentences)
    sentences.clear()
    for _ in range(2):
        ca.keep_up(NOW_S + 2980 * DAY_S)
    remedy = (
        ", and its key is not here: bring its successor by --attest-key and "
        "--attest-certificates, and restart"
    )
    assert [text.partition(" UTC")[2] for text in sentences] == [remedy] * 2
    assert ca.replaced == {}


def test_failed_renewal_of_the_root_is_reported_once_an_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = CertificateAuthority.open(tmp_path, NOW_S)
    due_s = ROOT_ENDS_S - 100 * DAY_S
    authority.renew(due_s - 9 * YEAR_S)
    reports: list[str] = []
    authority.report = lambda part, cause, sentence: reports.append(part + cause + sentence)

    def write(path: Path, _: bytes) -> None:
        raise KeyFileError(f"{path.name}: no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("openimds.credentials.pki.chain_files.write_file", write)
        for late_s in (0, 3599, 3600):
            document(authority, due_s + late_s)
    assert len(reports) == 2
    assert "cannot be renewed, and ends at 20" in reports[0]
    assert "no space left on device" in reports[0]
    authority.renew(due_s + 7201)
    assert len(reports) == 3
    assert reports[2].startswith("rootagethe root ")


def test_renewal_during_a_walk_is_of_its_generation() -> None:
    authority = CertificateAuthority.open(None, NOW_S, generation="2019")
    authority.renew(NOW_S + 19 * YEAR_S)
    name = common_name(certificates(authority.chain_pem())[0])
    assert name == "OpenIMDS IT TLS CA 02"


def test_token_key_of_a_year_is_replaced_with_overlap() -> None:
    ring = Keyring()
    assert ring.renew(NOW_S) is None, "nobody has asked for a key"
    old = ring.signer(NOW_S).kid
    assert ring.renew(NOW_S + LIFE_S - 1) is None
    new = ring.renew(NOW_S + LIFE_S)
    assert new is not None
    assert [key.kid for key in ring.public(NOW_S + LIFE_S + 3600)] == [new.kid, old]
    assert ring.renew(NOW_S + LIFE_S) is None
    assert ring.renew(0) is None, "a clock set back renews nothing"


def test_token_key_renewal_is_counted_and_reported(tmp_path: Path) -> None:
    sentences: list[str] = []
    settings = CaSettings(tmp_path, URL, notify=sentences.append)
    service = CredentialsService(settings, TokenSettings(86_400))
    service.keep_up(NOW_S)
    assert service.key_infos(NOW_S) == ()
    service.keyring().signer(NOW_S)
    for _ in range(2):
        service.keep_up(NOW_S + LIFE_S)
    (new, old) = service.key_infos(NOW_S + LIFE_S)
    assert old.retired_s == NOW_S + LIFE_S
    assert sentences == [
        f"tokens are signed by the new key {new.kid}: the former one was a year old"
    ]
    assert service.ca.replaced == {("token-key", "age"): 1}
    service.close()


def test_reopened_folder_renews_a_root_that_has_ended(tmp_path: Path) -> None:
    CertificateAuthority.open(tmp_path, NOW_S, public_url=URL)
    late_s = ROOT_ENDS_S + YEAR_S
    authority = CertificateAuthority.open(tmp_path, late_s, public_url=URL)
    made = document(authority, late_s)
    assert holds(authority, made, authority.bundle(), late_s)
    again = CertificateAuthority.open(tmp_path, late_s, public_url=URL)
    assert {*certificates(again.bundle())} == {*certificates(authority.bundle())}
    assert x509.load_pem_x509_certificates(again.root_pem())[0].not_valid_after_utc.year >= 2063


def test_ends_of_an_unused_authority_do_not_open_it() -> None:
    ca = LazyCa(CaSettings(public_url=URL))
    assert ca.ends() == {}
    authority = ca.authority(NOW_S)
    ends = ca.ends()
    assert ends.keys() == {"root", "intermediate"}
    assert NOW_S < ends["intermediate"] <= ends["root"]
    authority.leaf("metadata.azure.com", "westeurope", NOW_S)
    assert NOW_S < ca.ends()["leaf"] <= ends["intermediate"]
