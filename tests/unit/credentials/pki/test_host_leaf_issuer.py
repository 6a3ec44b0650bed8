"""Control's leaves for the keys of hosts: issued, kept, replaced and revoked."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as new_ec_key
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec.structs import replace

from openimds.credentials.keys.files import KeyFileError, new_key
from openimds.credentials.pki import host_leaf_issuer
from openimds.credentials.pki.authority import CertificateAuthority
from openimds.credentials.pki.certificates import LeafSubject
from openimds.credentials.pki.extensions import addresses_in
from openimds.credentials.pki.host_leaf_issuer import LeafRequestError, answer_leaves
from openimds.credentials.pki.host_leaf_register import MAX_PER_HOST
from openimds.credentials.pki.leaf_requests import HeldLeaf, LeafReply, LeafRequest
from openimds.credentials.pki.leaves import HOST_DAYS
from openimds.credentials.pki.revocation_register import RevocationRegister, serial_of
from openimds.errors import ConfigError
from openimds.protocol.generation_walk import plan
from tests.unit.credentials.pki.leaf_store import LeafStore, open_authority
from tests.unit.credentials.pki.openssl_verify import DAY_S, NOW_S, PUBLIC, URL, certificates
from tests.unit.credentials.pki.test_revocation_lists import leaf_of, listed, openssl

KEY = new_key()
HELD = HeldLeaf(*PUBLIC)


def der(key: Any) -> bytes:
    octets: bytes = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return octets


REQUEST = LeafRequest(der(KEY), (HELD,))


@pytest.fixture
def authority() -> CertificateAuthority:
    return CertificateAuthority.open(None, NOW_S, public_url=URL)


def issued(
    authority: CertificateAuthority,
    request: LeafRequest = REQUEST,
    host: str = "host-1",
    now_s: float = NOW_S,
) -> x509.Certificate:
    reply = answer_leaves(authority, host, request, now_s, set)
    return x509.load_der_x509_certificate(reply.certificates[0])


def answered(authority: CertificateAuthority, request: LeafRequest, now_s: float) -> LeafReply:
    """Return the answer to a host that may have any leaf."""
    return answer_leaves(authority, "host-1", request, now_s, set)


def held(certificate: x509.Certificate, leaf: HeldLeaf = HELD) -> LeafRequest:
    octets = certificate.public_bytes(Encoding.DER)
    return LeafRequest(der(KEY), (replace(leaf, certificate=octets),))


def test_leaf_of_a_host_verifies_below_the_chain_of_control(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    leaf = issued(authority)
    assert leaf.public_key() == KEY.public_key()
    assert "OK" in openssl(authority, leaf, tmp_path)
    life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    assert life.days == HOST_DAYS
    ours, theirs = leaf_of(authority).extensions, leaf.extensions
    assert [one.oid for one in theirs] == [one.oid for one in ours]


def test_short_leaf_of_a_host_is_short(authority: CertificateAuthority) -> None:
    leaf = issued(authority, LeafRequest(der(KEY), (replace(HELD, days=30),)))
    assert (leaf.not_valid_after_utc - leaf.not_valid_before_utc).days == 30


def test_register_names_the_host_of_a_leaf(authority: CertificateAuthority) -> None:
    leaf = issued(authority)
    rows = {row.serial: row for row in authority.revocation_status(NOW_S).certificates}
    row = rows[serial_of(leaf)]
    assert (row.host, row.in_use, row.subject) == ("host-1", True, "northeurope.metadata.azure.com")
    assert {one.host for one in rows.values()} == {"", "host-1"}


def test_leaf_stays_until_the_intermediate_is_replaced(authority: CertificateAuthority) -> None:
    leaf = issued(authority)
    assert answered(authority, held(leaf), NOW_S) == LeafReply((b"",))
    authority.rotate("intermediate", NOW_S)
    fresh = issued(authority, held(leaf))
    assert fresh.issuer == certificates(authority.chain_pem())[0].subject
    assert fresh.issuer != leaf.issuer


def test_leaf_follows_a_rehearsal_region_by_region(authority: CertificateAuthority) -> None:
    regions = [replace(HELD, region=name) for name in ("northeurope", "westeurope", "eastus")]
    request = LeafRequest(der(KEY), tuple(regions))
    authority.rehearse(plan(NOW_S, 10 * DAY_S, "2023", "2024", 5 * DAY_S), NOW_S)
    first = answered(authority, request, NOW_S)
    octets = zip(regions, first.certificates, strict=True)
    request = LeafRequest(der(KEY), tuple(replace(one, certificate=der_) for one, der_ in octets))
    moved = []
    for day in (9, 10, 11, 12, 13, 14, 15, 16):
        reply = answered(authority, request, NOW_S + day * DAY_S)
        moved.append(sum(map(bool, reply.certificates)))
    assert moved[0] == 0
    assert moved[-1] == 3
    assert moved == sorted(moved)
    assert {*moved} != {0, 3}, "the regions move one after the other"


def test_revoked_leaf_asks_the_host_for_a_new_key(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    leaf = issued(authority)
    authority.revoke(serial_of(leaf), "keyCompromise", NOW_S)
    assert "certificate revoked" in openssl(authority, leaf, tmp_path, is_ok=False)
    assert answered(authority, held(leaf), NOW_S) == LeafReply(wants_new_key=True)


def test_rotated_leaf_keys_are_replaced_on_hosts_once(tmp_path: Path) -> None:
    authority = CertificateAuthority.open(tmp_path, NOW_S, public_url=URL)
    leaf = issued(authority)
    authority.rotate("leaf", NOW_S + 60.5)
    for control in (authority, CertificateAuthority.open(tmp_path, NOW_S + 61, public_url=URL)):
        reply = answered(control, held(leaf), NOW_S + 61)
        assert reply == LeafReply(wants_new_key=True)
        fresh = issued(control, now_s=NOW_S + 60.9)
        assert answered(control, held(fresh), NOW_S + 61) == LeafReply((b"",))


def test_clock_set_back_before_a_rotation_replaces_no_key(
    authority: CertificateAuthority,
) -> None:
    authority.rotate("leaf", NOW_S)
    leaf = issued(authority, now_s=NOW_S - DAY_S)
    again = answered(authority, held(leaf), NOW_S - DAY_S + 60)
    assert again == LeafReply((b"",))


def test_rotation_that_cannot_be_written_leaves_the_keys(
    authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaf, own = issued(authority), leaf_of(authority)

    def full(_register: RevocationRegister) -> None:
        raise KeyFileError("revocation.json: no space left on device")

    monkeypatch.setattr(RevocationRegister, "_write", full)
    with pytest.raises(KeyFileError):
        authority.rotate("leaf", NOW_S + 60)
    assert answered(authority, held(leaf), NOW_S + 61) == LeafReply((b"",))
    assert leaf_of(authority) == own


def test_leaves_of_a_host_are_revoked_by_its_name(authority: CertificateAuthority) -> None:
    west = replace(HELD, region="westeurope")
    mine = [issued(authority), issued(authority, LeafRequest(der(KEY), (west,)))]
    other = issued(authority, host="host-2")
    authority.revoke("host:host-1", "keyCompromise", NOW_S)
    for one in mine:
        assert authority.leaves.is_revoked(serial_of(one))
        crl = x509.load_der_x509_crl(listed(authority, addresses_in(one).crls[0]))
        assert {entry.serial_number for entry in crl} == {leaf.serial_number for leaf in mine}
    assert not authority.leaves.is_revoked(serial_of(other))


@pytest.mark.parametrize("target", ["host:", "host:host-9"])
def test_revocation_of_an_unknown_host_is_refused(
    authority: CertificateAuthority, target: str
) -> None:
    leaf = issued(authority)
    with pytest.raises(ConfigError, match="no such certificate, expected leaf, inter"):
        authority.revoke(target, "unspecified", NOW_S)
    assert not authority.leaves.is_revoked(serial_of(leaf))


def test_revocation_of_all_leaves_includes_those_of_hosts(
    authority: CertificateAuthority,
) -> None:
    own, leaf = leaf_of(authority), issued(authority)
    authority.revoke("leaf", "superseded", NOW_S)
    assert authority.leaves.is_revoked(serial_of(own))
    assert authority.leaves.is_revoked(serial_of(leaf))


def test_leaf_below_a_replaced_intermediate_does_not_stop_others(
    authority: CertificateAuthority,
) -> None:
    old = issued(authority)
    authority.rotate("intermediate", NOW_S)
    new = issued(authority)
    authority.revoke("host:host-1", "superseded", NOW_S)
    assert authority.leaves.is_revoked(serial_of(new))
    assert not authority.leaves.is_revoked(serial_of(old)), "no key is there for its list"


def test_leaves_of_a_host_without_a_public_url_are_not_noted() -> None:
    authority = CertificateAuthority.open(None, NOW_S)
    leaf = issued(authority)
    assert not authority.leaves.is_revoked(serial_of(leaf))
    assert authority.revocation_status(NOW_S).certificates[-1].host == ""


@pytest.mark.parametrize(
    "request_, pattern",
    [
        (LeafRequest(der(KEY), (HELD,) * (MAX_PER_HOST + 1)), "65 leaves, expected 64 at most"),
        (LeafRequest(b"", (HELD,)), "a key that cannot be read"),
        (LeafRequest(der(new_ec_key(SECP256R1())), (HELD,)), "a key of another kind"),
        (LeafRequest(der(new_key(1024)), (HELD,)), "a key of another kind"),
        (LeafRequest(der(KEY), (replace(HELD, domain="x.org"),)), 'the domain "x.org"'),
        (LeafRequest(der(KEY), (replace(HELD, days=91),)), "a life of 91 days, expected 0 to 90"),
        (LeafRequest(der(KEY), (replace(HELD, days=-1),)), "a life of -1 days"),
        (LeafRequest(der(KEY), (replace(HELD, certificate=b"x"),)), "a leaf that cannot be read"),
    ],
)
def test_unfit_request_of_a_host_is_refused(
    authority: CertificateAuthority, request_: LeafRequest, pattern: str
) -> None:
    with pytest.raises(LeafRequestError, match=pattern):
        answered(authority, request_, NOW_S)
    assert all(row.host == "" for row in authority.revocation_status(NOW_S).certificates)


def test_host_gets_no_leaf_that_could_not_be_revoked(
    authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_leaf_issuer, "MAX_KEPT_PER_HOST", 3)
    leaves = [issued(authority) for _ in range(3)]
    with pytest.raises(LeafRequestError, match="a further leaf beside 3 valid ones"):
        issued(authority)
    assert answered(authority, held(leaves[0]), NOW_S) == LeafReply((b"",))
    authority.revoke("host:host-1", "keyCompromise", NOW_S)
    assert all(authority.leaves.is_revoked(serial_of(leaf)) for leaf in leaves)


def test_leaf_that_is_not_permitted_stays_or_is_absent(
    authority: CertificateAuthority,
) -> None:
    leaf = issued(authority)
    west = replace(HELD, region="westeurope")
    request = LeafRequest(der(KEY), (*held(leaf).leaves, west, replace(HELD, is_due=True)))
    asked: list[LeafSubject] = []

    def permits(subjects: Iterable[LeafSubject]) -> tuple[LeafSubject, ...]:
        asked.extend(subjects)
        return (LeafSubject(west.domain, west.region),)

    reply = answer_leaves(authority, "host-1", request, NOW_S, permits)
    assert [bool(one) for one in reply.certificates] == [False, True, False]
    assert [one.region for one in asked] == ["westeurope", "northeurope"]


def test_leaf_that_the_store_does_not_take_is_not_given(tmp_path: Path) -> None:
    values = LeafStore()
    control = open_authority(tmp_path, values)
    values.is_lost = True
    with pytest.raises(KeyFileError, match="leaves of hosts cannot be stored: no connection"):
        issued(control)
    assert {row.host for row in control.revocation_status(NOW_S).certificates} == {""}
    values.is_lost = False
    leaf = issued(control)
    values.is_lost = True
    with pytest.raises(KeyFileError, match="cannot be stored"):
        control.revoke("host:host-1", "keyCompromise", NOW_S)
    assert not control.leaves.is_revoked(serial_of(leaf))


def test_leaf_of_a_host_is_known_after_a_restart(tmp_path: Path) -> None:
    values = LeafStore()
    first = open_authority(tmp_path, values)
    leaf = issued(first)
    again = open_authority(tmp_path, values)
    assert answered(again, held(leaf), NOW_S) == LeafReply((b"",))
    again.revoke("host:host-1", "keyCompromise", NOW_S)
    assert again.leaves.is_revoked(serial_of(leaf))


def test_key_of_a_host_stays_with_the_host(authority: CertificateAuthority) -> None:
    key = issued(authority).public_key()
    assert isinstance(key, RSAPublicKey)
    assert key != leaf_of(authority).public_key()
