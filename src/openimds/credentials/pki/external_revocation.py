"""Lists of revoked certificates and OCSP responses that other issuers have signed ahead.

The issuers above an external CA have their keys elsewhere, as has a root whose key was taken away.
An operator brings their answers as files, which are checked at the start and served as they are.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from msgspec import Struct

from openimds.credentials.keys.files import plain_reason
from openimds.credentials.pki.certificate_info import can_sign_lists, is_root, list_name
from openimds.credentials.pki.extensions import addresses_in
from openimds.credentials.pki.ocsp import CertId, cert_ids
from openimds.credentials.pki.revocation_check import is_signed_by_responder, response_time
from openimds.credentials.pki.revocation_lists import SignedList, file_of
from openimds.credentials.pki.revocation_register import RegisterEntry, serial_of
from openimds.errors import ConfigError
from openimds.facts.revocation import CRL_PATH, OCSP_PATH

CRL, OCSP = "attest_crl", "attest_ocsp"
"""The settings that name the files."""
MAX_FILES = 64
"""The most files of each setting."""
MAX_OCTETS = 1 << 20
"""The most octets of a file."""
_SOON_S = 86_400
_TEXTS = {CRL: "a list of revoked certificates (CRL), PEM or DER", OCSP: "an OCSP response in DER"}


class ExternalAnswer(Struct, frozen=True):
    """A list or a response: file, times in seconds since 1970, and statements.

    `entries` are the certificates of the chain that it speaks about.
    """

    where: str
    octets: bytes
    starts_s: float
    ends_s: float
    entries: tuple[RegisterEntry, ...]
    names: tuple[str, ...] = ()
    cert_id: CertId | None = None


class ExternalRevocation(Struct, frozen=True):
    """The answers that were brought; see `read_external_revocation`."""

    answers: tuple[ExternalAnswer, ...] = ()
    lists: Mapping[str, SignedList] = {}
    responses: Mapping[CertId, bytes] = {}

    def entries(self) -> list[RegisterEntry]:
        """Return the certificates that the answers speak about; a revocation has precedence."""
        found: dict[str, RegisterEntry] = {}
        for answer in self.answers:
            for entry in answer.entries:
                if entry.serial not in found or entry.revoked_s is not None:
                    found[entry.serial] = entry
        return [*found.values()]

    def warnings(self, now_s: float) -> list[str]:
        """Return sentences on answers that a verifier does not accept now, or not for long."""
        found = []
        for answer in self.answers:
            ends = datetime.fromtimestamp(answer.ends_s, UTC)
            if now_s < answer.starts_s:
                starts = datetime.fromtimestamp(answer.starts_s, UTC)
                found.append(f"{answer.where}: it begins at {starts:%F %T} UTC: check the clock")
            elif now_s >= answer.ends_s:
                found.append(f"{answer.where}: it has ended at {ends:%F %T} UTC: bring a newer one")
            elif answer.ends_s - now_s < _SOON_S:
                found.append(f"{answer.where}: it ends at {ends:%F %T} UTC: bring a newer one")
        return found + [
            f"{entry.subject}: its issuer has revoked it, so verifiers refuse it"
            for entry in self.entries()
            if entry.revoked_s is not None
        ]


def read_external_revocation(
    lists: Sequence[Path],
    responses: Sequence[Path],
    certificates: Sequence[x509.Certificate],
    own: Iterable[x509.Certificate],
) -> ExternalRevocation:
    """Read the files of both settings.

    Args:
        lists: files of lists, PEM or DER.
        responses: files of OCSP responses, DER.
        certificates: the published CA certificates.
        own: the issuers that sign here; what they say is not brought.

    Raises:
        ConfigError: a file cannot be read or is damaged; no present issuer has signed it, or one
            that signs here; two files say the same.
    """
    here = {list_name(one) for one in own}
    for setting, paths in ((CRL, lists), (OCSP, responses)):
        if len(paths) > MAX_FILES:
            raise ConfigError(setting, f"{len(paths)} files", f"at most {MAX_FILES}")
    answers: list[ExternalAnswer] = []
    by_list: dict[str, SignedList] = {}
    by_id: dict[CertId, bytes] = {}
    for path in lists:
        answer = _read_list(path, certificates, here)
        signed = SignedList(answer.octets, (), answer.starts_s, answer.ends_s, answer.ends_s)
        if by_list.keys() & {*answer.names}:
            raise _twice(answer, "a list of this issuer")
        by_list |= dict.fromkeys(answer.names, signed)
        answers.append(answer)
    for path in responses:
        answer = _read_response(path, certificates, here)
        assert answer.cert_id is not None
        if answer.cert_id in by_id:
            raise _twice(answer, "a response about this certificate")
        by_id[answer.cert_id] = answer.octets
        answers.append(answer)
    return ExternalRevocation(tuple(answers), by_list, by_id)


def lacks_of(
    certificates: Sequence[x509.Certificate],
    own: Iterable[x509.Certificate],
    external: ExternalRevocation,
    public_url: str,
) -> list[str]:
    """Return sentences on what verifiers cannot learn about CA certificates of other issuers."""
    here = {list_name(one) for one in own}
    ids = {(one.name_hash, one.serial) for one in external.responses}
    lacks = []
    for certificate in certificates:
        issuer = _issuer_of(certificate, certificates)
        if is_root(certificate) or (issuer and list_name(issuer) in here):
            continue
        name, by = certificate.subject.rfc4514_string(), certificate.issuer.rfc4514_string()
        if issuer is None:
            lacks.append(f"{name}: the certificate of its issuer, {by}, is not in the chain")
            continue
        addresses = addresses_in(certificate)
        if file_of(list_name(issuer), None) not in external.lists:
            lacks.append(f"{name}: there is no list of {by}; bring one by --attest-crl")
        elif not any(_is_below(url, public_url, CRL_PATH) for url in addresses.crls):
            seen = ", ".join(addresses.crls) or "none"
            lacks.append(f"{name}: it names no list of {public_url}{CRL_PATH}/ (it names {seen})")
        asked = {(one.name_hash, one.serial) for one in cert_ids(issuer, certificate.serial_number)}
        if not asked & ids:
            lacks.append(f"{name}: there is no OCSP response about it; bring one by --attest-ocsp")
        elif not _is_below(addresses.ocsp, public_url, OCSP_PATH):
            seen = addresses.ocsp or "none"
            lacks.append(f"{name}: it names no responder {public_url}{OCSP_PATH} (it names {seen})")
    return lacks


def _read_list(
    path: Path, certificates: Sequence[x509.Certificate], here: set[str]
) -> ExternalAnswer:
    where, octets = f"{CRL}: {path}", _read(CRL, path)
    try:
        is_pem = octets.lstrip().startswith(b"-----BEGIN")
        crl = (x509.load_pem_x509_crl if is_pem else x509.load_der_x509_crl)(octets)
        ends = crl.next_update_utc
        revoked = {f"{one.serial_number:X}": one for one in crl}
        for _ in crl.extensions:  # A damaged one is an error here, not at a verifier.
            pass
    except (ValueError, x509.DuplicateExtension, x509.InvalidVersion) as error:
        raise _damaged(CRL, where, error) from None
    by = crl.issuer.rfc4514_string()
    if ends is None:
        raise ConfigError(where, "a list without nextUpdate", "a list that has an end")
    issuers = [one for one in certificates if one.subject == crl.issuer]
    signer = next((one for one in issuers if _signed_list(crl, one)), None)
    if signer is None:
        raise _stranger(where, by, certificates, is_name_known=bool(issuers))
    if not can_sign_lists(signer):
        seen = f"a list of {by}, whose keyUsage lacks cRLSign"
        raise ConfigError(where, seen, "a list that verifiers accept")
    _check_elsewhere(where, signer, here)
    below = [one for one in certificates if one.issuer == signer.subject and not is_root(one)]
    return ExternalAnswer(
        where=where,
        octets=crl.public_bytes(Encoding.DER),
        starts_s=crl.last_update_utc.timestamp(),
        ends_s=ends.timestamp(),
        entries=tuple(_listed(one, signer, revoked) for one in below),
        names=tuple(dict.fromkeys((file_of(list_name(signer), None), *_names_in(below)))),
    )


def _read_response(
    path: Path, certificates: Sequence[x509.Certificate], here: set[str]
) -> ExternalAnswer:
    where, octets = f"{OCSP}: {path}", _read(OCSP, path)
    try:
        response = ocsp.load_der_ocsp_response(octets)
        status = response.response_status
        if status != ocsp.OCSPResponseStatus.SUCCESSFUL:
            seen = f"the unsigned error {status.name.lower()}"
            raise ConfigError(where, seen, "a response that says good or revoked")
        serial, digest = response.serial_number, response.hash_algorithm.name
        starts = response_time(response, "this_update")
        ends = response_time(response, "next_update")
        revoked_at = response_time(response, "revocation_time")
        name_hash, key_hash = response.issuer_name_hash, response.issuer_key_hash
    except (ValueError, TypeError) as error:
        raise _damaged(OCSP, where, error) from None
    if starts is None or ends is None:
        raise ConfigError(where, "a response without nextUpdate", "a response that has an end")
    for certificate in certificates:
        issuer = _issuer_of(certificate, certificates)
        if issuer is None or certificate.serial_number != serial or is_root(certificate):
            continue
        for cert_id in cert_ids(issuer, serial):
            if (cert_id.name_hash, cert_id.key_hash) != (name_hash, key_hash):
                continue
            if not is_signed_by_responder(response, issuer):
                by = issuer.subject.rfc4514_string()
                seen = f"a response that neither {by} nor a responder of it has signed"
                raise ConfigError(where, seen, "a response of the issuer")
            _check_elsewhere(where, issuer, here)
            reason = response.revocation_reason
            entry = _entry(certificate, issuer, revoked_at, reason.value if reason else "")
            times = starts.timestamp(), ends.timestamp()
            return ExternalAnswer(where, octets, *times, (entry,), (), cert_id)
    names = "; ".join(one.subject.rfc4514_string() for one in certificates if not is_root(one))
    seen = f"a response about the serial number {serial:X} by {digest}"
    raise ConfigError(where, seen, f"one about a certificate of the chain: {names}")


def _signed_list(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    key = issuer.public_key()
    return isinstance(key, RSAPublicKey) and crl.is_signature_valid(key)


def _listed(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    revoked: Mapping[str, x509.RevokedCertificate],
) -> RegisterEntry:
    found = revoked.get(f"{certificate.serial_number:X}")
    if found is None:
        return _entry(certificate, issuer, None)
    reason = next((one.value for one in found.extensions if one.oid == x509.CRLReason.oid), None)
    text = reason.reason.value if isinstance(reason, x509.CRLReason) else ""
    return _entry(certificate, issuer, found.revocation_date_utc, text)


def _entry(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    revoked: datetime | None,
    reason: str = "",
) -> RegisterEntry:
    return RegisterEntry(
        serial=serial_of(certificate),
        issuer=list_name(issuer),
        subject=certificate.subject.rfc4514_string(),
        ends_s=certificate.not_valid_after_utc.timestamp(),
        is_leaf=False,
        revoked_s=revoked.timestamp() if revoked else None,
        reason="" if reason == "unspecified" else reason,
    )


def _names_in(certificates: Iterable[x509.Certificate]) -> list[str]:
    """Return the names of lists below the path of lists, as certificates have them."""
    urls = [url for one in certificates for url in addresses_in(one).crls]
    parts = [urlsplit(url).path.partition(f"{CRL_PATH}/") for url in urls]
    return [name for _, separator, name in parts if separator and name]


def _issuer_of(
    certificate: x509.Certificate, certificates: Iterable[x509.Certificate]
) -> x509.Certificate | None:
    return next((one for one in certificates if one.subject == certificate.issuer), None)


def _is_below(url: str, public_url: str, path: str) -> bool:
    return bool(public_url) and url.startswith(public_url) and path in url


def _check_elsewhere(where: str, issuer: x509.Certificate, here: set[str]) -> None:
    if list_name(issuer) in here:
        seen = f"an answer of {issuer.subject.rfc4514_string()}, whose key is here"
        expected = "one of an issuer whose key is elsewhere"
        raise ConfigError(where, seen, expected, "Leave the file out: this server signs it itself")


def _stranger(
    where: str, by: str, certificates: Sequence[x509.Certificate], *, is_name_known: bool
) -> ConfigError:
    if is_name_known:
        seen = f"a list in the name of {by} that another key has signed"
        return ConfigError(where, seen, "the signature of that issuer", "Fetch the file again")
    names = "; ".join(one.subject.rfc4514_string() for one in certificates)
    return ConfigError(where, f"a list of {by}", f"one of an issuer in the chain: {names}")


def _twice(answer: ExternalAnswer, seen: str) -> ConfigError:
    return ConfigError(answer.where, f"{seen} in an earlier file, too", "one of each")


def _damaged(setting: str, where: str, error: Exception) -> ConfigError:
    return ConfigError(where, plain_reason(error) or "a damaged file", _TEXTS[setting])


def _read(setting: str, path: Path) -> bytes:
    where = f"{setting}: {path}"
    try:
        if path.exists() and not path.is_file():  # A FIFO would keep the start waiting.
            raise ConfigError(where, "no regular file", _TEXTS[setting])
        with path.open("rb") as file:
            octets = file.read(MAX_OCTETS + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(where, reason, "a file that can be read") from None
    if len(octets) > MAX_OCTETS:
        raise ConfigError(where, f"more than {MAX_OCTETS} octets", f"at most {MAX_OCTETS}")
    return octets
