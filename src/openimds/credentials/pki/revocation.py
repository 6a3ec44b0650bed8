"""The revocation of one authority's certificates: the register, and the answers signed from it."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from cryptography import x509
from msgspec import Struct

from openimds.credentials.keys.files import MakeKey, new_key
from openimds.credentials.pki.certificates import Issuer, common_name, list_name
from openimds.credentials.pki.ocsp_responses import OcspResponses
from openimds.credentials.pki.revocation_lists import ListSigner, RevocationLists
from openimds.credentials.pki.revocation_register import (
    RegisterEntry,
    RevocationRegister,
    serial_of,
)


class ListIssuers(Struct, frozen=True):
    """The issuers whose keys are here: those of leaves, and those of CA certificates.

    `lists_of_leaves` may sign lists, `of_leaves` responses; `certificates` are the published CA
    certificates. `addresses` returns the URLs of a partition of an issuer of leaves.
    """

    lists_of_leaves: list[Issuer]
    of_leaves: list[Issuer]
    of_cas: list[Issuer]
    certificates: list[x509.Certificate]
    addresses: Callable[[Issuer, int], tuple[str, ...]]


class Revocation:
    """Register, lists and responses; `list` and `response` may be called without a lock."""

    def __init__(self, folder: Path | None, now_s: float, make_key: MakeKey = new_key) -> None:
        """Read the register and the lists of a folder; sign nothing yet.

        `make_key` returns the key of the OCSP responders.

        Raises:
            KeyFileError: the register cannot be read.
        """
        self._register = RevocationRegister(folder)
        self._lists = RevocationLists(folder, now_s)
        self._responses = OcspResponses(make_key)
        self.is_open = False
        """Whether the lists were signed; they are not before a verifier asks for one."""

    def close(self) -> None:
        """Let the next question sign what is missing."""
        self.is_open = False

    def next_partition(self) -> int:
        """Return a partition that no leaf has had lately."""
        return self._register.next_partition()

    def note(
        self, leaf: x509.Certificate, issuer: x509.Certificate, partition: int, now_s: float
    ) -> None:
        """Remember an issued leaf and its partition."""
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        entry = RegisterEntry(
            serial=serial_of(leaf),
            issuer=list_name(issuer),
            subject=names.get_values_for_type(x509.DNSName)[0],
            ends_s=leaf.not_valid_after_utc.timestamp(),
            partition=partition,
        )
        self._register.note(entry, now_s)

    def list(self, name: str) -> bytes | None:
        """Return a list in DER by its name."""
        return self._lists.get(name)

    def response(self, request: bytes) -> bytes:
        """Return the response to an OCSP request; see `OcspResponses.get`."""
        return self._responses.get(request)

    def refresh_if_open(self, issuers: Callable[[], ListIssuers], now_s: float) -> None:
        """Sign the lists that are due, if they were signed before."""
        if self.is_open:
            self.refresh(issuers(), now_s)

    def refresh(self, issuers: ListIssuers, now_s: float) -> None:
        """Sign the lists and responses that are due or missing."""
        entries = self._register.entries()
        signers = [ListSigner(issuer) for issuer in issuers.of_cas]
        for issuer in issuers.lists_of_leaves:
            name = list_name(issuer.certificate)
            live = [entry.partition for entry in entries if entry.issuer == name and entry.is_leaf]
            urls = {partition: issuers.addresses(issuer, partition) for partition in (0, *live)}
            signers.append(ListSigner(issuer, urls))
        self._lists.refresh(signers, entries, now_s)
        self._responses.refresh(self._questions(issuers, entries), now_s)
        self.is_open = True

    def _questions(
        self, issuers: ListIssuers, entries: Iterable[RegisterEntry]
    ) -> Iterator[tuple[Issuer, RegisterEntry]]:
        """Yield the certificates that can be asked about, each with its issuer."""
        leaves: dict[str, list[RegisterEntry]] = {}
        for entry in entries:
            if entry.is_leaf:
                leaves.setdefault(entry.issuer, []).append(entry)
        for issuer in issuers.of_leaves:
            for entry in leaves.get(list_name(issuer.certificate), ()):
                yield issuer, entry
        for issuer in issuers.of_cas:
            for certificate in issuers.certificates:
                is_root = certificate.subject == certificate.issuer
                if not is_root and certificate.issuer == issuer.certificate.subject:
                    yield issuer, self.entry_of(certificate, issuer.certificate)

    def entry_of(self, ca: x509.Certificate, issuer: x509.Certificate) -> RegisterEntry:
        """Return the entry of a CA certificate; the register has revoked ones."""
        return self._register.get(serial_of(ca)) or RegisterEntry(
            serial=serial_of(ca),
            issuer=list_name(issuer),
            subject=common_name(ca),
            ends_s=ca.not_valid_after_utc.timestamp(),
            is_leaf=False,
        )

    def retire(self, issuer: x509.Certificate) -> None:
        """Store the lists of a replaced issuer, which no key can sign any longer."""
        self._lists.retire(issuer)
