"""Host at the public listener."""

import asyncio

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from openimds.admin.host_rule import PublicHosts
from openimds.credentials.keys.files import KeyFileError
from openimds.credentials.pki.authority import CertificateAuthority
from openimds.credentials.pki.extensions import hosts_in
from tests.unit.admin.setup import ask


async def _documents(_scope: object, _receive: object, send: object) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})  # type: ignore[operator]
    await send({"type": "http.response.body", "body": b"document"})  # type: ignore[operator]


def status(*hosts: str, version: str = "1.1") -> int:
    guarded = PublicHosts(
        _documents, frozenset({"idp.example"}), lambda: frozenset({"crl.example"})
    )
    found, body = asyncio.run(ask(guarded, "GET", "/pki/bundle.pem", hosts, version))
    assert (b"--public-url" in body) is (found == 421)
    return found


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1:8171", "[::1]:8171", "192.0.2.7:32768", "localhost", "Host.Docker.Internal"),
        *("idp.example", "IDP.example:443", "crl.example:8171"),
    ],
)
def test_known_host_gets_a_public_document(host: str) -> None:
    assert status(host) == 200


@pytest.mark.parametrize(
    "hosts",
    [
        ("evil.example",),
        ("idp.example.evil",),
        ("localhost:1@evil",),
        ("127.0.0.1.evil.example",),
        ("",),
        (),
        ("127.0.0.1", "evil.example"),
    ],
)
def test_unknown_host_gets_no_public_document(hosts: tuple[str, ...]) -> None:
    assert status(*hosts) == 421


def test_only_http_1_0_may_lack_a_host() -> None:
    assert status(version="1.0") == 200
    assert status("evil.example", version="1.0") == 421


def test_unreadable_certificates_leave_a_host_unknown() -> None:
    def fail() -> frozenset[str]:
        raise KeyFileError("attest-root.pem: it is empty")

    guarded = PublicHosts(_documents, frozenset(), fail)
    found, _ = asyncio.run(ask(guarded, "GET", "/", ("crl.example",)))
    assert found == 421


def test_names_of_certificates_are_those_of_their_addresses() -> None:
    authority = CertificateAuthority.open(
        None, 1_795_377_286.0, public_url="http://Lab.example:8171/x"
    )
    assert hosts_in(authority.bundle()) == {"lab.example"}
    (first, *_) = x509.load_pem_x509_certificates(authority.bundle())
    assert hosts_in(first.public_bytes(Encoding.PEM)) <= {"lab.example"}
