"""A suite of another project whose verifier insists on Azure's PKI hosts."""

import base64
import os
import socket
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import AuthorityInformationAccessOID

if TYPE_CHECKING:
    from openimds.pytest_plugin import Environment, Imds

ISSUERS = AuthorityInformationAccessOID.CA_ISSUERS
FETCH = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).status)"

azure = pytest.mark.imds(pki_names="azure")


def signer(imds: "Imds") -> x509.Certificate:
    """Return the certificate of an attested document's signer."""
    path = "/metadata/attested/document?api-version=2021-02-01"
    request = urllib.request.Request(f"{imds.url}{path}", headers={"Metadata": "true"})
    with urllib.request.urlopen(request, timeout=10) as response:
        signature = response.read().decode().partition('"signature":"')[2].partition('"')[0]
    return pkcs7.load_der_pkcs7_certificates(base64.b64decode(signature))[0]


def issuers(certificate: x509.Certificate) -> list[str]:
    """Return the addresses of a certificate's issuer."""
    access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess)
    return [item.access_location.value for item in access.value if item.access_method == ISSUERS]


@azure
@pytest.mark.real_address
def test_issuers_are_at_azures_hosts(imds: "Imds", imds_env: "Environment") -> None:
    assert os.environ["SSL_CERT_FILE"] == imds.trust_file == imds_env["SSL_CERT_FILE"]
    first, second = issuers(signer(imds))
    assert first.startswith("http://www.microsoft.com/pkiops/certs/")
    assert second.startswith("http://caissuers.microsoft.com/pkiops/certs/")
    assert socket.gethostbyname("www.microsoft.com") == "192.0.2.1"
    by_tls = first.replace("http:", "https:")
    bodies = set()
    for url in (first, second, by_tls):
        with urllib.request.urlopen(url, timeout=10) as response:
            bodies.add(response.read())
    (body,) = bodies
    assert signer(imds).issuer == x509.load_der_x509_certificate(body).subject
    child = [sys.executable, "-c", FETCH, by_tls]
    assert subprocess.run(child, capture_output=True, check=True).stdout == b"200\n"


@azure
@pytest.mark.real_address
def test_roots_are_in_a_file_of_memory(imds: "Imds") -> None:
    assert imds.trust_file is not None
    folder = Path(imds.trust_file).parent
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    assert [line.split()[2] for line in mounts if line.split()[1] == str(folder)] == ["tmpfs"]
    roots = ssl.create_default_context(cafile=imds.trust_file).get_ca_certs()
    attested, web = sorted(str(root["subject"]) for root in roots)
    assert "OpenIMDS Root CA" in attested
    assert "OpenIMDS Web Root" in web


@azure
@pytest.mark.real_address
def test_after_a_reset_the_file_has_the_new_roots(imds: "Imds") -> None:
    assert imds.trust_file is not None
    file = Path(imds.trust_file)
    before = file.read_text()
    imds.reset()
    assert file.read_text() != before
    context = ssl.create_default_context(cafile=imds.trust_file)
    url = "https://oneocsp.microsoft.com/pki/bundle.pem"
    with urllib.request.urlopen(url, context=context, timeout=10) as response:
        assert response.status == 200


@pytest.mark.imds(pki_names="azure", admin="127.0.0.1:0", public="127.0.0.1:0")
@pytest.mark.real_address
def test_other_listeners_are_beside_azures_hosts(imds: "Imds") -> None:
    assert imds.admin_url is not None
    assert imds.public_url is not None
    assert imds.token_file is not None
    token = Path(imds.token_file).read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    for url in (f"{imds.admin_url}/v1/vms", f"{imds.public_url}/pki/bundle.pem"):
        request = urllib.request.Request(url, headers=headers)
        assert urllib.request.urlopen(request, timeout=10).status == 200
    assert {path.name for path in Path(imds.token_file).parent.iterdir()} == {"admin-token"}


@pytest.mark.real_address
def test_without_the_setting_no_host_is_mapped(imds: "Imds") -> None:
    assert imds.trust_file is None
    assert "SSL_CERT_FILE" not in imds.env
    assert "microsoft" not in Path("/etc/hosts").read_text()


def test_hosts_of_the_machine_are_as_before() -> None:
    assert "microsoft" not in Path("/etc/hosts").read_text()
