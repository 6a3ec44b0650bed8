"""TLS between control and hosts, played in memory: the right ends, and all others."""

import os
import ssl
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from openimds.credentials.hosts.authority import HostsCa
from openimds.credentials.hosts.handshake import (
    check_control,
    first_contact_context,
    host_context,
    pinned_root,
    present,
    server_context,
    trust,
)
from openimds.credentials.hosts.host_certificates import HostTrustError, name_in
from openimds.credentials.hosts.join_token import OTHER_ROOT
from openimds.credentials.keys.holders import Holder
from openimds.credentials.pki.authority import CertificateAuthority
from openimds.credentials.pki.revocation_register import serial_of
from tests.unit.credentials.hosts.hosts_setup import DAY_S, connect, joined, shake_hands, signed

# OpenSSL judges by the clock of the machine.
NOW_S = time.time()


def test_host_and_control_accept_each_other(tmp_path: Path) -> None:
    ca = HostsCa.open(None, NOW_S)
    identity, result = joined(ca, tmp_path, "web-1", NOW_S)
    of_control, of_host = shake_hands(ca.server_context(NOW_S), identity.context())
    check_control(of_control)
    assert of_host
    assert name_in(of_host) == "web-1"
    serial = serial_of(x509.load_der_x509_certificate(of_host))
    assert not result.register.certificate_refusal("web-1", serial, NOW_S)


def test_no_session_is_resumed_without_its_certificate(tmp_path: Path) -> None:
    ca = HostsCa.open(None, NOW_S)
    identity, _ = joined(ca, tmp_path, "web-1", NOW_S)
    host, control = connect(ca.server_context(NOW_S), identity.context())
    control.write(b"hello")
    assert host.read() == b"hello"  # A ticket would have come before it.
    assert host.session
    assert not host.session.has_ticket


def test_revoked_host_is_refused_after_the_handshake(tmp_path: Path) -> None:
    ca = HostsCa.open(None, NOW_S)
    identity, result = joined(ca, tmp_path, "web-1", NOW_S)
    register = result.register.revoke("web-1", NOW_S)
    _, of_host = shake_hands(ca.server_context(NOW_S), identity.context())
    assert of_host
    serial = serial_of(x509.load_der_x509_certificate(of_host))
    assert register.certificate_refusal("web-1", serial, NOW_S)


def test_host_without_a_certificate_may_speak_to_control() -> None:
    ca = HostsCa.open(None, NOW_S)
    of_control, of_host = shake_hands(ca.server_context(NOW_S), host_context(ca.roots(NOW_S)))
    check_control(of_control)
    assert of_host is None


def test_first_contact_gets_the_pinned_root_alone() -> None:
    ca, other = HostsCa.open(None, NOW_S), HostsCa.open(None, NOW_S)
    of_control, _ = shake_hands(ca.server_context(NOW_S), first_contact_context())
    assert of_control
    sent = other.roots(NOW_S) + ca.roots(NOW_S)
    trusted = ("0" * 64, ca.fingerprint)
    assert pinned_root(sent, trusted, OTHER_ROOT) == ca.roots(NOW_S)
    with pytest.raises(HostTrustError, match="not the one that made the join token"):
        pinned_root(other.roots(NOW_S), trusted, OTHER_ROOT)
    with pytest.raises(HostTrustError, match="sent no certificates"):
        pinned_root(b"<html>", trusted, OTHER_ROOT)


def test_host_of_another_authority_is_refused(tmp_path: Path) -> None:
    ca = HostsCa.open(None, NOW_S)
    stranger, _ = joined(HostsCa.open(None, NOW_S), tmp_path, "web-1", NOW_S)
    holder = stranger._holder
    assert holder
    client = host_context(ca.roots(NOW_S), Holder(holder.key, holder.certificate))
    with pytest.raises(ssl.SSLError, match="unable to get local issuer certificate"):
        shake_hands(ca.server_context(NOW_S), client)


def test_leaf_of_attested_documents_is_refused() -> None:
    ca = HostsCa.open(None, NOW_S)
    leaf = CertificateAuthority.open(None, NOW_S).leaf("metadata.azure.com", "", NOW_S)
    client = host_context(ca.roots(NOW_S), Holder(leaf.key, leaf.certificate))
    with pytest.raises(ssl.SSLError, match="certificate verify failed"):
        shake_hands(ca.server_context(NOW_S), client)


def test_ended_certificate_is_refused(tmp_path: Path) -> None:
    before_s = NOW_S - 8 * DAY_S
    ca = HostsCa.open(None, before_s)
    identity, _ = joined(ca, tmp_path, "web-1", before_s)
    with pytest.raises(ssl.SSLError, match="certificate has expired"):
        shake_hands(ca.server_context(NOW_S), identity.context())


def test_certificate_of_control_is_none_of_a_host() -> None:
    ca = HostsCa.open(None, NOW_S)
    client = host_context(ca.roots(NOW_S), ca.server_certificate(NOW_S))
    with pytest.raises(ssl.SSLError, match="certificate purpose"):
        shake_hands(ca.server_context(NOW_S), client)


def test_stolen_host_cannot_pose_as_control(tmp_path: Path) -> None:
    ca = HostsCa.open(None, NOW_S)
    identity, _ = joined(ca, tmp_path, "web-1", NOW_S)
    assert identity._holder
    fake = server_context()
    present(fake, identity._holder)
    with pytest.raises(ssl.SSLError, match="certificate purpose"):
        shake_hands(fake, host_context(ca.roots(NOW_S)))
    with pytest.raises(HostTrustError, match='certificate for "openimds:host:web-1", expected'):
        check_control(signed(ca, "web-1", NOW_S).der)


def test_control_of_another_authority_is_refused(tmp_path: Path) -> None:
    identity, _ = joined(HostsCa.open(None, NOW_S), tmp_path, "web-1", NOW_S)
    other = HostsCa.open(None, NOW_S)
    with pytest.raises(ssl.SSLError, match="certificate verify failed"):
        shake_hands(other.server_context(NOW_S), identity.context())
    with pytest.raises(HostTrustError, match='certificate for "nobody"'):
        check_control(None)


@pytest.mark.parametrize("rotations", [1, 2])
def test_host_accepts_control_after_its_root_is_replaced(tmp_path: Path, rotations: int) -> None:
    ca = HostsCa.open(None, NOW_S)
    identity, _ = joined(ca, tmp_path, "web-1", NOW_S)
    context = ca.server_context(NOW_S)
    for _ in range(rotations):
        ca.rotate(NOW_S)
        ca.keep_up(NOW_S)
    of_control, of_host = shake_hands(context, identity.context())
    check_control(of_control)
    assert of_host
    new = ca.roots(NOW_S).partition(b"-----BEGIN CERTIFICATE-----\n")[2]
    of_control, _ = shake_hands(context, host_context(b"-----BEGIN CERTIFICATE-----\n" + new))
    check_control(of_control)


def test_older_protocol_than_tls_1_3_is_refused() -> None:
    ca = HostsCa.open(None, NOW_S)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.check_hostname = False
    trust(client, ca.roots(NOW_S))
    with pytest.raises(ssl.SSLError):
        shake_hands(ca.server_context(NOW_S), client)


def test_key_is_presented_without_files_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    ca = HostsCa.open(None, NOW_S)
    of_control, _ = shake_hands(ca.server_context(NOW_S), host_context(ca.roots(NOW_S)))
    assert of_control == ca.server_certificate(NOW_S).certificate.public_bytes(Encoding.DER)


def test_keys_of_the_three_authorities_differ(tmp_path: Path) -> None:
    ca = HostsCa.open(tmp_path, NOW_S)
    CertificateAuthority.open(tmp_path / "ca", NOW_S)
    root = x509.load_pem_x509_certificate(ca.roots(NOW_S))
    attested = x509.load_pem_x509_certificate((tmp_path / "ca" / "root.pem").read_bytes())
    assert isinstance(root.public_key(), ec.EllipticCurvePublicKey)
    assert root.public_key() != attested.public_key()
    assert root.subject != attested.subject
