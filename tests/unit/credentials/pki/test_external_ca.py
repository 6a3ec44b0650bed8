"""An external CA, issued by openssl, and every fault that the start refuses."""

from pathlib import Path

import pytest
from cryptography import x509

from openimds.credentials.keys.files import KeyFileError
from openimds.credentials.pki.authority import CertificateAuthority
from openimds.credentials.pki.external_ca import read_external_ca
from openimds.credentials.pki.lazy_ca import CaSettings, LazyCa
from openimds.errors import ConfigError
from tests.unit.credentials.pki.openssl_verify import DAY_S, PUBLIC, run

MAY = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")


def issue(at: Path, name: str, *more: str, by: str = "", key: str = "rsa:2048") -> None:
    """Make NAME.key and NAME.pem, self-signed or signed by another."""
    request = ["req", "-x509", "-newkey", key, "-noenc", "-days", "30", "-sha256"]
    signed = ["-CA", f"{by}.pem", "-CAkey", f"{by}.key"] if by else []
    if by:
        signed += ["-addext", "basicConstraints=critical,CA:TRUE"]
    files = ["-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem"]
    run(*request, *signed, *files, *more, at=at)
    (at / f"{name}.key").chmod(0o600)


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("own")
    issue(at, "root")
    issue(at, "lab", by="root")
    issue(at, "signs-nothing", "-addext", "keyUsage=critical,cRLSign")
    issue(at, "short", key="rsa:1024")
    issue(at, "stranger")
    run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc",
        "-subj", "/CN=curve", "-keyout", "curve.key", "-out", "curve.pem", at=at)  # fmt: skip
    (at / "curve.key").chmod(0o600)
    run("rsa", "-in", "lab.key", "-aes128", "-passout", "pass:x", "-out", "locked.key", at=at)
    (at / "locked.key").chmod(0o600)
    run("x509", "-in", "lab.pem", "-outform", "DER", "-out", "lab.der", at=at)
    join(at, "chain", "lab", "root")
    join(at, "apart", "lab", "stranger")
    leaf = ("-addext", "basicConstraints=critical,CA:FALSE")
    run("req", "-x509", "-key", "lab.key", "-subj", "/CN=server", "-out", "leaf.pem", *leaf, at=at)
    (at / "open.key").write_bytes((at / "lab.key").read_bytes())
    (at / "open.key").chmod(0o644)
    (at / "nonsense.pem").write_text("nonsense")
    (at / "nonsense.key").write_text("nonsense")
    (at / "nonsense.key").chmod(0o600)
    return at


@pytest.fixture(scope="module")
def now_s(issued: Path) -> float:
    """Return a time at which the certificates are valid: openssl 3.0 issues from now on."""
    last = x509.load_pem_x509_certificate((issued / "leaf.pem").read_bytes())
    return last.not_valid_before_utc.timestamp() + 60


def join(at: Path, name: str, *parts: str) -> None:
    (at / f"{name}.pem").write_bytes(b"".join((at / f"{part}.pem").read_bytes() for part in parts))


def test_external_ca_issues_the_leaves(issued: Path, now_s: float) -> None:
    external_ca = read_external_ca(issued / "chain.pem", issued / "lab.key", now_s)
    authority = CertificateAuthority.open(None, now_s, external_ca=external_ca)
    assert authority.leaf(*PUBLIC, now_s).certificate.issuer.rfc4514_string() == "CN=lab"
    assert len(authority.published()) == 2


@pytest.mark.parametrize(
    "certificates, key, message",
    [
        ("none.pem", "lab.key", "attest_certificates: .*none.pem: saw no such file"),
        ("nonsense.pem", "lab.key", "attest_certificates: .*saw unable to load pem file, expected"),
        (
            "lab.der",
            "lab.key",
            "attest_certificates: .*If it is DER, type openssl x509 -inform DER",
        ),
        ("leaf.pem", "lab.key", "attest_certificates: .*CN=server, which is not a CA certificate"),
        ("apart.pem", "lab.key", "CN=lab followed by CN=stranger, which did not issue it"),
        ("signs-nothing.pem", "signs-nothing.key", "whose keyUsage lacks keyCertSign"),
        ("short.pem", "short.key", "RSA of 1024 bits in CN=short, expected an RSA key of 2048"),
        ("curve.pem", "curve.key", "attest_certificates: .*saw another kind of key in CN=curve"),
        ("chain.pem", "none.key", "attest_key: .*none.key: saw no such file"),
        ("chain.pem", "root.key", "attest_key: .*root.key: saw another key than that of the first"),
        ("chain.pem", "open.key", "attest_key: .*saw the mode 0644, expected 0600.*chmod 600"),
        ("chain.pem", "locked.key", "attest_key: .*saw a key with a pass phrase.*openssl pkey"),
        ("chain.pem", "nonsense.key", "attest_key: .*expected an RSA private key in PEM"),
        ("chain.pem", "curve.key", "attest_key: .*saw a key of another kind"),
    ],
)
def test_unusable_file_is_refused_with_its_setting(
    issued: Path, now_s: float, certificates: str, key: str, message: str
) -> None:
    ca = LazyCa(CaSettings(None, "", issued / certificates, issued / key))
    with pytest.raises(ConfigError, match=message) as caught:
        ca.check(now_s)
    assert "http" not in str(caught.value)
    assert "new key is made" not in str(caught.value)


@pytest.mark.parametrize("away_s", [31 * DAY_S, -2 * DAY_S])
def test_expired_or_future_ca_is_refused(issued: Path, now_s: float, away_s: float) -> None:
    with pytest.raises(ConfigError, match=r"saw CN=lab, valid from .*, expected .* valid now, "):
        read_external_ca(issued / "chain.pem", issued / "lab.key", now_s + away_s)


@pytest.mark.parametrize("part", ["intermediate", "root"])
def test_external_ca_is_not_rotated(issued: Path, now_s: float, tmp_path: Path, part: str) -> None:
    ca = LazyCa(CaSettings(tmp_path, "", issued / "chain.pem", issued / "lab.key"))
    message = f"cannot rotate the {part}: an external CA .* --attest-key and --attest-certificates"
    with pytest.raises(KeyFileError, match=message):
        ca.rotate(part, now_s)
    assert list(tmp_path.iterdir()) == []
    ca.rotate("leaf", now_s)
    assert ca.generation == 1
