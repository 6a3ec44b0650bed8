"""Certificate revocation lists of the CA certificates behind attested documents (RFC 5280, 5).

Lists are signed ahead and served as bytes. An end certificate is in a partition of its issuer's
list: each leaf has an address of its own, so that a verifier that keeps a list until its end still
sees a new leaf's. Partition 0 is for leaves that are made for one document alone.

The folder `lists` of the CA holds the lists of CA certificates, and those of a replaced issuer,
whose key is gone: they are served until their end, also after a restart.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Struct

from openimds.credentials.keys.files import KeyFileError, read_file, write_file
from openimds.credentials.pki.certificate_info import list_name
from openimds.credentials.pki.certificates import Issuer
from openimds.credentials.pki.extensions import authority_key_identifier
from openimds.credentials.pki.revocation_register import RegisterEntry
from openimds.facts.revocation import (
    BACKDATED_S,
    CA_CRL_LIFE_S,
    CA_CRL_SIGNED_S,
    LEAF_CRL_LIFE_S,
    LEAF_CRL_SIGNED_S,
)

FOLDER = "lists"
MAX_LISTS = 4096
"""The most served lists, those of replaced issuers among them; the oldest leave first."""


class ListSigner(Struct, frozen=True):
    """An issuer of certificates, and the addresses of its lists.

    `partitions` has the addresses of the list of each partition, for an issuer of leaves; it is
    None for an issuer of CA certificates, which has one list.
    """

    issuer: Issuer
    partitions: Mapping[int, tuple[str, ...]] | None = None


class SignedList(Struct, frozen=True):
    """A signed list in DER, its revoked entries, and its times in seconds since 1970."""

    octets: bytes
    revoked: tuple[RegisterEntry, ...]
    signed_s: float
    due_s: float
    ends_s: float

    def is_current(self, revoked: tuple[RegisterEntry, ...], now_s: float) -> bool:
        """Tell whether the list need not be signed again yet."""
        return self.revoked == revoked and self.signed_s <= now_s < self.due_s


class RevocationLists:
    """The signed lists by name; `get` may be called without a lock."""

    def __init__(self, folder: Path | None, now_s: float) -> None:
        """Read the lists of an earlier process; drop unreadable and ended ones."""
        self._folder = folder / FOLDER if folder else None
        self._lists = _stored(self._folder, now_s) if self._folder else {}

    def get(self, name: str) -> bytes | None:
        """Return a list in DER by its name, as in the path of its address."""
        signed = self._lists.get(name)
        return signed.octets if signed else None

    def all(self) -> Mapping[str, SignedList]:
        """Return the lists by name, the oldest first."""
        return self._lists

    def refresh(
        self, signers: Iterable[ListSigner], entries: Iterable[RegisterEntry], now_s: float
    ) -> None:
        """Sign the lists that are due or changed; keep other issuers' until their end."""
        revoked: dict[str, list[RegisterEntry]] = {}
        for entry in entries:
            if entry.revoked_s is not None:
                name = file_of(entry.issuer, entry.partition if entry.is_leaf else None)
                revoked.setdefault(name, []).append(entry)
        lists = {name: one for name, one in self._lists.items() if now_s < one.ends_s}
        for signer in signers:
            base = list_name(signer.issuer.certificate)
            for partition, urls in _partitions(signer):
                name = file_of(base, partition)
                listed = tuple(revoked.get(name, ()))
                known = lists.pop(name, None)
                if known is None or not known.is_current(listed, now_s):
                    known = _sign(signer.issuer, listed, urls, now_s, is_of_cas=partition is None)
                    if partition is None:
                        self._store(name, known)
                lists[name] = known
        while len(lists) > MAX_LISTS:
            del lists[next(iter(lists))]
        self._lists = lists

    def retire(self, issuer: x509.Certificate) -> None:
        """Store the lists of an issuer whose key will be gone."""
        prefix = file_of(list_name(issuer), 0).partition("_")[0]
        for name, signed in self._lists.items():
            if name.startswith(f"{prefix}_"):
                self._store(name, signed)

    def _store(self, name: str, signed: SignedList) -> None:
        if self._folder:
            with suppress(KeyFileError):  # It is served all the same, until a restart.
                write_file(self._folder / name, signed.octets)


def file_of(base: str, partition: int | None) -> str:
    """Return the name of a list below its folder, without regard to the host."""
    return f"{base}.crl" if partition is None else f"partition/{base}_Partition{partition:05}.crl"


def _partitions(signer: ListSigner) -> Iterable[tuple[int | None, tuple[str, ...]]]:
    """Return the partitions of a signer with their addresses; None is the whole list."""
    return [(None, ())] if signer.partitions is None else signer.partitions.items()


def _sign(
    issuer: Issuer,
    revoked: tuple[RegisterEntry, ...],
    urls: tuple[str, ...],
    now_s: float,
    *,
    is_of_cas: bool,
) -> SignedList:
    every_s, life_s = (
        (CA_CRL_SIGNED_S, CA_CRL_LIFE_S) if is_of_cas else (LEAF_CRL_SIGNED_S, LEAF_CRL_LIFE_S)
    )
    signed_s = now_s - BACKDATED_S
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(_moment(signed_s))
        .next_update(_moment(signed_s + life_s))
        .add_extension(authority_key_identifier(issuer.certificate), critical=False)
        .add_extension(x509.CRLNumber(max(0, int(now_s * 1000))), critical=False)
    )
    if urls:  # A partition says so: otherwise it would vouch for every certificate of the issuer.
        points = [*map(x509.UniformResourceIdentifier, urls)]
        builder = builder.add_extension(
            x509.IssuingDistributionPoint(
                full_name=points,
                relative_name=None,
                only_contains_user_certs=False,
                only_contains_ca_certs=False,
                only_some_reasons=None,
                indirect_crl=False,
                only_contains_attribute_certs=False,
            ),
            critical=True,
        )
    for entry in revoked:
        builder = builder.add_revoked_certificate(_revoked(entry))
    octets = issuer.sign_list(builder).public_bytes(Encoding.DER)
    return SignedList(octets, revoked, signed_s, now_s + every_s, signed_s + life_s)


def _revoked(entry: RegisterEntry) -> x509.RevokedCertificate:
    assert entry.revoked_s is not None
    builder = (
        x509.RevokedCertificateBuilder()
        .serial_number(int(entry.serial, 16))
        .revocation_date(_moment(entry.revoked_s))
    )
    if entry.reason:
        reason = x509.CRLReason(x509.ReasonFlags(entry.reason))
        builder = builder.add_extension(reason, critical=False)
    return builder.build()


def _stored(folder: Path, now_s: float) -> dict[str, SignedList]:
    """Read stored lists; remove those that have ended."""
    lists: dict[str, SignedList] = {}
    for path in sorted(folder.rglob("*.crl"))[:MAX_LISTS]:
        try:
            octets, _ = read_file(path)
            crl = x509.load_der_x509_crl(octets)
            ends = crl.next_update_utc
        except (OSError, ValueError, KeyFileError):
            continue
        if ends is None or ends.timestamp() <= now_s:
            with suppress(OSError):
                path.unlink()
            continue
        # Due at once: its issuer, if the key is here, signs it anew.
        name = path.relative_to(folder).as_posix()
        signed_s = crl.last_update_utc.timestamp()
        lists[name] = SignedList(octets, (), signed_s, signed_s, ends.timestamp())
    return lists


def _moment(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC).replace(microsecond=0)
