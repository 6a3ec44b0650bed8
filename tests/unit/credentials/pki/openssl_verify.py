"""Certificate verification by openssl, and constants shared by tests of the CA."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

NOW_S = datetime(2023, 7, 24, 12, tzinfo=UTC).timestamp()
DAY_S = 86_400
URL = "http://127.0.0.1:8169"
PUBLIC = ("metadata.azure.com", "northeurope")


def run(*arguments: str, at: Path | None = None, is_ok: bool = True) -> str:
    result = subprocess.run(
        ["openssl", *arguments], cwd=at, capture_output=True, check=False, text=True, timeout=60
    )
    assert (result.returncode == 0) is is_ok, result.stdout + result.stderr
    return result.stdout + result.stderr


def verify(leaf: x509.Certificate, trust: bytes, at: Path, *, is_ok: bool = True) -> str:
    (at / "leaf.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
    (at / "trust.pem").write_bytes(trust)
    time = ["-attime", str(int(NOW_S))]
    options = ["-x509_strict", "-no-CApath", "-no-CAstore", "-CAfile", "trust.pem", "leaf.pem"]
    return run("verify", *time, *options, at=at, is_ok=is_ok)


def certificates(text: bytes) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(text)


def common_names(text: bytes) -> list[str]:
    return [item.subject.rfc4514_string().split(",")[0][3:] for item in certificates(text)]
