"""The register of hosts: invitations, joins, renewals, revocations, and its bounds."""

import pytest

from openimds.credentials.hosts.host_certificates import HostCertificate
from openimds.credentials.hosts.join_token import SECRET_BYTES, read_join_token
from openimds.credentials.hosts.register import (
    FORGET_S,
    JOIN_S,
    MAX_CERTIFICATES,
    MAX_HOSTS,
    MAX_REUSES,
    HostEntry,
    HostRegister,
    HostRegisterError,
)
from openimds.errors import ConfigError
from tests.unit.credentials.hosts.hosts_setup import DAY_S, NOW_S

PRINT = "ab" * 32
SECRET, GUESS = b"s" * SECRET_BYTES, b"g" * SECRET_BYTES


def invited(
    name: str = "a", now_s: float = NOW_S, register: HostRegister | None = None
) -> HostRegister:
    register = register or HostRegister()
    return register.invite(name, now_s, PRINT, is_admin=True, secret=SECRET)[0]


def certificate(number: int, begins_s: float = NOW_S) -> HostCertificate:
    return HostCertificate(b"", f"{number:04X}", begins_s - 3600, begins_s + 7 * DAY_S)


def joined(name: str = "a", now_s: float = NOW_S) -> HostRegister:
    spent, refusal = invited(name, now_s).spend(name, SECRET, b"key", now_s)
    assert not refusal
    return spent.join(name, certificate(1, now_s), now_s)


def test_invitation_stores_the_hash_of_its_secret_alone() -> None:
    register, text = HostRegister().invite("a", NOW_S, PRINT, is_admin=False)
    token = read_join_token(text)
    assert (token.name, token.fingerprint) == ("a", PRINT)
    entry = register.hosts["a"]
    assert (entry.state, entry.invited_s, entry.joined_s) == ("invited", NOW_S, None)
    assert entry.invitation
    assert entry.invitation.ends_s == NOW_S + JOIN_S == NOW_S + 900
    stored = register.to_bytes()
    assert text.split(".")[2].encode() not in stored
    assert HostRegister.from_bytes(stored) == register


def test_absent_value_is_an_empty_register() -> None:
    assert HostRegister.from_bytes(None) == HostRegister()


@pytest.mark.parametrize(
    "stored", [b"", b"[]", b'{"form": 1, "hosts": {"a": 1}}', b'{"form": 1, "hosts": {"\xff": 1}}']
)
def test_damaged_register_is_an_error(stored: bytes) -> None:
    with pytest.raises(HostRegisterError, match=r"is damaged .* Restore the store from a backup"):
        HostRegister.from_bytes(stored)


def test_register_of_a_later_release_is_refused() -> None:
    with pytest.raises(
        HostRegisterError, match="has the form 2 of a later release; this release reads 1"
    ):
        HostRegister.from_bytes(b'{"form": 2, "guests": 1}')


def test_secret_joins_once_and_again_by_the_same_key() -> None:
    register, refusal = invited().spend("a", SECRET, b"key", NOW_S + 1)
    assert refusal == ""
    again, refusal = register.spend("a", SECRET, b"key", NOW_S + 899)
    assert (again, refusal) == (register, "")
    _, refusal = register.spend("a", SECRET, b"key", NOW_S + 900)
    assert refusal.startswith('the join token of host "a" ended at 2027-01-15 08:15:00 UTC. Make')


def test_second_use_by_another_key_is_refused_and_counted() -> None:
    register = joined()
    after, refusal = register.spend("a", SECRET, b"thief", NOW_S + 5)
    assert 'host "a" was used at 2027-01-15 08:00:00 UTC by another machine' in refusal
    assert "openimds control host revoke a" in refusal
    assert after.hosts["a"].reuses == 1
    assert not after.certificate_refusal("a", "0001", NOW_S + 5)


def test_counted_uses_are_bounded() -> None:
    register = joined()
    for _ in range(MAX_REUSES):
        register, _ = register.spend("a", SECRET, b"thief", NOW_S)
    after, refusal = register.spend("a", SECRET, b"thief", NOW_S)
    assert after is register
    assert refusal
    assert register.hosts["a"].reuses == MAX_REUSES


def test_caller_without_the_secret_learns_no_names() -> None:
    register = joined("a")
    wrong = {
        register.refusal("a", GUESS, NOW_S),
        register.refusal("never-invited", GUESS, NOW_S),
        register.revoke("a", NOW_S).refusal("a", SECRET, NOW_S),
        register.refusal("a", GUESS, NOW_S + DAY_S),
        register.refusal("a", SECRET + b"s", NOW_S),
    }
    assert len(wrong) == 1
    assert "this join token lets no host join" in wrong.pop()
    assert register.spend("a", GUESS, b"key", NOW_S)[0] is register


def test_later_invitation_ends_the_earlier_token() -> None:
    register, _ = invited().invite("a", NOW_S + 1, PRINT, is_admin=True)
    assert register.refusal("a", SECRET, NOW_S + 2)


def test_enrolling_token_takes_no_valid_invitation_over() -> None:
    with pytest.raises(ConfigError, match="a host whose join token is still valid"):
        invited().invite("a", NOW_S + 1, PRINT, is_admin=False)
    invited().invite("a", NOW_S + JOIN_S, PRINT, is_admin=False)


def test_invitation_of_a_joined_host_revokes_nothing_at_once() -> None:
    register = invited("a", NOW_S + DAY_S, joined())
    assert register.hosts["a"].state == "joined"
    assert not register.certificate_refusal("a", "0001", NOW_S + DAY_S)
    register, _ = register.spend("a", SECRET, b"new", NOW_S + DAY_S)
    register = register.join("a", certificate(2, NOW_S + DAY_S), NOW_S + DAY_S)
    assert not register.certificate_refusal("a", "0002", NOW_S + DAY_S)
    refusal = register.certificate_refusal("a", "0001", NOW_S + DAY_S)
    assert refusal.startswith('the certificate 0001 of host "a" was replaced. If it is to go on')


@pytest.mark.parametrize("has_joined", [True, False])
def test_known_host_or_one_with_vms_needs_admin(*, has_joined: bool) -> None:
    register = joined() if has_joined else HostRegister()
    seen = "a host that has joined before" if has_joined else "a host with VMs"
    with pytest.raises(
        ConfigError, match=rf"hosts\.a: saw {seen}, expected a new name, for the role"
    ):
        register.invite("a", NOW_S, PRINT, is_admin=False, has_vms=not has_joined)
    assert register.invite("a", NOW_S, PRINT, is_admin=True, has_vms=True)


def test_name_of_another_form_is_not_invited() -> None:
    with pytest.raises(ConfigError, match='hosts: saw the string "a b", expected 1 to 128'):
        HostRegister().invite("a b", NOW_S, PRINT, is_admin=True)


def test_hosts_are_bounded_after_pruning() -> None:
    entry = joined().hosts["a"]
    hosts = {f"h{number}": entry for number in range(MAX_HOSTS - 1)}
    full = HostRegister({**hosts, "old": HostEntry("old", "invited", NOW_S)})
    made, _ = full.invite("new", NOW_S, PRINT, is_admin=True)
    assert len(made.hosts) == MAX_HOSTS == 5_000
    assert "old" not in made.hosts
    with pytest.raises(
        ConfigError, match=r"hosts\.newer: saw 5000 hosts, expected fewer than 5000"
    ):
        made.invite("newer", NOW_S, PRINT, is_admin=True)
    assert made.invite("h1", NOW_S, PRINT, is_admin=True)


def test_certificate_counts_until_its_end() -> None:
    register = joined()
    assert not register.certificate_refusal("a", "0001", NOW_S + 6.9 * DAY_S)
    refusal = register.certificate_refusal("a", "0001", NOW_S + 7 * DAY_S)
    assert refusal.startswith('the certificate 0001 of host "a" ended at 2027-01-22 08:00:00 UTC')
    assert register.certificate_refusal("a", "0002", NOW_S)


@pytest.mark.parametrize("register", [HostRegister(), invited()])
def test_host_that_has_not_joined_is_refused(register: HostRegister) -> None:
    assert register.certificate_refusal("a", "0001", NOW_S).startswith('host "a" has not joined.')


def test_renewed_certificate_counts_beside_the_presented() -> None:
    half_s = NOW_S + 3.5 * DAY_S
    register = joined().renew("a", "0001", certificate(2, half_s), half_s)
    assert not register.certificate_refusal("a", "0001", half_s)
    assert not register.certificate_refusal("a", "0002", half_s)


def test_renewal_before_half_life_is_refused() -> None:
    register = joined()
    early = register.renewal_refusal("a", "0001", NOW_S + 3 * DAY_S)
    assert early == 'the certificate 0001 of host "a" is renewed from 2027-01-18 20:00:00 UTC on'
    assert register.renewal_refusal("a", "0001", NOW_S + 3.5 * DAY_S - 3600) == ""
    revoked = register.revoke("a", NOW_S)
    assert "was revoked" in revoked.renewal_refusal("a", "0001", NOW_S + 4 * DAY_S)


def test_certificates_of_a_host_are_bounded() -> None:
    register, half_s = joined(), NOW_S + 3.5 * DAY_S
    for number in range(2, 9):
        register = register.renew("a", "0001", certificate(number, half_s), half_s)
    serials = [one.serial for one in register.hosts["a"].certificates]
    assert len(serials) == MAX_CERTIFICATES
    assert serials == ["0001", "0006", "0007", "0008"]


def test_revoked_host_is_refused_and_its_token_ends() -> None:
    register = invited("a", NOW_S, joined()).revoke("a", NOW_S + 60)
    refusal = register.certificate_refusal("a", "0001", NOW_S + 61)
    assert refusal.startswith('host "a" was revoked at 2027-01-15 08:01:00 UTC. If it is to join')
    assert register.refusal("a", SECRET, NOW_S + 61)
    assert register.revoke("a", NOW_S + 90) is register


def test_revoked_host_joins_again_by_a_new_token() -> None:
    register = invited("a", NOW_S + 60, joined().revoke("a", NOW_S))
    assert register.certificate_refusal("a", "0001", NOW_S + 60)
    register, refusal = register.spend("a", SECRET, b"key", NOW_S + 60)
    assert refusal == ""
    register = register.join("a", certificate(2), NOW_S + 60)
    assert register.hosts["a"].revoked_s is None
    assert not register.certificate_refusal("a", "0002", NOW_S + 60)


def test_unknown_host_is_not_revoked() -> None:
    with pytest.raises(
        ConfigError, match=r'hosts: saw the string "rack-2"\. Did you mean "rack-1"'
    ):
        invited("rack-1").revoke("rack-2", NOW_S)
    with pytest.raises(ConfigError, match="Type openimds control host list"):
        HostRegister().revoke("rack-2", NOW_S)


def test_ended_certificates_tokens_and_hosts_are_pruned() -> None:
    register = joined()
    assert register.prune(NOW_S) is register
    later = register.prune(NOW_S + 8 * DAY_S).hosts["a"]
    assert (later.state, later.certificates, later.invitation) == ("joined", (), None)
    revoked = register.revoke("a", NOW_S)
    assert "a" in revoked.prune(NOW_S + 6 * DAY_S).hosts
    assert "a" not in revoked.prune(NOW_S + 7 * DAY_S).hosts
    never = invited()
    assert never.prune(NOW_S + JOIN_S + FORGET_S - 1) is never
    assert never.prune(NOW_S + JOIN_S + FORGET_S).hosts == {}
