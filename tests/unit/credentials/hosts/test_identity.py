"""The identity of a host in its state folder."""

from pathlib import Path

import pytest

from openimds.credentials.hosts.authority import HostsCa
from openimds.credentials.hosts.host_certificates import HostTrustError, key_in_request
from openimds.credentials.hosts.identity import HostIdentity
from openimds.credentials.keys.files import KeyFileError
from tests.unit.credentials.hosts.hosts_setup import DAY_S, NOW_S, csr_of, joined, rsa_key

CA = HostsCa.open(None, NOW_S)


def test_host_before_its_join_has_nothing_to_present(tmp_path: Path) -> None:
    identity = HostIdentity.open(tmp_path)
    assert (identity.name, identity.serial, identity.ends_s) == ("", "", 0.0)
    assert identity.is_due(NOW_S)
    assert identity.has_ended(NOW_S)
    with pytest.raises(HostTrustError, match="this host has not joined: let the host join again"):
        identity.context()


def test_identity_outlives_a_restart_with_mode_0600(tmp_path: Path) -> None:
    identity, result = joined(CA, tmp_path, "rack-1", NOW_S)
    again = HostIdentity.open(tmp_path)
    assert result.certificate
    assert (again.name, again.serial) == ("rack-1", result.certificate.serial)
    assert again.ends_s == result.certificate.ends_s == identity.ends_s
    assert not again.has_ended(NOW_S + 6 * DAY_S)
    assert again.has_ended(NOW_S + 7 * DAY_S)
    files = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "host").iterdir()}
    assert files == {"identity.pem": 0o600}


def test_key_of_a_request_outlives_a_restart(tmp_path: Path) -> None:
    first = key_in_request(HostIdentity.open(tmp_path).request())
    assert key_in_request(HostIdentity.open(tmp_path).request()) == first


@pytest.mark.parametrize("case", ["damaged", "readable", "another kind"])
def test_unfit_key_of_a_request_is_replaced(tmp_path: Path, case: str) -> None:
    identity = HostIdentity.open(tmp_path)
    first = key_in_request(identity.request())
    path = tmp_path / "host" / "next.key"
    match case:
        case "damaged":
            path.write_bytes(b"nonsense")
        case "readable":
            path.chmod(0o644)
        case _:
            path.write_bytes(pkcs8())
    assert key_in_request(identity.request()) != first
    assert path.stat().st_mode & 0o777 == 0o600


def pkcs8() -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return rsa_key(2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_damaged_identity_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    joined(CA, tmp_path, "a", NOW_S)
    (tmp_path / "host" / "identity.pem").write_bytes(b"nonsense")
    with pytest.raises(KeyFileError, match="remove it and let the host join again: openimds"):
        HostIdentity.open(tmp_path)


def test_answer_that_does_not_fit_the_request_is_refused(tmp_path: Path) -> None:
    identity, roots = HostIdentity.open(tmp_path), CA.roots(NOW_S)
    key = key_in_request(identity.request())
    own = CA.sign("a", key, NOW_S).der
    foreign = CA.sign("a", key_in_request(csr_of()), NOW_S).der
    refused = {
        "cannot be read": ("a", b"?", roots, NOW_S),
        "control cannot be read": ("a", own, b"?", NOW_S),
        'is for "a" or for another key, expected host "b"': ("b", own, roots, NOW_S),
        'expected host "a" and the key of its request': ("a", foreign, roots, NOW_S),
        "of none of the roots": ("a", own, HostsCa.open(None, NOW_S).roots(NOW_S), NOW_S),
        "clock of this machine has passed: set the clock": ("a", own, roots, NOW_S + 8 * DAY_S),
    }
    for message, (name, certificate, above, now_s) in refused.items():
        with pytest.raises(HostTrustError, match=message):
            identity.accept(name, certificate, above, now_s)
    assert identity.name == ""
    identity.accept("a", own, roots, NOW_S)
    assert identity.name == "a"


def test_unwritable_answer_leaves_the_former_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity, _ = joined(CA, tmp_path, "a", NOW_S)
    before = identity.serial
    answer = CA.sign("a", key_in_request(identity.request()), NOW_S)

    def fail(*_: object) -> None:
        raise KeyFileError("full")

    monkeypatch.setattr("openimds.credentials.hosts.identity.write_holder", fail)
    with pytest.raises(KeyFileError, match="full"):
        identity.accept("a", answer.der, CA.roots(NOW_S), NOW_S)
    assert identity.serial == before
