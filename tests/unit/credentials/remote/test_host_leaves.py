"""A host's leaves: kept over a restart, renewed ahead, and replaced with their key."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from openimds.credentials.keys.files import KeyFileError, UnwritableFileError, new_key, write_key
from openimds.credentials.pki.certificates import LeafSubject
from openimds.credentials.pki.host_leaf_issuer import answer_leaves
from openimds.credentials.pki.host_leaf_register import MAX_PER_HOST
from openimds.credentials.pki.leaf_requests import HeldLeaf, LeafReply, LeafRequest
from openimds.credentials.pki.leaves import HOST_DAYS
from openimds.credentials.pki.revocation_register import serial_of
from openimds.credentials.remote import host_leaves
from openimds.credentials.remote.host_leaves import (
    ATTESTED,
    KEY,
    LEAVES,
    MAX_LEAVES,
    MOST_DEMANDED,
    MOST_WANTED,
    HostLeaves,
    LeafMissingError,
    LeafReplyError,
)
from tests.unit.credentials.pki.openssl_verify import DAY_S, NOW_S
from tests.unit.credentials.remote.leaf_setup import (
    HELD,
    KEYS,
    SUBJECT,
    LeafHost,
    in_region,
    open_authority,
)

AUTHORITY = open_authority()
WEST = in_region("westeurope")
DUE_S = NOW_S + HOST_DAYS * DAY_S * 2 // 3


@pytest.fixture
def host() -> LeafHost:
    host = LeafHost(authority=AUTHORITY)
    host.leaves.want([SUBJECT])
    return host


def asked(request: LeafRequest) -> list[tuple[str, bool]]:
    """Return the region of each leaf of a request, and whether it is wanted anew."""
    return [(one.region, not one.certificate or one.is_due) for one in request.leaves]


def test_wanted_leaf_is_there_before_the_first_document(host: LeafHost) -> None:
    assert host.leaves.lacks_wanted(NOW_S)
    assert host.leaves.ends_s() is None
    assert asked(host.exchange()) == [(SUBJECT.region, True)]
    assert host.leaves.has(SUBJECT, NOW_S)
    assert not host.leaves.lacks_wanted(NOW_S)
    assert host.certificate().public_key() == KEYS[0].public_key()
    assert host.leaves.ends_s() == NOW_S + HOST_DAYS * DAY_S
    assert host.leaves.generation == 1


def test_leaf_is_renewed_at_a_third_of_its_life_left(host: LeafHost) -> None:
    host.exchange()
    first, host.now_s = host.certificate(), DUE_S - 2 * 3600
    assert asked(host.exchange()) == [(SUBJECT.region, False)]
    assert host.certificate() == first
    assert host.leaves.generation == 1
    host.now_s = DUE_S + 3600
    assert asked(host.exchange()) == [(SUBJECT.region, True)]
    assert host.certificate() != first
    assert host.certificate().public_key() == first.public_key()
    assert host.leaves.generation == 2


def test_leaf_serves_to_its_end_without_control(host: LeafHost) -> None:
    host.exchange()
    host.now_s = NOW_S + HOST_DAYS * DAY_S - 1
    assert host.leaves.has(SUBJECT, host.now_s)
    host.now_s += 1
    with pytest.raises(LeafMissingError, match="no valid leaf for northeurope"):
        host.certificate()
    host.now_s = NOW_S - 2 * 3600
    assert not host.leaves.has(SUBJECT, host.now_s), "before its begin by a clock set back"
    assert asked(host.exchange()) == [(SUBJECT.region, True)]
    assert host.leaves.has(SUBJECT, host.now_s)


def test_demanded_leaf_is_not_renewed(host: LeafHost) -> None:
    host.leaves.demand(WEST)
    assert asked(host.exchange()) == [(WEST.region, True), (SUBJECT.region, True)]
    assert host.leaves.has(WEST, NOW_S)
    assert asked(host.exchange()) == [(SUBJECT.region, False), (WEST.region, False)]
    host.now_s = DUE_S + 3600
    assert asked(host.exchange()) == [(SUBJECT.region, True)]
    host.now_s = NOW_S + HOST_DAYS * DAY_S
    host.exchange()
    assert host.leaves._leaves.keys() == {SUBJECT}, "the ended one is gone"


def test_revoked_leaf_is_replaced_with_its_key() -> None:
    authority = open_authority()
    host = LeafHost(authority=authority)
    host.leaves.want([SUBJECT, WEST])
    host.leaves.demand(in_region("eastus"))
    host.exchange()
    revoked = host.certificate(WEST)
    authority.revoke(serial_of(revoked), "keyCompromise", NOW_S)
    host.exchange()
    for subject in (SUBJECT, WEST):
        assert host.certificate(subject).public_key() == KEYS[1].public_key()
    assert not host.leaves.has(in_region("eastus"), NOW_S), "no leaf of the former key is left"
    assert host.leaves.generation == 2


def test_leaves_are_there_after_a_restart(tmp_path: Path) -> None:
    host = LeafHost(tmp_path, AUTHORITY)
    host.leaves.want([SUBJECT])
    host.exchange()
    again = LeafHost(tmp_path, AUTHORITY)
    assert again.certificate() == host.certificate()
    again.leaves.want([SUBJECT])
    assert asked(again.exchange()) == [(SUBJECT.region, False)]
    if os.name == "posix":
        for name in (KEY, LEAVES):
            assert (tmp_path / ATTESTED / name).stat().st_mode & 0o777 == 0o600


def test_leaves_of_another_key_do_not_count(tmp_path: Path) -> None:
    host = LeafHost(tmp_path, AUTHORITY)
    host.leaves.want([SUBJECT])
    host.exchange()
    write_key(tmp_path / ATTESTED / KEY, KEYS[2])
    again = LeafHost(tmp_path, AUTHORITY)
    assert not again.leaves.has(SUBJECT, NOW_S)
    again.leaves.want([SUBJECT])
    again.exchange()
    assert again.certificate().public_key() == KEYS[2].public_key()


def test_key_without_leaves_is_used_again(tmp_path: Path) -> None:
    write_key(tmp_path / ATTESTED / KEY, KEYS[2])
    host = LeafHost(tmp_path, AUTHORITY)
    host.leaves.want([SUBJECT])
    host.exchange()
    assert host.certificate().public_key() == KEYS[2].public_key()


@pytest.mark.parametrize("text", [b"x", b'[{"subject":1}]', b'[{"subject":null}]'])
def test_damaged_leaves_are_asked_for_anew(tmp_path: Path, text: bytes) -> None:
    reports: list[str] = []
    host = LeafHost(tmp_path, AUTHORITY)
    host.leaves.want([SUBJECT])
    host.exchange()
    (tmp_path / ATTESTED / LEAVES).write_bytes(text)
    again = LeafHost(tmp_path, AUTHORITY, notify=reports.append)
    assert not again.leaves.has(SUBJECT, NOW_S)
    assert reports == [f"{tmp_path / ATTESTED / LEAVES}: damaged; control is asked for new leaves"]
    assert not LeafHost(tmp_path, AUTHORITY).leaves.has(SUBJECT, NOW_S)


def test_damaged_certificate_is_asked_for_anew(tmp_path: Path) -> None:
    host = LeafHost(tmp_path, AUTHORITY)
    host.leaves.want([SUBJECT])
    host.exchange()
    path = tmp_path / ATTESTED / LEAVES
    path.write_bytes(path.read_bytes().replace(b'"MII', b'"AAA'))
    assert not LeafHost(tmp_path, AUTHORITY).leaves.has(SUBJECT, NOW_S)


@pytest.mark.skipif(os.name != "posix", reason="modes")
def test_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    write_key(tmp_path / ATTESTED / KEY, KEYS[0])
    (tmp_path / ATTESTED / KEY).chmod(0o644)
    with pytest.raises(KeyFileError, match=r"0644.*which control certifies"):
        HostLeaves(tmp_path)


def test_unwritable_leaves_stay_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, *_: object) -> None:
        raise UnwritableFileError(f"{path}: no space left on device")

    monkeypatch.setattr(host_leaves, "write_key", full)
    reports: list[str] = []
    host = LeafHost(tmp_path, AUTHORITY, notify=reports.append)
    host.leaves.want([SUBJECT])
    host.exchange()
    assert host.leaves.has(SUBJECT, NOW_S)
    assert len(reports) == 1
    assert "no space left on device: the leaves of attested documents are in memory" in reports[0]
    silent = LeafHost(tmp_path, AUTHORITY)
    silent.leaves.want([SUBJECT])
    with pytest.raises(UnwritableFileError):
        silent.exchange()


def test_leaves_of_a_host_are_bounded() -> None:
    assert MAX_LEAVES == MAX_PER_HOST
    host = LeafHost(authority=AUTHORITY)
    host.leaves.want([in_region(f"region{number}") for number in range(MOST_WANTED + 1)])
    assert len(host.exchange().leaves) == MOST_WANTED
    others = [in_region(f"other{number}") for number in range(MOST_DEMANDED + 1)]
    for subject in others:
        host.leaves.demand(subject)
    host.exchange()
    assert not host.leaves.has(others[0], NOW_S), "a later demand took its place"
    assert host.leaves.has(others[1], NOW_S)
    host.leaves.demand(WEST)
    assert len(host.exchange().leaves) == MAX_LEAVES
    assert host.leaves.has(WEST, NOW_S)
    assert not host.leaves.has(others[1], NOW_S), "the oldest of those that nobody renews"
    assert not host.leaves.lacks_wanted(NOW_S)
    host.leaves.want([in_region(f"new{number}") for number in range(MOST_WANTED)])
    assert len(host.exchange().leaves) == MAX_LEAVES
    assert not host.leaves.lacks_wanted(NOW_S)
    assert len(host.leaves._leaves) == MAX_LEAVES


@pytest.mark.parametrize(
    "reply, pattern",
    [
        (LeafReply(), "answered for 0 leaves, expected 1"),
        (LeafReply((b"x",)), "no certificate"),
        (None, "a leaf of another key"),
    ],
)
def test_unfit_answer_of_control_is_refused(
    host: LeafHost, reply: LeafReply | None, pattern: str
) -> None:
    request = host.leaves.request(NOW_S)
    if reply is None:
        other = LeafHost(authority=AUTHORITY)
        other.keys = iter([new_key()])
        reply = LeafReply((_der(other),))
    with pytest.raises(LeafReplyError, match=pattern):
        host.leaves.accept(request, reply, NOW_S)
    assert not host.leaves.has(SUBJECT, NOW_S)


def _der(host: LeafHost) -> bytes:
    host.leaves.want([SUBJECT])
    host.exchange()
    request: tuple[HeldLeaf, ...] = host.leaves.request(NOW_S).leaves
    assert request == (replace(HELD, certificate=request[0].certificate),)
    return request[0].certificate


def test_leaf_demanded_during_a_request_is_in_the_next(host: LeafHost) -> None:
    request = host.leaves.request(NOW_S)
    host.leaves.demand(WEST)
    host.leaves.accept(request, answer_leaves(AUTHORITY, host.name, request, NOW_S, set), NOW_S)
    assert not host.leaves.has(WEST, NOW_S)
    host.exchange()
    assert host.leaves.has(WEST, NOW_S)


def test_due_leaf_of_a_rotated_key_gets_no_successor() -> None:
    host = LeafHost()
    host.leaves.want([SUBJECT])
    host.exchange()
    host.authority.rotate("leaf", NOW_S + DAY_S)
    host.now_s = DUE_S + 3600
    host.exchange()
    assert host.certificate().public_key() == KEYS[1].public_key()


def test_demand_excludes_the_thread_that_accepts(host: LeafHost) -> None:
    class Watched(dict[LeafSubject, None]):
        def __iter__(self) -> Iterator[LeafSubject]:
            assert host.leaves._demand_lock.locked()
            return super().__iter__()

        def pop(self, *arguments: Any) -> Any:
            assert host.leaves._demand_lock.locked()
            return super().pop(*arguments)

    host.leaves._demanded = Watched()
    for number in range(MOST_DEMANDED + 1):
        host.leaves.demand(in_region(f"demanded{number}"))
    assert len(host.leaves._demanded) == MOST_DEMANDED
    host.exchange()
    assert len(host.leaves._demanded) == 0
