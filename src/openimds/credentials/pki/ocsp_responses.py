"""The OCSP responses of one authority, signed ahead by a delegated responder of each issuer."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from threading import Lock

from cryptography import x509
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
from openimds.credentials.pki.revocation_register import RegisterEntry, hex_serial
from openimds.facts.revocation import BACKDATED_S, OCSP_LIFE_S, OCSP_SIGNED_S

MAX_RESPONSES = 8192
"""The most responses, two for each certificate; the oldest leave first."""


MAX_HOST_RESPONSES = 16_384
"""The most responses about leaves of hosts; the one not asked for longest goes."""
MAX_RESPONDERS = 64
"""The most responders, with those of replaced issuers; the oldest goes."""


class SignedResponse(Struct, frozen=True):
    """A response in DER, its certificate, and its times in seconds since 1970."""

    octets: bytes
    entry: RegisterEntry
    signed_s: float
    due_s: float
    ends_s: float


class OcspResponses:
    """The responses by CertID; `get` and `of_host` may be called from any thread.

    The others are called under a lock.
    """

    def __init__(self, make_key: MakeKey) -> None:
        """Begin without responses; `make_key` returns the key of the responders."""
        self._make_key = make_key
        self._responses: dict[CertId, SignedResponse] = {}
        self._key: RSAPrivateKey | None = None
        self._responders: dict[str, tuple[x509.Certificate, Responder]] = {}
        self._of_hosts: OrderedDict[CertId, SignedResponse] = OrderedDict()
        self._hosts_lock = Lock()
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
        while len(self._responders) > MAX_RESPONDERS:
            del self._responders[next(iter(self._responders))]

    def of_host(
        self, request: bytes, find: Callable[[str], RegisterEntry | None], now_s: float
    ) -> bytes:
        """Return the response about a leaf of a host, signed now if it is due.

        `find` returns the leaf of a serial number. The responder of a replaced issuer is kept until
        the process ends.
        """
        cert_id = read_request(request)
        entry = find(hex_serial(cert_id.serial)) if cert_id else None
        certificate, responder = self._responders.get(entry.issuer if entry else "", (None, None))
        if cert_id is None or entry is None or certificate is None or responder is None:
            return UNAUTHORIZED
        if cert_id not in cert_ids(certificate, cert_id.serial):
            return UNAUTHORIZED
        with self._hosts_lock:  # Held for one signature at most.
            known = self._of_hosts.pop(cert_id, None)
            if not (known and known.entry == entry and known.signed_s <= now_s < known.due_s):
                known = self._signed(responder, cert_id, entry, now_s)
            self._of_hosts[cert_id] = known
            if len(self._of_hosts) > MAX_HOST_RESPONSES:
                self._of_hosts.popitem(last=False)
            return known.octets

    def _sign(
        self, issuer: Issuer, cert_id: CertId, entry: RegisterEntry, now_s: float
    ) -> SignedResponse:
        return self._signed(self.responder(issuer), cert_id, entry, now_s)

    def _signed(
        self, responder: Responder, cert_id: CertId, entry: RegisterEntry, now_s: float
    ) -> SignedResponse:
        signed_s = now_s - BACKDATED_S
        ends_s = signed_s + OCSP_LIFE_S
        octets = sign_response(responder, cert_id, entry, signed_s, ends_s)
        return SignedResponse(octets, entry, signed_s, now_s + OCSP_SIGNED_S, ends_s)

    def responder(self, issuer: Issuer) -> Responder:
        """Return the delegated responder of an issuer; call it under a lock."""
        name = list_name(issuer.certificate)
        if name not in self._responders:
            self._key = self._key or self._make_key()
            certificate = responder_certificate(self._key.public_key(), issuer)
            self._responders[name] = issuer.certificate, Responder(certificate, self._key)
        return self._responders[name][1]
