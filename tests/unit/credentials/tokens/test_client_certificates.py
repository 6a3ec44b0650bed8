"""Client certificates of MSI v2, checked by openssl."""

import subprocess
from base64 import b64decode
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from openimds.credentials.tokens.client_certificates import FILE_NAME, ClientCertificates
from openimds.protocol.pending import Certificate, Failed, PendingCertificate
from openimds.vm.identities import Principal

NOW_S = 1_795_377_286.0
IDENTITY = Principal("client-1", "o", "tenant-1", "/m")


def openssl(*arguments: str, stdin: bytes = b"") -> bytes:
    done = subprocess.run(
        ["openssl", *arguments], input=stdin, capture_output=True, check=True, timeout=60
    )
    return done.stdout


def request(folder: Path, *key: str, options: tuple[str, ...] = ()) -> bytes:
    path = folder / "guest.pem"
    kind = key or ("rsa:2048",)
    return openssl(
        *("req", "-new", "-newkey", *kind, "-nodes", "-keyout", str(path), "-subj", "/CN=x"),
        *("-outform", "DER", *options),
    )


def issue(clients: ClientCertificates, csr: bytes) -> bytes:
    certificate = clients.sign(PendingCertificate("a", IDENTITY, csr, "https://x"), NOW_S)
    assert isinstance(certificate, Certificate)
    return b64decode(certificate.text, validate=True)


PSS = ("-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32")


@pytest.mark.parametrize("options", [(), PSS], ids=["pkcs1", "pss"])
def test_certificate_has_the_identity_and_the_guests_key(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    der = issue(ClientCertificates(None), request(tmp_path, options=options))
    shown = openssl(
        *("x509", "-inform", "DER", "-noout", "-subject", "-ext", "extendedKeyUsage"),
        stdin=der,
    ).decode()
    assert "CN=client-1, DC=tenant-1" in shown.replace(" = ", "=")
    assert "TLS Web Client Authentication" in shown
    public = openssl("x509", "-inform", "DER", "-noout", "-pubkey", stdin=der)
    assert public == openssl("pkey", "-in", str(tmp_path / "guest.pem"), "-pubout")


def test_certificate_lasts_seven_days(tmp_path: Path) -> None:
    certificate = x509.load_der_x509_certificate(issue(ClientCertificates(None), request(tmp_path)))
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days == 7
    assert certificate.not_valid_before_utc.timestamp() == NOW_S - 300


@pytest.mark.parametrize(
    "key", [("rsa:1024",), ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")], ids=["short", "curve"]
)
def test_unsupported_key_is_refused(tmp_path: Path, key: tuple[str, ...]) -> None:
    csr = request(tmp_path, *key)
    result = ClientCertificates(None).sign(PendingCertificate("a", IDENTITY, csr, ""), NOW_S)
    assert result == Failed("request_malformed")


def test_malformed_csr_is_refused(tmp_path: Path) -> None:
    csr = bytearray(request(tmp_path))
    csr[-1] ^= 1
    for bad in (bytes(csr), b"", b"der"):
        result = ClientCertificates(None).sign(PendingCertificate("a", IDENTITY, bad, ""), NOW_S)
        assert result == Failed("request_malformed")


def test_signing_key_survives_a_restart_with_a_state_folder(tmp_path: Path) -> None:
    csr = request(tmp_path)
    first = issue(ClientCertificates(tmp_path), csr)
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600
    again = issue(ClientCertificates(tmp_path), csr)
    public = openssl("pkey", "-in", str(tmp_path / FILE_NAME), "-pubout")
    key = load_pem_public_key(public)
    assert isinstance(key, RSAPublicKey)
    for der in (first, again):
        certificate = x509.load_der_x509_certificate(der)
        key.verify(certificate.signature, certificate.tbs_certificate_bytes, PKCS1v15(), SHA256())
    assert first != again
