"""The leaves of a host's own key: in memory, and in its state folder.

The folder `attested` has `leaf.key` and `leaves.json`, so that a host signs documents after a
restart without control. A certificate counts with the key beside it alone: a replacement that was
interrupted between both files leaves no pair that does not fit.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Lock

import msgspec.json
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec import Struct

from openimds.credentials.keys.files import (
    MakeKey,
    UnwritableFileError,
    new_key,
    read_file,
    read_key,
    write_file,
    write_key,
)
from openimds.credentials.pki.certificates import LeafSubject
from openimds.credentials.pki.leaf_requests import HeldLeaf, LeafReply, LeafRequest
from openimds.credentials.pki.leaves import SigningLeaf
from openimds.errors import Error
from openimds.log.events import CREDENTIALS_TROUBLE

ATTESTED = "attested"
"""The folder of a host's state directory with its leaf key and leaves."""
KEY, LEAVES = "leaf.key", "leaves.json"
MOST_WANTED = 48
"""The most leaves that a host renews ahead, one for each region of its VMs."""
MOST_DEMANDED = 16
"""The most further leaves, which documents demand; the oldest goes."""
MAX_LEAVES = MOST_WANTED + MOST_DEMANDED
"""The most leaves of a host: so many control answers for (`MAX_PER_HOST`)."""
RENEWED_AT = 2 / 3
"""The part of a leaf's life after which its successor is asked for."""
_REMEDY = "remove it: a new key is made, which control certifies"


class LeafMissingError(Error):
    """There is no valid leaf for a document."""


class LeafReplyError(Error):
    """An answer of control that does not fit the request."""


class _StoredLeaf(Struct, frozen=True):
    """A leaf in the file: its subject, and its certificate (DER) in base64."""

    subject: LeafSubject
    certificate: str


class HostLeaves:
    """The key and leaves of one host. It may be used from several threads."""

    def __init__(
        self,
        folder: Path | None,
        make_key: MakeKey = new_key,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        """Read the leaves of a state folder; without one, they end with the process.

        So do leaves that cannot be written; `notify` takes a sentence on it, None makes it an
        error.

        Raises:
            KeyFileError: the key cannot be read, others may read it, or it is damaged.
        """
        self._folder = folder / ATTESTED if folder else None
        self._make_key, self._notify = make_key, notify
        self._lock = Lock()
        self._key: RSAPrivateKey | None = None
        self._next_key: RSAPrivateKey | None = None
        self._leaves: dict[LeafSubject, SigningLeaf] = {}
        self._wanted: tuple[LeafSubject, ...] = ()
        self._demanded: dict[LeafSubject, None] = {}
        self._demand_lock = Lock()
        self.generation = 0
        """Grows with each replacement of a leaf or the key."""
        if self._folder and (self._folder / KEY).exists():
            self._key = read_key(self._folder / KEY, _REMEDY)
            self._leaves = self._stored(self._folder / LEAVES, self._key)

    def want(self, subjects: Iterable[LeafSubject]) -> None:
        """Have leaves for these subjects, and renew no others."""
        self._wanted = tuple(dict.fromkeys(subjects))[:MOST_WANTED]

    def demand(self, subject: LeafSubject) -> None:
        """Have a leaf for one subject more in the next request."""
        # By a lock of its own: a thread holds the other while it makes a key or writes a file.
        with self._demand_lock:
            self._demanded[subject] = None
            if len(self._demanded) > MOST_DEMANDED:
                del self._demanded[next(iter(self._demanded))]

    def has(self, subject: LeafSubject, now_s: float) -> bool:
        """Tell whether there is a valid leaf for a subject."""
        leaf = self._leaves.get(subject)
        return leaf is not None and _is_valid(leaf.certificate, now_s)

    def lacks_wanted(self, now_s: float) -> bool:
        """Tell whether a wanted leaf is missing."""
        return any(not self.has(subject, now_s) for subject in self._wanted)

    def ends_s(self) -> float | None:
        """Return the first end of a wanted leaf in seconds since 1970; None without one."""
        found = [self._leaves[one] for one in self._wanted if one in self._leaves]
        ends = [leaf.certificate.not_valid_after_utc.timestamp() for leaf in found]
        return min(ends, default=None)

    def leaf(self, subject: LeafSubject, now_s: float) -> SigningLeaf:
        """Return the leaf for a subject.

        Raises:
            LeafMissingError: there is none that is valid.
        """
        leaf = self._leaves.get(subject)
        if leaf is None or not _is_valid(leaf.certificate, now_s):
            raise LeafMissingError(f"no valid leaf for {subject.names()[0]}: control is not there")
        return leaf

    def request(self, now_s: float) -> LeafRequest:
        """Return the request to control; the first makes the key. Call it in a thread."""
        with self._lock:
            key = self._next_key or self._key
            if key is None:
                key = self._next_key = self._make_key()
            with self._demand_lock:
                renewed = dict.fromkeys((*self._demanded, *self._wanted))
            held = []
            for subject in [*dict.fromkeys((*renewed, *self._leaves))][:MAX_LEAVES]:
                leaf = None if self._next_key else self._leaves.get(subject)
                is_due = leaf is None or _is_due(leaf.certificate, now_s)
                if subject in renewed or not is_due:
                    der = leaf.certificate.public_bytes(Encoding.DER) if leaf else b""
                    held.append(HeldLeaf(subject.domain, subject.region, subject.days, der, is_due))
            public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            return LeafRequest(public, tuple(held))

    def accept(self, request: LeafRequest, reply: LeafReply, now_s: float) -> bool:
        """Use control's answer to the last request; tell whether to ask once more.

        Call it in a thread. Former leaves that are neither renewed nor ended stay.

        Raises:
            LeafReplyError: the answer does not fit the request.
            KeyFileError: a file cannot be written, and there is nobody to notify.
        """
        with self._lock:
            if reply.wants_new_key:
                self._next_key = self._make_key()
                return True
            key = self._next_key or self._key
            assert key is not None  # `request` makes the first one.
            new = _new_leaves(key, request, reply)
            kept = {} if self._next_key else self._leaves
            leaves = {
                subject: leaf
                for subject, leaf in (kept | new).items()
                if now_s < leaf.certificate.not_valid_after_utc.timestamp()
            }
            others = [subject for subject in leaves if subject not in self._wanted]
            for subject in others[:-MOST_DEMANDED]:
                del leaves[subject]
            is_new_key = self._next_key is not None
            self._key, self._next_key, self._leaves = key, None, leaves
            with self._demand_lock:
                for one in request.leaves:
                    self._demanded.pop(LeafSubject(one.domain, one.region, one.days), None)
            if new:
                self.generation += 1
                self._write(key, is_new_key=is_new_key)
            return False

    def _write(self, key: RSAPrivateKey, *, is_new_key: bool) -> None:
        if self._folder is None:
            return
        stored = [
            _StoredLeaf(subject, b64encode(leaf.certificate.public_bytes(Encoding.DER)).decode())
            for subject, leaf in self._leaves.items()
        ]
        try:
            if is_new_key:
                write_key(self._folder / KEY, key)
            write_file(self._folder / LEAVES, msgspec.json.encode(stored))
        except UnwritableFileError as error:
            if self._notify is None:
                raise
            self._notify(
                CREDENTIALS_TROUBLE.message(
                    f"{error}: the leaves of attested documents are in memory, and after a restart "
                    "this host signs none without control. Free space on the disk"
                )
            )

    def _stored(self, path: Path, key: RSAPrivateKey) -> dict[LeafSubject, SigningLeaf]:
        """Read the certificates of a key; those that cannot be read are asked for anew."""
        try:
            rows = msgspec.json.decode(read_file(path)[0], type=list[_StoredLeaf])
            leaves = {
                row.subject: SigningLeaf(
                    x509.load_der_x509_certificate(b64decode(row.certificate)), key
                )
                for row in rows
            }
        except FileNotFoundError:
            return {}
        except (ValueError, msgspec.MsgspecError):
            if self._notify:
                self._notify(
                    CREDENTIALS_TROUBLE.message(f"{path}: damaged; control is asked for new leaves")
                )
            return {}
        public = key.public_key()
        return {
            subject: leaf
            for subject, leaf in leaves.items()
            if leaf.certificate.public_key() == public
        }


def _new_leaves(
    key: RSAPrivateKey, request: LeafRequest, reply: LeafReply
) -> dict[LeafSubject, SigningLeaf]:
    if len(reply.certificates) != len(request.leaves):
        raise LeafReplyError(
            f"control answered for {len(reply.certificates)} leaves, expected {len(request.leaves)}"
        )
    new: dict[LeafSubject, SigningLeaf] = {}
    for held, octets in zip(request.leaves, reply.certificates, strict=True):
        if not octets:
            continue
        try:
            certificate = x509.load_der_x509_certificate(octets)
        except ValueError:
            raise LeafReplyError("control sent a leaf that is no certificate") from None
        if certificate.public_key() != key.public_key():
            raise LeafReplyError("control sent a leaf of another key")
        new[LeafSubject(held.domain, held.region, held.days)] = SigningLeaf(certificate, key)
    return new


def _is_valid(certificate: x509.Certificate, now_s: float) -> bool:
    begins_s = certificate.not_valid_before_utc.timestamp()
    return begins_s <= now_s < certificate.not_valid_after_utc.timestamp()


def _is_due(certificate: x509.Certificate, now_s: float) -> bool:
    begins_s = certificate.not_valid_before_utc.timestamp()
    ends_s = certificate.not_valid_after_utc.timestamp()
    # A clock that was set back may be before its begin.
    return not begins_s <= now_s < begins_s + RENEWED_AT * (ends_s - begins_s)
