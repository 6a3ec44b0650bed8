"""The revocation of one authority's certificates: the register, and the answers signed from it."""

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Struct

from openimds.credentials.keys.files import KeyFileError, MakeKey, new_key
from openimds.credentials.pki.certificate_info import common_name, list_name
from openimds.credentials.pki.certificates import Issuer
from openimds.credentials.pki.external_revocation import ExternalRevocation
from openimds.credentials.pki.host_leaf_register import HostLeafRegister, LeafValues
from openimds.credentials.pki.ocsp import Responder
from openimds.credentials.pki.ocsp_responses import OcspResponses
from openimds.credentials.pki.revocation_lists import (
    ListSigner,
    RevocationLists,
    SignedList,
    file_of,
)
from openimds.credentials.pki.revocation_register import (
    RegisterEntry,
    RevocationRegister,
    host_partition,
    serial_of,
)

FORGET_PAUSE_S = 3600.0
"""The time without another try to forget ended leaves of hosts after one that failed."""


class CertificateStatus(Struct, frozen=True, rename="camel"):
    """The standing of a certificate; times are of RFC 3339.

    `revoked_at` None is a good standing. `issuer` is the name of the issuer's list. One that is
    `in_use` signs documents, or stands above a leaf that does. `host` has the key of a leaf; empty
    is this server.
    """

    serial: str
    subject: str
    issuer: str
    is_leaf: bool
    in_use: bool
    not_after: str
    revoked_at: str | None = None
    reason: str = ""
    host: str = ""


class ListStatus(Struct, frozen=True, rename="camel"):
    """A served list: name, times of RFC 3339, number of its entries, and PEM."""

    name: str
    this_update: str
    next_update: str
    revoked: int
    pem: str


class RevocationStatus(Struct, frozen=True):
    """The certificates that can be revoked, the served lists, and what cannot be had."""

    certificates: list[CertificateStatus]
    lists: list[ListStatus]
    lacks: list[str]


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
    """Register, lists and responses; `served_list` and `response` may be called without a lock."""

    def __init__(
        self,
        folder: Path | None,
        now_s: float,
        make_key: MakeKey = new_key,
        host_leaves: LeafValues | None = None,
    ) -> None:
        """Read the registers and the lists of a folder; sign nothing yet.

        `make_key` returns the key of the OCSP responders, `host_leaves` has the leaves of hosts.

        Raises:
            KeyFileError: a register cannot be read.
        """
        self._register = RevocationRegister(folder)
        self._hosts = HostLeafRegister(host_leaves)
        self._hosts.adopt(self._register.of_hosts)
        if host_leaves is not None:
            self._register.drop_leaves_of_hosts()
        self._lists = RevocationLists(folder, now_s)
        self._responses = OcspResponses(make_key)
        self._external = ExternalRevocation()
        self._unforgotten_s = float("-inf")
        self.is_open = False
        """Whether the lists were signed; they are not before a verifier asks for one."""

    @property
    def external(self) -> ExternalRevocation:
        """The answers of issuers whose keys are elsewhere."""
        return self._external

    def bring(self, external: ExternalRevocation) -> None:
        """Serve the answers of other issuers beside those that are signed here."""
        self._external = external
        self._responses.external = external.responses

    def close(self) -> None:
        """Let the next question sign what is missing."""
        self.is_open = False

    def next_partition(self) -> int:
        """Return a partition that no leaf has had lately."""
        return self._register.next_partition()

    def note(
        self, leaf: x509.Certificate, issuer: x509.Certificate, partition: int, now_s: float
    ) -> None:
        """Remember an issued leaf, and its partition."""
        self._register.note(_entry(leaf, issuer, partition), now_s)

    def note_of_host(
        self,
        host: str,
        leaves: Iterable[tuple[x509.Certificate, x509.Certificate]],
        now_s: float,
    ) -> bool:
        """Remember leaves whose key is on a host, each with its issuer.

        Returns whether a list is missing that `refresh` has to sign.

        Raises:
            FullRegisterError: there is no room for them.
            KeyFileError: they cannot be stored; nothing is remembered.
        """
        partition = host_partition(host)
        entries = [_entry(leaf, issuer, partition, host) for leaf, issuer in leaves]
        self._hosts.note(host, entries, now_s)
        names = {file_of(entry.issuer, partition) for entry in entries}
        return any(self._lists.get(name) is None for name in names)

    def served_list(self, name: str) -> bytes | None:
        """Return a list in DER by its name."""
        brought = self._external.lists.get(name)
        return brought.octets if brought else self._lists.get(name)

    def response(self, request: bytes) -> bytes:
        """Return the response to an OCSP request; see `OcspResponses.get`."""
        return self._responses.get(request)

    def host_response(self, request: bytes, now_s: float) -> bytes:
        """Return the response to a request about a leaf of a host, signed on demand."""
        return self._responses.of_host(request, self._hosts.get, now_s)

    def refresh_if_open(self, issuers: Callable[[], ListIssuers], now_s: float) -> None:
        """Sign the lists that are due, if they were signed before."""
        if self.is_open:
            self.refresh(issuers(), now_s)

    def refresh(self, issuers: ListIssuers, now_s: float) -> None:
        """Sign the lists and responses that are due or missing."""
        self._forget_ended(now_s)
        own, of_hosts = self._register.entries(), self._hosts.entries()
        entries = [*own, *of_hosts]
        signers = [ListSigner(issuer) for issuer in issuers.of_cas]
        for issuer in issuers.lists_of_leaves:
            name = list_name(issuer.certificate)
            live = (entry.partition for entry in entries if entry.issuer == name and entry.is_leaf)
            partitions = dict.fromkeys((0, *live))
            urls = {partition: issuers.addresses(issuer, partition) for partition in partitions}
            signers.append(ListSigner(issuer, urls))
        self._lists.refresh(signers, entries, now_s)
        # Leaves of hosts are many: a response about one is signed when it is asked for. Its
        # responder is made ahead, while the issuer's key is here.
        names = {entry.issuer for entry in of_hosts}
        for issuer in issuers.of_leaves:
            if list_name(issuer.certificate) in names:
                self._responses.responder(issuer)
        self._responses.refresh(self._questions(issuers, own), now_s)
        self.is_open = True

    def _forget_ended(self, now_s: float) -> None:
        """Forget the ended leaves of hosts; after a failure, try again after a pause."""
        if 0 <= now_s - self._unforgotten_s < FORGET_PAUSE_S:
            return
        try:
            self._hosts.forget_ended(now_s)
        except KeyFileError:  # They count as leaves of hosts no longer; see `leaves_of_hosts`.
            self._unforgotten_s = now_s

    def responder(self, issuer: Issuer) -> Responder:
        """Return the delegated OCSP responder of an issuer."""
        return self._responses.responder(issuer)

    def questions(self, issuers: ListIssuers) -> list[tuple[Issuer, RegisterEntry]]:
        """Return the certificates that can be asked about, each with its issuer."""
        entries = [*self._register.entries(), *self._hosts.entries()]
        return [*self._questions(issuers, entries)]

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
        yield from self._of_cas(issuers)

    def ca_entries(self, issuers: ListIssuers) -> list[RegisterEntry]:
        """Return the entries of the CA certificates below these issuers."""
        return [entry for _, entry in self._of_cas(issuers)]

    def _of_cas(self, issuers: ListIssuers) -> Iterator[tuple[Issuer, RegisterEntry]]:
        for issuer in issuers.of_cas:
            for certificate in issuers.certificates:
                is_root = certificate.subject == certificate.issuer
                if not is_root and certificate.issuer == issuer.certificate.subject:
                    yield issuer, self._ca_entry(certificate, issuer.certificate)

    def _ca_entry(self, ca: x509.Certificate, issuer: x509.Certificate) -> RegisterEntry:
        """Return the entry of a CA certificate; the register has revoked ones."""
        return self._register.get(serial_of(ca)) or RegisterEntry(
            serial=serial_of(ca),
            issuer=list_name(issuer),
            subject=common_name(ca),
            ends_s=ca.not_valid_after_utc.timestamp(),
            is_leaf=False,
        )

    def find(self, serial: str) -> RegisterEntry | None:
        """Return the entry of a remembered certificate."""
        return self._register.get(serial) or self._hosts.get(serial)

    def good_leaves(self, issuer: x509.Certificate) -> list[str]:
        """Return the serial numbers of an issuer's leaves in good standing."""
        name = list_name(issuer)
        entries = self._register.entries()
        return [
            entry.serial
            for entry in entries
            if entry.is_leaf and entry.issuer == name and entry.revoked_s is None
        ]

    @property
    def host_keys_from_s(self) -> int:
        """The time before which the leaf keys of hosts are retired, in seconds since 1970."""
        return self._register.host_keys_from_s

    def retire_host_keys(self, now_s: float) -> None:
        """Have hosts replace the keys of leaves that were issued before this time.

        Raises:
            KeyFileError: the register cannot be written; the keys stay.
        """
        self._register.retire_host_keys(now_s)

    def leaves_of_hosts(self, now_s: float, host: str = "") -> list[RegisterEntry]:
        """Return the valid leaves in good standing of a host, or of all."""
        entries = self._hosts.of(host) if host else self._hosts.entries()
        return [entry for entry in entries if entry.revoked_s is None and now_s < entry.ends_s]

    def revoke(self, entries: Sequence[RegisterEntry], reason: str, now_s: float) -> None:
        """Remember that certificates are revoked; `refresh` signs what follows from it.

        Leaves of hosts are revoked together.

        Raises:
            KeyFileError: a register cannot be written; some may be revoked.
        """
        written = "" if reason == "unspecified" else reason
        of_hosts = [entry for entry in entries if entry.host]
        self._hosts.revoke(of_hosts, written, now_s)
        for entry in entries:
            if not entry.host:
                self._register.revoke(entry, written, now_s)

    def statuses(
        self, cas: Iterable[RegisterEntry], used: Container[str]
    ) -> list[CertificateStatus]:
        """Return the standing of CA certificates, then of leaves; `used` has serial numbers."""
        leaves = [entry for entry in self._register.entries() if entry.is_leaf]
        leaves += self._hosts.entries()
        return [_status(entry, is_used=entry.serial in used) for entry in (*cas, *leaves)]

    def list_statuses(self) -> list[ListStatus]:
        """Return the served lists, those of other issuers first, then the oldest first."""
        # One that was brought may have several names: that of its own is the first.
        brought = {id(one): (name, one) for name, one in [*self._external.lists.items()][::-1]}
        own = self._lists.all().items()
        return [_list_status(name, signed) for name, signed in (*brought.values(), *own)]

    def retire(self, issuer: x509.Certificate) -> None:
        """Store the lists of a replaced issuer, which no key can sign any longer."""
        self._lists.retire(issuer)


def _entry(
    leaf: x509.Certificate, issuer: x509.Certificate, partition: int, host: str = ""
) -> RegisterEntry:
    """Return the entry of a new leaf; `host` has its key."""
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return RegisterEntry(
        serial=serial_of(leaf),
        issuer=list_name(issuer),
        subject=names.get_values_for_type(x509.DNSName)[0],
        ends_s=leaf.not_valid_after_utc.timestamp(),
        partition=partition,
        host=host,
    )


def _status(entry: RegisterEntry, *, is_used: bool) -> CertificateStatus:
    return CertificateStatus(
        serial=entry.serial,
        subject=entry.subject,
        issuer=entry.issuer,
        is_leaf=entry.is_leaf,
        in_use=is_used,
        not_after=_time(entry.ends_s),
        revoked_at=None if entry.revoked_s is None else _time(entry.revoked_s),
        reason=entry.reason,
        host=entry.host,
    )


def _list_status(name: str, signed: SignedList) -> ListStatus:
    crl = x509.load_der_x509_crl(signed.octets)
    times = _time(signed.signed_s), _time(signed.ends_s)
    return ListStatus(name, *times, len(crl), crl.public_bytes(Encoding.PEM).decode())


def _time(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds")
