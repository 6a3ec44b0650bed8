"""The answers to verifiers of one authority: lists, OCSP responses, and sentences on their lack.

A list or a response is signed once a verifier has asked for the first one, and then ahead.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from cryptography import x509

from openimds.credentials.pki.certificate_info import can_sign_lists, common_name
from openimds.credentials.pki.certificates import Issuer
from openimds.credentials.pki.external_revocation import lacks_of, read_external_revocation
from openimds.credentials.pki.issuers import Issuers
from openimds.credentials.pki.ocsp import UNAUTHORIZED, Responder
from openimds.credentials.pki.renewal import ends_ahead
from openimds.credentials.pki.revocation import Revocation, RevocationStatus
from openimds.credentials.pki.revocation_register import RegisterEntry, serial_of


class RevocationAnswers:
    """The answers about certificates of an authority, for the issuers whose keys are here."""

    def __init__(self, issuers: Issuers, revocation: Revocation, *, is_external: bool) -> None:
        """Answer from a register; `is_external` where an operator's CA signs the leaves."""
        self._issuers, self._revocation, self._is_external = issuers, revocation, is_external
        self._lock = issuers.lock
        self._public_url = issuers.location.public_url

    def revocation_list(self, name: str, now_s: float) -> bytes | None:
        """Return a list in DER by its path below that of lists, or None.

        The first call signs the lists; `refresh` does when one is due.
        """
        found = self._revocation.served_list(name)
        if found is None and not self._revocation.is_open:
            self.refresh(now_s)
            found = self._revocation.served_list(name)
        return found

    def ocsp_response(self, request: bytes, now_s: float) -> bytes:
        """Return the response to an OCSP request, signed on demand for hosts' leaves.

        Anybody may ask. So it takes the authority's lock for what `refresh` has to sign alone.
        """
        if not self._revocation.is_open:
            self.refresh(now_s)
        found = self._revocation.response(request)
        return self._revocation.host_response(request, now_s) if found == UNAUTHORIZED else found

    def refresh(self, now_s: float) -> None:
        """Sign the lists and responses that are due; without a public URL there are none."""
        if self._public_url:
            with self._lock:
                self._revocation.refresh(self._issuers.list_issuers(), now_s)

    def refresh_due(self, now_s: float) -> None:
        """Sign the lists that are due, once a verifier has asked for one."""
        if self._revocation.is_open:
            self.refresh(now_s)

    def issuers(self) -> list[Issuer]:
        """Return the issuers whose keys are here (for rehearsed answers)."""
        with self._lock:
            found = self._issuers.list_issuers()
            return [*found.of_leaves, *found.of_cas]

    def questions(self) -> list[tuple[Issuer, RegisterEntry]]:
        """Return the certificates that OCSP knows, each with its issuer (for the same)."""
        with self._lock:
            return self._revocation.questions(self._issuers.list_issuers())

    def responder(self, issuer: Issuer) -> Responder:
        """Return the delegated OCSP responder of an issuer (for the same)."""
        with self._lock:
            return self._revocation.responder(issuer)

    def bring(self, lists: Sequence[Path], responses: Sequence[Path]) -> None:
        """Serve lists and OCSP responses that other issuers have signed ahead.

        Raises:
            ConfigError: a file does not fit; see `read_external_revocation`.
        """
        with self._lock:
            certificates, own = self._issuers.certificates(), self._own_issuers()
            external = read_external_revocation(lists, responses, certificates, own)
            self._revocation.bring(external)

    def ca_entries(self) -> dict[str, RegisterEntry]:
        """Return the entries of CA certificates below a present issuer, by serial number."""
        entries = self._revocation.ca_entries(self._issuers.list_issuers())
        return {entry.serial: entry for entry in entries}

    def notices(self, now_s: float) -> list[str]:
        """Return sentences on what verifiers cannot learn, or will not accept."""
        with self._lock:
            return self._lacks() + self._revocation.external.warnings(now_s)

    def status(self, leaves: Iterable[str], now_s: float) -> RevocationStatus:
        """Return the standing of all certificates, the served lists, and what is lacking.

        `leaves` are the serial numbers of those in use here; a host may use each of its own.
        """
        with self._lock:
            self.refresh(now_s)
            used = {serial_of(one) for one in self._issuers.in_use()} | {*leaves}
            used |= {entry.serial for entry in self._revocation.leaves_of_hosts(now_s)}
            cas = (*self.ca_entries().values(), *self._revocation.external.entries())
            statuses = self._revocation.statuses(cas, used)
            lists = self._revocation.list_statuses()
            lacks = self.notices(now_s) + ends_ahead(self._issuers.chain, now_s)
            return RevocationStatus(statuses, lists, lacks)

    def _own_issuers(self) -> list[x509.Certificate]:
        """Return the issuers of CA certificates whose keys are here."""
        return [one.certificate for one in self._issuers.list_issuers().of_cas]

    def _lacks(self) -> list[str]:
        if not self._public_url:
            return ["no public URL: certificates name neither lists nor a responder"]
        lacks, chain, external = [], self._issuers.chain, self._revocation.external
        if not can_sign_lists(chain.issuer.certificate):
            name = common_name(chain.issuer.certificate)
            lacks.append(f"{name} has no key usage for lists: leaves name a responder alone")
        is_rootless = chain.root is not None and chain.root_key_holder is None
        if is_rootless and not external.answers:
            lacks.append(
                "root.key is absent: the root's list is served until its end, its OCSP not"
            )
        elif self._is_external or is_rootless or chain.root is None:
            lacks += lacks_of(chain.lineage(), self._own_issuers(), external, self._public_url)
        return lacks
