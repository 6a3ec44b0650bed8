"""The register of hosts that join by themselves, because Kubernetes vouches for their nodes."""

import pytest
from msgspec.structs import replace

from openimds.credentials.hosts.host_certificates import HostCertificate
from openimds.credentials.hosts.register import (
    FORGET_S,
    JOIN_S,
    MAX_HOSTS,
    HostRegister,
)
from openimds.errors import ConfigError
from tests.unit.credentials.hosts.hosts_setup import DAY_S, NOW_S

PRINT = "ab" * 32
BY_ITSELF = HostRegister(keeps_revoked=True)


def certificate(number: int = 1, begins_s: float = NOW_S) -> HostCertificate:
    return HostCertificate(b"", f"{number:04X}", begins_s - 3600, begins_s + 7 * DAY_S)


def admitted(name: str = "n1", register: HostRegister = BY_ITSELF) -> HostRegister:
    assert register.admission_refusal(name, NOW_S) == ""
    return register.admit(name, "ns/sa", certificate(), NOW_S)


def test_admitted_host_is_stored_with_its_account() -> None:
    register = admitted()
    entry = register.hosts["n1"]
    assert (entry.state, entry.joined_s, entry.account) == ("joined", NOW_S, "ns/sa")
    assert not register.certificate_refusal("n1", "0001", NOW_S)
    assert HostRegister.from_bytes(register.to_bytes()) == register


def test_register_of_an_earlier_release_is_read() -> None:
    register = HostRegister.from_bytes(b'{"hosts": {}, "form": 1}')
    assert register == HostRegister(keeps_revoked=False)


def test_admission_ends_the_former_certificate_and_an_invitation() -> None:
    register, _ = admitted().invite("n1", NOW_S, PRINT, is_admin=True)
    register = register.admit("n1", "ns/sa", certificate(2), NOW_S + 1)
    assert register.hosts["n1"].invitation is None
    assert "was replaced" in register.certificate_refusal("n1", "0001", NOW_S + 1)
    assert not register.certificate_refusal("n1", "0002", NOW_S + 1)


def test_join_by_token_clears_the_service_account() -> None:
    secret = b"s" * 32
    register, _ = admitted().invite("n1", NOW_S, PRINT, is_admin=True, secret=secret)
    register, refusal = register.spend("n1", secret, b"key", NOW_S)
    assert refusal == ""
    assert register.join("n1", certificate(2), NOW_S).hosts["n1"].account == ""


def joined_by_token(name: str = "db-1") -> HostRegister:
    secret = b"s" * 32
    register, _ = BY_ITSELF.invite(name, NOW_S, PRINT, is_admin=True, secret=secret)
    register, refusal = register.spend(name, secret, b"key", NOW_S)
    assert refusal == ""
    return register.join(name, certificate(), NOW_S)


@pytest.mark.parametrize("later_s", [0, 30 * DAY_S], ids=["alive", "its certificate has ended"])
def test_pod_takes_no_host_that_joined_by_a_token(later_s: float) -> None:
    register = joined_by_token().prune(NOW_S + later_s)
    refusal = register.admission_refusal("db-1", NOW_S + later_s)
    assert refusal.startswith('host "db-1" joined by a join token, and no pod takes its name')
    assert "type openimds control host revoke db-1, then openimds control host add db-1" in refusal


def test_operator_lets_a_pod_in_once_the_join_token_has_ended() -> None:
    register = joined_by_token().revoke("db-1", NOW_S)
    register, _ = register.invite("db-1", NOW_S, PRINT, is_admin=True)
    refusal = register.admission_refusal("db-1", NOW_S + JOIN_S - 1)
    assert "which comes first" in refusal
    assert register.admission_refusal("db-1", NOW_S + JOIN_S) == ""


def test_pod_takes_no_pending_invitation() -> None:
    register, _ = BY_ITSELF.invite("db-1", NOW_S, PRINT, is_admin=True)
    refusal = register.admission_refusal("db-1", NOW_S + JOIN_S - 1)
    assert refusal.startswith('host "db-1" has a join token until 2')
    assert refusal.endswith("type openimds control host revoke db-1")
    assert register.admission_refusal("db-1", NOW_S + JOIN_S) == ""


def test_name_that_no_host_may_have_is_not_admitted() -> None:
    refusal = BY_ITSELF.admission_refusal("a b", NOW_S)
    assert refusal.startswith('a host cannot have the name the string "a b"')


def test_revoked_host_stays_out_until_it_is_added_again() -> None:
    revoked = admitted().revoke("n1", NOW_S + 60)
    assert 'host "n1" was revoked at' in revoked.admission_refusal("n1", NOW_S + 61)
    year_s = NOW_S + 365 * DAY_S
    assert "openimds control host add n1" in revoked.prune(year_s).admission_refusal("n1", year_s)
    added, _ = revoked.invite("n1", NOW_S + 90, PRINT, is_admin=True)
    for later_s in (NOW_S + 90, NOW_S + 90 + JOIN_S, NOW_S + 5 * DAY_S, year_s):
        assert added.prune(later_s).admission_refusal("n1", later_s) == ""
    back = added.admit("n1", "ns/sa", certificate(3), NOW_S + 91)
    assert back.hosts["n1"].revoked_s is None
    assert not back.certificate_refusal("n1", "0003", NOW_S + 91)


def test_host_that_was_revoked_before_stays_out() -> None:
    secret = b"s" * 32
    register, _ = HostRegister().invite("n1", NOW_S, PRINT, is_admin=True, secret=secret)
    register, _ = register.spend("n1", secret, b"key", NOW_S)
    revoked = register.join("n1", certificate(), NOW_S).revoke("n1", NOW_S)
    later_s = NOW_S + 30 * DAY_S
    kept = replace(revoked, keeps_revoked=True).prune(later_s)
    assert "was revoked" in kept.admission_refusal("n1", later_s)
    assert revoked.prune(later_s).hosts == {}


def test_node_that_is_gone_leaves_the_register() -> None:
    register = admitted()
    assert "n1" in register.prune(NOW_S + 7 * DAY_S - 1).hosts
    assert "n1" not in register.prune(NOW_S + 7 * DAY_S).hosts


def test_full_register_admits_none_until_there_is_place() -> None:
    entry = admitted().hosts["n1"]
    hosts = {name: replace(entry, name=name) for name in map(str, range(MAX_HOSTS))}
    full = HostRegister(hosts, keeps_revoked=True)
    assert full.admission_refusal("n1", NOW_S).startswith("there are 5000 hosts. For those gone")
    assert full.admission_refusal("7", NOW_S) == ""
    later_s = NOW_S + 8 * DAY_S
    assert full.admission_refusal("n1", later_s) == ""
    made = full.admit("n1", "ns/sa", certificate(9, later_s), later_s)
    assert [*made.hosts] == ["n1"]
    with pytest.raises(ConfigError, match="type openimds control host revoke, then openimds"):
        full.invite("n1", NOW_S, PRINT, is_admin=True)


def test_hosts_that_are_revoked_and_added_make_place() -> None:
    register, _ = admitted().revoke("n1", NOW_S).invite("n1", NOW_S, PRINT, is_admin=True)
    assert "n1" in register.prune(NOW_S + JOIN_S + FORGET_S - 1).hosts
    assert "n1" not in register.prune(NOW_S + JOIN_S + FORGET_S).hosts
