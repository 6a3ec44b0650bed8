"""Lists of revoked certificates: their addresses, periods and bounds, and OpenSSL."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from openimds.credentials.keys.files import KeyFileError
from openimds.credentials.pki import extensions
from openimds.credentials.pki.authority import CertificateAuthority, Part
from openimds.credentials.pki.certificates import KeyIssuer, LeafSubject
from openimds.credentials.pki.chain import ExternalCa
from openimds.credentials.pki.extensions import addresses_in
from openimds.credentials.pki.revocation_lists import ListSigner, RevocationLists
from openimds.credentials.pki.revocation_register import (
    HOST_PARTITIONS,
    MAX_ENTRIES,
    PARTITIONS,
    RegisterEntry,
    RevocationRegister,
    host_partition,
)
from openimds.facts.revocation import CRL_PATH
from tests.unit.credentials.pki.openssl_verify import (
    DAY_S,
    NOW_S,
    PUBLIC,
    URL,
    certificates,
    run,
)

ALTERNATE = f"{URL}/alternate"


@pytest.fixture
def authority() -> CertificateAuthority:
    return CertificateAuthority.open(None, NOW_S, public_url=URL)


def listed(authority: CertificateAuthority, url: str, now_s: float = NOW_S) -> bytes:
    """Return the list at an address, as the public listener serves it."""
    path = url.removeprefix(ALTERNATE).removeprefix(URL)
    found = authority.revocation_list(path.removeprefix(f"{CRL_PATH}/"), now_s)
    assert found is not None, url
    return found


def crl(octets: bytes) -> x509.CertificateRevocationList:
    return x509.load_der_x509_crl(octets)


def leaf_of(authority: CertificateAuthority, now_s: float = NOW_S) -> x509.Certificate:
    return authority.leaf(*PUBLIC, now_s).certificate


def openssl(
    authority: CertificateAuthority,
    leaf: x509.Certificate,
    at: Path,
    *,
    now_s: float = NOW_S,
    is_ok: bool = True,
) -> str:
    """Verify a leaf with the lists at the addresses of each certificate, none missing."""
    chain = [leaf, *certificates(authority.chain_pem())[:-1]]
    (at / "leaf.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
    (at / "trust.pem").write_bytes(authority.bundle())
    lists = b""
    for certificate in chain:
        url = addresses_in(certificate).crls[0]
        lists += crl(listed(authority, url, now_s)).public_bytes(Encoding.PEM)
    (at / "lists.pem").write_bytes(lists)
    options = ["-crl_check_all", "-x509_strict", "-attime", str(int(now_s))]
    files = ["-CAfile", "trust.pem", "-CRLfile", "lists.pem", "leaf.pem"]
    return run("verify", *options, *files, at=at, is_ok=is_ok)


# Addresses.


def test_leaf_has_one_point_with_two_addresses_of_its_partition(
    authority: CertificateAuthority,
) -> None:
    points = leaf_of(authority).extensions.get_extension_for_class(x509.CRLDistributionPoints)
    (point,) = points.value
    first, second = [name.value for name in point.full_name or ()]
    assert first.startswith(f"{URL}/pkiops/crl/partition/openimds-tls-g2-rsa-ca-ocsp-01-")
    assert first.endswith("_Partition00001.crl")
    assert second == first.replace(URL, ALTERNATE)
    assert listed(authority, first) == listed(authority, second)


def test_new_leaf_has_an_address_of_its_own(authority: CertificateAuthority) -> None:
    before = addresses_in(leaf_of(authority)).crls
    authority.rotate("leaf", NOW_S)
    after = addresses_in(leaf_of(authority)).crls
    assert before != after
    assert listed(authority, before[0]) != listed(authority, after[0])


def test_without_public_url_no_list_is_named_or_served() -> None:
    own = CertificateAuthority.open(None, NOW_S)
    assert addresses_in(leaf_of(own)).crls == ()
    assert own.revocation_list("partition/x_Partition00001.crl", NOW_S) is None


def test_root_names_no_list(authority: CertificateAuthority) -> None:
    *below, root = certificates(authority.chain_pem())
    assert addresses_in(root).crls == ()
    assert all(addresses_in(one).crls for one in below)


@pytest.mark.parametrize("name", ["", "x.crl", "../root.key", "partition/x_Partition00001.crl"])
def test_unknown_list_is_absent(authority: CertificateAuthority, name: str) -> None:
    leaf_of(authority)
    assert authority.revocation_list(name, NOW_S) is None


# Contents and periods.


@pytest.mark.parametrize("generation", ["2019", "2023", "2026"])
def test_openssl_checks_every_certificate_of_the_chain(generation: str, tmp_path: Path) -> None:
    authority = CertificateAuthority.open(None, NOW_S, public_url=URL, generation=generation)
    assert "leaf.pem: OK" in openssl(authority, leaf_of(authority), tmp_path)


def test_list_of_leaves_lives_ten_days_and_is_signed_every_seven(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    leaf = leaf_of(authority)
    url = addresses_in(leaf).crls[0]
    first = listed(authority, url)
    times = crl(first)
    assert times.next_update_utc is not None
    assert (times.next_update_utc - times.last_update_utc).days == 10
    assert times.last_update_utc.timestamp() == NOW_S - 3600
    authority.answers.refresh_due(NOW_S + 7 * DAY_S - 1)
    assert listed(authority, url) == first
    authority.answers.refresh_due(NOW_S + 7 * DAY_S)
    assert listed(authority, url) != first
    assert "OK" in openssl(authority, leaf, tmp_path, now_s=NOW_S + 16 * DAY_S)


def test_list_of_a_root_lives_less_than_a_year(authority: CertificateAuthority) -> None:
    tier = certificates(authority.chain_pem())[1]
    times = crl(listed(authority, addresses_in(tier).crls[0]))
    assert times.next_update_utc is not None
    assert (times.next_update_utc - times.last_update_utc).days == 360


def test_request_for_a_list_signs_nothing(
    authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = addresses_in(leaf_of(authority)).crls[0]
    listed(authority, url)

    def sign(*_: object) -> None:
        raise AssertionError("a request signs")

    monkeypatch.setattr(KeyIssuer, "sign_list", sign)
    for days in range(0, 400, 50):
        listed(authority, url, NOW_S + days * DAY_S)
        assert authority.revocation_list("x.crl", NOW_S + days * DAY_S) is None


def test_leaf_issued_after_the_first_question_has_a_list_at_once(
    authority: CertificateAuthority,
) -> None:
    listed(authority, addresses_in(leaf_of(authority)).crls[0])
    other = authority.leaf("metadata.azure.us", "", NOW_S).certificate
    assert listed(authority, addresses_in(other).crls[0])


def test_documents_of_one_time_leaves_are_in_partition_0(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    leaf = authority.leaves.issue(subject(), authority.leaves.validity(NOW_S)).certificate
    assert addresses_in(leaf).crls[0].endswith("_Partition00000.crl")
    assert "OK" in openssl(authority, leaf, tmp_path)


def subject() -> LeafSubject:
    return LeafSubject("metadata.azure.com", "westus")


def test_list_of_a_successor_is_served(authority: CertificateAuthority) -> None:
    listed(authority, addresses_in(leaf_of(authority)).crls[0])
    issuer = authority.successor("intermediate", NOW_S)
    validity = authority.leaves.validity(NOW_S, issuer)
    leaf = authority.leaves.issue(subject(), validity, issuer).certificate
    served = crl(listed(authority, addresses_in(leaf).crls[0]))
    assert served.issuer == issuer.certificate.subject


# Replacements and restarts.


@pytest.mark.parametrize("part", ["leaf", "intermediate", "root"])
def test_lists_of_a_replaced_part_are_served_after_a_restart(part: Part, tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    authority = CertificateAuthority.open(folder, NOW_S, public_url=URL)
    leaf = leaf_of(authority)
    chain = [leaf, *certificates(authority.chain_pem())[:-1]]
    urls = [addresses_in(one).crls[0] for one in chain]
    authority.rotate(part, NOW_S)
    again = CertificateAuthority.open(folder, NOW_S + DAY_S, public_url=URL)
    for url in urls:
        assert not [*crl(listed(again, url, NOW_S + DAY_S))]
    late = CertificateAuthority.open(folder, NOW_S + 400 * DAY_S, public_url=URL)
    if part != "leaf":
        path = urls[0].partition(f"{CRL_PATH}/")[2]
        assert late.revocation_list(path, NOW_S + 400 * DAY_S) is None, "ended"
        assert not (folder / "lists" / path).exists()


def test_root_list_outlives_the_absence_of_the_root_key(tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    authority = CertificateAuthority.open(folder, NOW_S, public_url=URL)
    tier = certificates(authority.chain_pem())[1]
    before = listed(authority, addresses_in(tier).crls[0])
    (folder / "root.key").rename(tmp_path / "safe.key")
    again = CertificateAuthority.open(folder, NOW_S, public_url=URL)
    assert listed(again, addresses_in(tier).crls[0]) == before


def test_another_public_url_brings_its_addresses(tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    before = CertificateAuthority.open(folder, NOW_S, public_url=URL)
    old = certificates(before.chain_pem())
    other = "http://pki.example"
    after = CertificateAuthority.open(folder, NOW_S, public_url=other)
    new = certificates(after.chain_pem())
    assert [one.subject for one in new] == [one.subject for one in old]
    assert [one.public_key() for one in new] == [one.public_key() for one in old]
    assert new[-1] == old[-1], "the root names no address"
    assert addresses_in(new[0]).crls[0].startswith(other)
    assert addresses_in(new[1]).crls[0].startswith(other)
    assert set(before.published()) <= set(after.published())
    assert "OK" in openssl_at(after, other, tmp_path)
    again = CertificateAuthority.open(folder, NOW_S, public_url=other)
    assert again.published() == after.published(), "issued anew only once"


def openssl_at(authority: CertificateAuthority, url: str, at: Path) -> str:
    leaf = leaf_of(authority)
    (at / "leaf.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
    (at / "trust.pem").write_bytes(authority.bundle())
    options = ["-attime", str(int(NOW_S)), "-CAfile", "trust.pem", "leaf.pem"]
    return run("verify", *options, at=at)


def test_chain_of_0_1_0_stays_under_another_url(tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    with pytest.MonkeyPatch.context() as patch:
        critical = {"nameConstraints": lambda one: (one.constraints, True)}
        patch.setattr(extensions, "_MAKERS", {**extensions._MAKERS, **critical})
        early = CertificateAuthority.open(folder, NOW_S, public_url=URL, generation="2023")
    again = CertificateAuthority.open(folder, NOW_S, public_url="http://pki.example")
    assert again.chain_pem() == early.chain_pem()
    again.rotate("intermediate", NOW_S)
    assert addresses_in(certificates(again.chain_pem())[0]).crls[0].startswith("http://pki.exam")


def test_external_ca_without_the_usage_names_no_list() -> None:
    own = CertificateAuthority.open(None, NOW_S, public_url=URL)
    issuer = own.successor("intermediate", NOW_S)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("openimds.credentials.pki.chain.can_sign_lists", lambda _: False)
        patch.setattr("openimds.credentials.pki.issuers.can_sign_lists", lambda _: False)
        external = CertificateAuthority.open(
            None, NOW_S, public_url=URL, external_ca=ExternalCa(issuer)
        )
        leaf = external.leaf(*PUBLIC, NOW_S).certificate
        assert addresses_in(leaf).crls == ()
        assert addresses_in(leaf).issuers


# The register.


def entry(number: int, *, revoked_s: float | None = None, ends_s: float = NOW_S) -> RegisterEntry:
    serial = f"{number:X}"
    return RegisterEntry(serial, "ca", "x", ends_s, partition=number, revoked_s=revoked_s)


def test_register_is_bounded_and_keeps_revoked_entries() -> None:
    register = RevocationRegister(None)
    register.revoke(entry(0), "", NOW_S)
    for number in range(1, MAX_ENTRIES + 2):
        register.note(entry(number), NOW_S)
    serials = [one.serial for one in register.entries()]
    assert len(serials) == MAX_ENTRIES
    assert serials[0] == "0", "the revoked one stays"
    assert "1" not in serials, "the oldest leaves"
    assert f"{MAX_ENTRIES + 1:X}" in serials


def test_register_of_revoked_entries_takes_a_new_leaf() -> None:
    register = RevocationRegister(None)
    for number in range(MAX_ENTRIES):
        register.revoke(entry(number), "", NOW_S)
    register.note(entry(MAX_ENTRIES), NOW_S)
    assert [one.serial for one in register.entries()][-1] == f"{MAX_ENTRIES:X}"
    assert len(register.entries()) == MAX_ENTRIES


def test_register_forgets_ended_certificates() -> None:
    register = RevocationRegister(None)
    register.note(entry(1, ends_s=NOW_S - 1), NOW_S - DAY_S)
    register.note(entry(2), NOW_S)
    assert [one.serial for one in register.entries()] == ["2"]


def test_partitions_have_five_digits_and_begin_anew() -> None:
    register = RevocationRegister(None)
    numbers = [register.next_partition() for _ in range(PARTITIONS + 1)]
    assert numbers[0] == 1
    last = PARTITIONS - 1 - HOST_PARTITIONS
    assert max(numbers) == last
    assert numbers[last] == 1
    of_hosts = {host_partition(f"host-{number}") for number in range(2000)}
    assert of_hosts == {*range(last + 1, PARTITIONS)}


def test_register_survives_a_restart(tmp_path: Path) -> None:
    first = RevocationRegister(tmp_path)
    first.next_partition()
    first.note(entry(255), NOW_S)
    again = RevocationRegister(tmp_path)
    assert again.entries() == first.entries()
    assert again.next_partition() == 2


def test_broken_register_is_refused_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "revocation.json").write_text("{")
    with pytest.raises(KeyFileError, match=r"revocation\.json: .*or remove it: revoked"):
        CertificateAuthority.open(tmp_path, NOW_S)


def test_lists_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openimds.credentials.pki.revocation_lists.MAX_LISTS", 3)
    issuer = CertificateAuthority.open(None, NOW_S, public_url=URL).successor("root", NOW_S)
    lists = RevocationLists(None, NOW_S)
    lists.refresh([ListSigner(issuer, {n: (f"{URL}/{n}",) for n in range(5)})], [], NOW_S)
    assert len(lists.all()) == 3
