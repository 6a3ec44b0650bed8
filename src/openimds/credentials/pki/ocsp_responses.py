"""The OCSP responses of one authority, signed ahead by a delegated responder of each issuer."""

from collections.abc import Iterable, Mapping

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from msgspec import Struct

from openimds.credentials.keys.files import MakeKey
from openimds.credentials.pki.certificate_info import list_name
from openimds.credentials.pki.certificates import Issuer, responder_certificate
from openimds.credentials.pki.der import DerError
from openimds.credentials.pki.ocsp import (
    MALFORMED,
    UNAUTHORIZED,
    CertId,
    Responder,
    cert_ids,
    read_request,
    sign_response,
)
from openimds.credentials.pki.revocation_register import RegisterEntry
from openimds.facts.revocation import BACKDATED_S, OCSP_LIFE_S, OCSP_SIGNED_S

MAX_RESPONSES = 4096
"""The most responses, two for each certificate; the oldest leave first."""


class SignedResponse(Struct, frozen=True):
    """A response in DER, its certificate, and its times in seconds since 1970."""

    octets: bytes
    entry: RegisterEntry
    signed_s: float
    due_s: float
    ends_s: float


class OcspResponses:
    """The responses by CertID. `get` may be called from any thread, `refresh` under a lock."""

    def __init__(self, make_key: MakeKey) -> None:
        """Begin without responses; `make_key` returns the key of the responders."""
        self._make_key = make_key
        self._responses: dict[CertId, SignedResponse] = {}
        self._key: RSAPrivateKey | None = None
        self._responders: dict[str, Responder] = {}
        self.external: Mapping[CertId, bytes] = {}
        """Responses of issuers whose keys are elsewhere."""

    def get(self, request: bytes) -> bytes:
        """Return the response to a request in DER; the unsigned errors of RFC 6960 otherwise."""
        try:
            cert_id = read_request(request)
        except DerError:
            return MALFORMED
        if cert_id is None:
            return UNAUTHORIZED
        found = self._responses.get(cert_id)
        return found.octets if found else self.external.get(cert_id, UNAUTHORIZED)

    def refresh(self, certificates: Iterable[tuple[Issuer, RegisterEntry]], now_s: float) -> None:
        """Sign the responses that are due or changed; keep the others until their end."""
        responses = {key: one for key, one in self._responses.items() if now_s < one.ends_s}
        asked: dict[CertId, SignedResponse] = {}
        for issuer, entry in certificates:
            for cert_id in cert_ids(issuer.certificate, int(entry.serial, 16)):
                known = responses.get(cert_id)
                is_current = known and known.entry == entry
                if not (known and is_current and known.signed_s <= now_s < known.due_s):
                    known = self._sign(issuer, cert_id, entry, now_s)
                asked[cert_id] = known
        merged = {key: one for key, one in responses.items() if key not in asked} | asked
        while len(merged) > MAX_RESPONSES:
            del merged[next(iter(merged))]
        self._responses = merged
        names = {one.entry.issuer for one in asked.values()}
        self._responders = {name: one for name, one in self._responders.items() if name in names}

    def _sign(
        self, issuer: Issuer, cert_id: CertId, entry: RegisterEntry, now_s: float
    ) -> SignedResponse:
        signed_s = now_s - BACKDATED_S
        ends_s = signed_s + OCSP_LIFE_S
        octets = sign_response(self.responder(issuer), cert_id, entry, signed_s, ends_s)
        return SignedResponse(octets, entry, signed_s, now_s + OCSP_SIGNED_S, ends_s)

    def responder(self, issuer: Issuer) -> Responder:
        """Return the delegated responder of an issuer; call it under a lock."""
        name = list_name(issuer.certificate)
        if name not in self._responders:
            self._key = self._key or self._make_key()
            certificate = responder_certificate(self._key.public_key(), issuer)
            self._responders[name] = Responder(certificate, self._key)
        return self._responders[name]
