"""Certificates with Azure's addresses, and the one for https with its own root."""

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.x509 import verification

from openimds.credentials.pki.authority import CertificateAuthority
from openimds.credentials.pki.certificate_info import file_name, list_name
from openimds.credentials.pki.certificates import LeafSubject
from openimds.credentials.pki.extensions import Addresses, addresses_in
from openimds.credentials.pki.web_certificate import web_certificate
from openimds.facts.attested import AZURE_BASES, AZURE_PKI_HOSTS
from tests.unit.credentials.pki.recordings import CREATED_S

REAL = "http://www.microsoft.com"


@pytest.fixture
def authority() -> CertificateAuthority:
    return CertificateAuthority.open(None, CREATED_S, public_url=REAL, bases=AZURE_BASES)


def above(issuer: x509.Certificate, file: str) -> Addresses:
    """Return the addresses below an issuer as the leaf of 2026 has them."""
    certificate = f"/pkiops/certs/{file_name(issuer)}.crt"
    return Addresses(
        (REAL + certificate, f"http://caissuers.microsoft.com{certificate}"),
        (f"{REAL}/pkiops/crl/{file}", f"http://crl2.microsoft.com/pkiops/crl/{file}"),
        "http://oneocsp.microsoft.com/ocsp",
    )


def test_leaf_and_tiers_name_azures_hosts(authority: CertificateAuthority) -> None:
    leaf = authority.leaf("metadata.azure.com", "eastus", CREATED_S).certificate
    issuer, tier, root = x509.load_pem_x509_certificates(
        authority.chain_pem() + authority.root_pem()
    )[:3]
    partition = f"partition/{list_name(issuer)}_Partition00001.crl"
    assert addresses_in(leaf) == above(issuer, partition)
    assert addresses_in(issuer) == above(tier, f"{list_name(tier)}.crl")
    assert addresses_in(tier) == above(root, f"{list_name(root)}.crl")


def test_next_issuer_and_its_leaf_name_azures_hosts(authority: CertificateAuthority) -> None:
    issuer = authority.successor("intermediate", CREATED_S)
    subject, validity = LeafSubject("metadata.azure.com", "eastus"), authority.leaves.validity(1)
    leaf = authority.leaves.issue(subject, validity, issuer).certificate
    for certificate in (issuer.certificate, leaf):
        hosts = {url.split("/")[2] for url in addresses_in(certificate).issuers}
        assert hosts == {"www.microsoft.com", "caissuers.microsoft.com"}


def store(root: x509.Certificate) -> verification.PolicyBuilder:
    at = datetime.fromtimestamp(CREATED_S, UTC)
    return verification.PolicyBuilder().store(verification.Store([root])).time(at)


@pytest.mark.parametrize("host", AZURE_PKI_HOSTS)
def test_web_certificate_holds_for_each_host(host: str) -> None:
    made = web_certificate(AZURE_PKI_HOSTS, CREATED_S)
    root = x509.load_pem_x509_certificate(made.root)
    certificate = x509.load_pem_x509_certificate(made.certificate)
    verifier = store(root).build_server_verifier(x509.DNSName(host))
    assert verifier.verify(certificate, []) == [certificate, root]


def test_web_certificate_fails_for_other_host_and_root() -> None:
    made, other = (web_certificate(AZURE_PKI_HOSTS, CREATED_S) for _ in range(2))
    certificate = x509.load_pem_x509_certificate(made.certificate)
    for pem, host in ((made.root, "login.microsoft.com"), (other.root, AZURE_PKI_HOSTS[0])):
        policy = store(x509.load_pem_x509_certificate(pem))
        with pytest.raises(verification.VerificationError):
            policy.build_server_verifier(x509.DNSName(host)).verify(certificate, [])


def test_web_root_may_certify_its_hosts_alone() -> None:
    made = web_certificate(AZURE_PKI_HOSTS, CREATED_S)
    root = x509.load_pem_x509_certificate(made.root)
    limits = root.extensions.get_extension_for_class(x509.NameConstraints)
    assert limits.critical
    permitted = limits.value.permitted_subtrees or []
    assert [name.value for name in permitted] == list(AZURE_PKI_HOSTS)
