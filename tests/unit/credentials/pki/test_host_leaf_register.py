"""The register of the leaves of hosts: bounds, cost, restarts, and answers to verifiers."""

from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec.json
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.x509 import ocsp
from msgspec.structs import replace

from openimds.credentials.keys.files import KeyFileError
from openimds.credentials.keys.mirror import KEY_BYTES, KeyMirror
from openimds.credentials.pki import host_leaf_register, ocsp_responses, revocation_lists
from openimds.credentials.pki.authority import CertificateAuthority
from openimds.credentials.pki.extensions import addresses_in
from openimds.credentials.pki.host_leaf_register import (
    MAX_HOST_ENTRIES,
    MAX_KEPT_PER_HOST,
    MAX_NOTED_PER_HOST,
    FullRegisterError,
    HostLeafRegister,
)
from openimds.credentials.pki.leaves import HOST_DAYS
from openimds.credentials.pki.ocsp import UNAUTHORIZED
from openimds.credentials.pki.revocation import FORGET_PAUSE_S, CertificateStatus
from openimds.credentials.pki.revocation_register import (
    FILE,
    HOST_PARTITIONS,
    RegisterEntry,
    RevocationRegister,
    host_partition,
    serial_of,
)
from openimds.facts.revocation import LEAF_CRL_LIFE_S, OCSP_SIGNED_S
from tests.unit.credentials.keys.test_mirror import Values
from tests.unit.credentials.pki.leaf_store import LeafStore, open_authority
from tests.unit.credentials.pki.openssl_verify import DAY_S, NOW_S, URL, certificates
from tests.unit.credentials.pki.test_host_leaf_issuer import issued
from tests.unit.credentials.pki.test_ocsp import request
from tests.unit.credentials.pki.test_revocation_lists import crl, leaf_of, listed, openssl

HOSTS, LEAVES = 5000, 2


def entry(number: int, host: str = "host-1", *, ends_s: float = NOW_S) -> RegisterEntry:
    return RegisterEntry(f"{number:08X}", "ca", "x", ends_s, partition=99_999, host=host)


def full(values: LeafStore | None, regions: int = 1) -> HostLeafRegister:
    """Return the register of a fleet with two leaves for each host and region."""
    register, numbers = HostLeafRegister(values), iter(range(1 << 30))
    for number in range(HOSTS):
        host = f"host-{number}"
        own = [entry(next(numbers), host) for _ in range(LEAVES * regions)]
        register.note(host, own, NOW_S)
    return register


def test_register_holds_two_leaves_of_5000_hosts_in_four_regions() -> None:
    register = full(None, regions=4)
    assert len(register) == HOSTS * LEAVES * 4 == MAX_HOST_ENTRIES
    with pytest.raises(FullRegisterError, match="host new: gets no leaf, as those of all hosts"):
        register.note("new", [entry(1 << 30, "new")], NOW_S)
    assert len(register) == len(register.entries()) == MAX_HOST_ENTRIES
    register.note("new", [entry(1 << 30, "new", ends_s=NOW_S + 2)], NOW_S + 1)
    assert [one.host for one in register.entries()] == ["new"], "the others have ended"


def test_new_leaf_costs_no_more_in_a_full_register() -> None:
    small, large = LeafStore(), LeafStore()
    HostLeafRegister(small).note("host-1", [entry(0)], NOW_S)
    register = full(large)
    register.note("host-x", [entry(1 << 20, "host-x")], NOW_S)
    assert large.written[-1] == small.written[-1] < 200
    assert len(large.stored) == HOSTS + 1


def test_new_leaf_of_a_host_does_not_rewrite_the_mirror(tmp_path: Path) -> None:
    values = Values()
    mirror = KeyMirror(values, bytes(KEY_BYTES))
    mirror.restore(tmp_path)
    leaves = LeafStore()
    authority = open_authority(tmp_path / "ca", leaves)
    writes = values.writes
    for number in range(3):
        issued(authority, host=f"host-{number}")
    assert (values.writes, len(leaves.written)) == (writes, 3)
    mirror.close()


def test_another_control_knows_every_leaf_in_use(tmp_path: Path) -> None:
    values = LeafStore()
    first = open_authority(tmp_path, values)
    leaves = [issued(first, host=f"host-{number}") for number in range(2)]
    second = open_authority(tmp_path, values)
    assert [one.serial for one in second._revocation.leaves_of_hosts(NOW_S)] == list(
        map(serial_of, leaves)
    )
    assert "OK" in openssl(second, leaves[0], tmp_path)
    second.revoke("host:host-0", "keyCompromise", NOW_S)
    third = open_authority(tmp_path, values)
    assert "certificate revoked" in openssl(third, leaves[0], tmp_path, is_ok=False)
    assert "OK" in openssl(third, leaves[1], tmp_path)
    assert asked(third, leaves[0]).certificate_status == ocsp.OCSPCertStatus.REVOKED
    assert asked(third, leaves[1]).certificate_status == ocsp.OCSPCertStatus.GOOD


def test_leaves_in_a_file_of_before_are_adopted_once(tmp_path: Path) -> None:
    old = [replace(entry(1), revoked_s=NOW_S), entry(2, "host-2"), replace(entry(3), host="")]
    contents = {"entries": old, "last_partition": 7, "host_keys_from_s": 5}
    path = tmp_path / FILE
    path.write_bytes(msgspec.json.encode(contents))
    values = LeafStore()
    values.is_lost = True
    with pytest.raises(KeyFileError, match="leaves of hosts cannot be read: no connection"):
        open_authority(tmp_path, values)
    values.is_lost = False
    authority = open_authority(tmp_path, values)
    assert authority._revocation.find("00000001") == old[0]
    assert {*values.stored} == {"host-1", "host-2"}
    assert authority._revocation.host_keys_from_s == 5
    assert [one.serial for one in RevocationRegister(tmp_path).entries()] == ["00000003"]
    assert not RevocationRegister(tmp_path).of_hosts
    again = HostLeafRegister(values)
    again.adopt([replace(old[0], revoked_s=None), entry(9)])
    assert [one.serial for one in again.of("host-1")] == ["00000009", "00000001"]
    assert again.get("00000001") == old[0], "the one in the store counts"


def test_file_of_before_stays_where_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, values = tmp_path / FILE, LeafStore()
    open_authority(tmp_path, LeafStore())
    path.write_bytes(msgspec.json.encode({"entries": [entry(1)]}))

    def write(*_: object) -> None:
        raise KeyFileError("no space left on device")

    target = "openimds.credentials.pki.revocation_register.write_file"
    with monkeypatch.context() as patched:
        patched.setattr(target, write)
        assert open_authority(tmp_path, values)._revocation.find("00000001")
    assert path.read_bytes() == msgspec.json.encode({"entries": [entry(1)]})
    assert len(open_authority(tmp_path, values)._revocation.leaves_of_hosts(NOW_S - 1)) == 1


def test_damaged_value_of_a_host_is_refused() -> None:
    values = LeafStore()
    values.stored["host-1"] = b"{"
    with pytest.raises(KeyFileError, match=r"the leaves of host host-1: .*\. Restore the store"):
        HostLeafRegister(values)


def test_host_with_many_revoked_leaves_waits_for_their_end() -> None:
    values = LeafStore()
    register = HostLeafRegister(values)
    numbers = range(MAX_NOTED_PER_HOST)
    for start in range(0, MAX_NOTED_PER_HOST, MAX_KEPT_PER_HOST):
        own = [entry(number) for number in numbers[start : start + MAX_KEPT_PER_HOST]]
        register.note("host-1", own, NOW_S)
        register.revoke(own, "superseded", NOW_S)
    new = entry(1 << 30, ends_s=NOW_S + 90 * DAY_S)
    with pytest.raises(FullRegisterError, match="host host-1: saw 512 leaves that are valid or"):
        register.note("host-1", [new], NOW_S + LEAF_CRL_LIFE_S)
    assert len(register) == MAX_NOTED_PER_HOST
    register.note("host-1", [new], NOW_S + LEAF_CRL_LIFE_S + 1)
    assert register.entries() == [new]
    register.revoke([entry(5)], "", NOW_S)
    assert register.entries() == HostLeafRegister(values).entries() == [new]


def test_value_without_leaves_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    values = LeafStore()
    register = HostLeafRegister(values)
    register.note("host-1", [entry(1)], NOW_S)
    monkeypatch.setattr(host_leaf_register, "MAX_HOST_ENTRIES", 1)
    register.note("host-2", [entry(2, "host-2", ends_s=NOW_S + 9)], NOW_S + 1)
    assert {*values.stored} == {"host-2"}
    assert register.of("host-1") == ()


def test_lists_of_many_hosts_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    authority, signed = open_authority(None, LeafStore()), list[object]()
    leaf = issued(authority)
    listed(authority, addresses_in(leaf).crls[0])
    register, sign = authority._revocation._hosts, revocation_lists._sign

    def count(*arguments: Any, **more: Any) -> Any:
        signed.append(arguments)
        return sign(*arguments, **more)

    monkeypatch.setattr(revocation_lists, "_sign", count)
    for number in range(2000):
        host = f"many-{number}"
        one = replace(entry(number, host), issuer=register.entries()[0].issuer)
        register.note(host, [replace(one, partition=host_partition(host))], NOW_S)
    authority.answers.refresh(NOW_S)
    assert len(signed) == HOST_PARTITIONS - 1, "one for each other partition"
    issued(authority, host="many-7")
    assert len(signed) == HOST_PARTITIONS - 1, "its list is there"


def test_revoked_leaves_without_a_store_stay_in_the_file(tmp_path: Path) -> None:
    old = replace(entry(1), revoked_s=NOW_S)
    path = tmp_path / FILE
    path.write_bytes(msgspec.json.encode({"entries": [old]}))
    without = CertificateAuthority.open(tmp_path, NOW_S, public_url=URL)
    assert without.leaves.is_revoked(old.serial)
    assert path.read_bytes() == msgspec.json.encode({"entries": [old]})
    leaf_of(without)
    assert RevocationRegister(tmp_path).of_hosts == [old], "the file was written for another leaf"
    again = open_authority(tmp_path, LeafStore())
    assert again.leaves.is_revoked(old.serial)
    assert not RevocationRegister(tmp_path).of_hosts


def test_ended_leaves_of_hosts_are_forgotten() -> None:
    values = LeafStore()
    authority = open_authority(None, values)
    issued(authority)
    end_s = NOW_S + HOST_DAYS * DAY_S
    register = authority._revocation
    assert (authority.leaves.count_of("host-1", end_s), register.leaves_of_hosts(end_s)) == (0, [])
    values.is_lost = True
    authority.answers.refresh(end_s + 1)
    assert len(register._hosts) == 1, "the store did not take it"
    assert not any(row.in_use and row.host for row in status(authority, end_s + 1))
    values.is_lost = False
    authority.answers.refresh(end_s + 2)
    assert len(register._hosts) == 1, "a store that is away costs a refresh its time once an hour"
    authority.answers.refresh(end_s + 1 + FORGET_PAUSE_S)
    assert values.stored == {}
    assert not any(row.host for row in status(authority, end_s + 1 + FORGET_PAUSE_S))


def status(authority: CertificateAuthority, now_s: float) -> list[CertificateStatus]:
    return authority.revocation_status(now_s).certificates


def test_revocation_needs_no_use_of_its_result() -> None:
    authority = open_authority(None, LeafStore())
    own, of_host = leaf_of(authority), issued(authority)
    entries = [authority._revocation.find(serial_of(leaf)) for leaf in (own, of_host)]
    authority._revocation.revoke([one for one in entries if one], "superseded", NOW_S)
    assert authority.leaves.is_revoked(serial_of(own))
    assert authority.leaves.is_revoked(serial_of(of_host))


# OCSP.


@pytest.fixture
def authority() -> CertificateAuthority:
    return open_authority(None, LeafStore())


def asked(
    authority: CertificateAuthority, leaf: x509.Certificate, now_s: float = NOW_S
) -> ocsp.OCSPResponse:
    octets = answer(authority, leaf, now_s)
    return ocsp.load_der_ocsp_response(octets)


def answer(authority: CertificateAuthority, leaf: x509.Certificate, now_s: float = NOW_S) -> bytes:
    issuer = next(one for one in published(authority) if one.subject == leaf.issuer)
    return authority.ocsp_response(request(leaf, issuer, SHA1()), now_s)


def published(authority: CertificateAuthority) -> list[x509.Certificate]:
    return [x509.load_der_x509_certificate(one) for one in authority.published().values()]


def test_response_on_a_leaf_of_a_host_is_signed_on_demand(
    authority: CertificateAuthority,
) -> None:
    leaf = issued(authority)
    responses = authority._revocation._responses
    first = answer(authority, leaf)
    assert ocsp.load_der_ocsp_response(first).certificate_status == ocsp.OCSPCertStatus.GOOD
    assert len(responses._of_hosts) == 1
    assert answer(authority, leaf, NOW_S + OCSP_SIGNED_S - 1) == first
    assert answer(authority, leaf, NOW_S + OCSP_SIGNED_S) != first
    other = authority.ocsp_response(
        request(leaf, certificates(authority.chain_pem())[0], SHA256()), NOW_S
    )
    assert ocsp.load_der_ocsp_response(other).certificate_status == ocsp.OCSPCertStatus.GOOD
    authority.revoke("host:host-1", "keyCompromise", NOW_S)
    assert asked(authority, leaf).certificate_status == ocsp.OCSPCertStatus.REVOKED


def test_leaf_below_a_replaced_intermediate_stays_known(authority: CertificateAuthority) -> None:
    leaf = issued(authority)
    authority.rotate("intermediate", NOW_S)
    assert asked(authority, leaf).certificate_status == ocsp.OCSPCertStatus.GOOD
    assert crl(listed(authority, addresses_in(leaf).crls[0])).next_update_utc


def test_leaf_of_a_host_below_another_issuer_is_unauthorized(
    authority: CertificateAuthority,
) -> None:
    leaf = issued(authority)
    tier = certificates(authority.chain_pem())[1]
    assert authority.ocsp_response(request(leaf, tier, SHA1()), NOW_S) == UNAUTHORIZED
    authority._revocation._responses._responders.clear()
    assert answer(authority, leaf) == UNAUTHORIZED, "nobody can sign for it"


def test_responses_on_leaves_of_hosts_are_bounded(
    authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ocsp_responses, "MAX_HOST_RESPONSES", 2)
    leaves = [issued(authority, host=f"host-{number}") for number in range(3)]
    first, *_ = [answer(authority, leaf) for leaf in (*leaves[:2], leaves[0])]
    answer(authority, leaves[2])
    kept = authority._revocation._responses._of_hosts
    assert [one.serial for one in kept] == [leaves[0].serial_number, leaves[2].serial_number]
    assert answer(authority, leaves[0]) == first


def test_responders_of_replaced_issuers_are_bounded(
    authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ocsp_responses, "MAX_RESPONDERS", 4)
    leaves = []
    for number in range(5):
        leaves.append(issued(authority, host=f"host-{number}"))
        authority.rotate("intermediate", NOW_S)
    assert answer(authority, leaves[0]) == UNAUTHORIZED
    assert asked(authority, leaves[-1]).certificate_status == ocsp.OCSPCertStatus.GOOD
    assert len(authority._revocation._responses._responders) <= 4


def test_held_lock_does_not_hold_up_known_or_unknown_leaves(
    authority: CertificateAuthority,
) -> None:
    leaf = issued(authority)
    first = answer(authority, leaf)
    issuer = certificates(authority.chain_pem())[0]
    unknown = request(leaf_of(open_authority(None, LeafStore())), issuer, SHA1())
    known = request(leaf, issuer, SHA1())
    with authority.lock:
        assert in_thread(lambda: authority.ocsp_response(unknown, NOW_S)) == UNAUTHORIZED
        assert in_thread(lambda: authority.ocsp_response(known, NOW_S)) == first


def in_thread(call: Callable[[], bytes]) -> bytes | None:
    """Return the result of a call in another thread, or None if it hangs."""
    results: list[bytes] = []
    thread = Thread(target=lambda: results.append(call()), daemon=True)
    thread.start()
    thread.join(5)
    return results[0] if results else None
