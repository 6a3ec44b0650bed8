"""An operator's own CAs, with lists and OCSP responses signed ahead."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from openimds.credentials.keys.files import new_key, write_key
from openimds.credentials.pki.extensions import key_usage
from tests.unit.credentials.pki.openssl_verify import NOW_S, URL

NOW = datetime.fromtimestamp(NOW_S, UTC)
DAY = timedelta(days=1)


class OwnCa:
    """One CA of the operator; certificates below it name the addresses of this server."""

    def __init__(
        self,
        name: str,
        issuer: "OwnCa | None" = None,
        *,
        usages: tuple[str, ...] = ("key_cert_sign", "crl_sign"),
        is_addressed: bool = True,
    ) -> None:
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.key: RSAPrivateKey = new_key()
        self.slug = name.lower()
        above = issuer or self
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(above.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - 30 * DAY)
            .not_valid_after(NOW + 3000 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(key_usage(usages), critical=True)
        )
        if issuer and is_addressed:
            point = x509.UniformResourceIdentifier(f"{URL}/pkiops/crl/{issuer.slug}.crl")
            asked = x509.AccessDescription(
                AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(f"{URL}/ocsp")
            )
            builder = builder.add_extension(
                x509.CRLDistributionPoints([x509.DistributionPoint([point], None, None, None)]),
                critical=False,
            ).add_extension(x509.AuthorityInformationAccess([asked]), critical=False)
        self.certificate = builder.sign(above.key, SHA256())

    def crl(
        self,
        *revoked: x509.Certificate,
        starts: timedelta = -DAY,
        ends: timedelta = 30 * DAY,
    ) -> x509.CertificateRevocationList:
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.name)
            .last_update(NOW + starts)
            .next_update(NOW + ends)
            .add_extension(x509.CRLNumber(1), critical=False)
        )
        for one in revoked:
            entry = (
                x509.RevokedCertificateBuilder()
                .serial_number(one.serial_number)
                .revocation_date(NOW - DAY)
                .add_extension(x509.CRLReason(x509.ReasonFlags.superseded), critical=False)
            )
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self.key, SHA256())

    def response(
        self,
        certificate: x509.Certificate,
        *,
        is_revoked: bool = False,
        ends: timedelta | None = 30 * DAY,
        digest: SHA1 | SHA256 | None = None,
    ) -> bytes:
        status = ocsp.OCSPCertStatus.REVOKED if is_revoked else ocsp.OCSPCertStatus.GOOD
        builder = (
            ocsp.OCSPResponseBuilder()
            .add_response(
                cert=certificate,
                issuer=self.certificate,
                algorithm=digest or SHA1(),
                cert_status=status,
                this_update=NOW - DAY,
                next_update=NOW + ends if ends else None,
                revocation_time=NOW - DAY if is_revoked else None,
                revocation_reason=x509.ReasonFlags.superseded if is_revoked else None,
            )
            .responder_id(ocsp.OCSPResponderEncoding.HASH, self.certificate)
        )
        return builder.sign(self.key, SHA256()).public_bytes(Encoding.DER)


def write_chain(at: Path, *chain: OwnCa) -> tuple[Path, Path]:
    """Write certificates and the first one's key; return both paths."""
    text = b"".join(one.certificate.public_bytes(Encoding.PEM) for one in chain)
    (at / "chain.pem").write_bytes(text)
    write_key(at / "own.key", chain[0].key)
    return at / "chain.pem", at / "own.key"


def write(at: Path, octets: bytes, name: str) -> Path:
    (at / name).write_bytes(octets)
    return at / name
