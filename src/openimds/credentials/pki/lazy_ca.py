"""The certificate authority of attested documents, opened by its first use."""

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from openimds.facts.attested import PkiBases
from openimds.facts.generations import NEWEST
from openimds.log.events import CERTIFICATE_REPLACED, CERTIFICATE_TROUBLE

if TYPE_CHECKING:
    from openimds.credentials.keys.files import MakeKey
    from openimds.credentials.pki.authority import CertificateAuthority
    from openimds.credentials.pki.certificate_info import CertificateInfo
    from openimds.credentials.pki.document_signer import DocumentSigner
    from openimds.credentials.pki.host_leaf_register import LeafValues
    from openimds.credentials.pki.revocation import RevocationStatus
    from openimds.protocol.generation_walk import GenerationWalk

CA = "ca"
"""The folder of the state directory that holds root and intermediate."""


class CaSettings(Struct, frozen=True):
    """The state folder and URL of a CA, and the files of an external CA.

    `make_key` is a source of new keys other than generating them, `generation` that of new
    certificates, `ca_bits` the size of new keys of CAs. `bases` are in certificates instead of the
    URL. `notify` takes a sentence on an automatic replacement; it is called in any thread.
    `lists` and `responses` are files that issuers elsewhere have signed ahead. `host_leaves` is the
    store of the leaves of hosts.
    """

    folder: Path | None = None
    public_url: str = ""
    issuer_certificates: Path | None = None
    issuer_key: Path | None = None
    make_key: "MakeKey | None" = None
    generation: str = NEWEST
    ca_bits: int = 2048
    bases: PkiBases | None = None
    notify: Callable[[str], None] | None = None
    lists: tuple[Path, ...] = ()
    responses: tuple[Path, ...] = ()
    host_leaves: "LeafValues | None" = None


class LazyCa:
    """Opens the certificate authority of a server on demand. Call it in threads."""

    def __init__(self, settings: CaSettings) -> None:
        """Open nothing yet."""
        self._settings = settings
        self._folder = settings.folder / CA if settings.folder else None
        self._authority: CertificateAuthority | None = None
        self._document_signer: DocumentSigner | None = None
        self._lock = threading.Lock()
        self.replaced: Counter[tuple[str, ...]] = Counter()
        """The automatic replacements, by part and cause."""

    @property
    def generation(self) -> int:
        """A number that grows with each replacement of a key or certificate that signs."""
        return self._authority.generation if self._authority else 0

    def check(self, now_s: float) -> None:
        """Open a stored or external CA now, so that its faults stop the start.

        Raises:
            KeyFileError: a key or certificate file cannot be used.
            ConfigError: the external CA, or an answer of another issuer, cannot be used.
        """
        settings = self._settings
        folder = self._folder
        if folder and not folder.is_dir() and (folder.is_symlink() or folder.exists()):
            from openimds.credentials.keys.files import KeyFileError  # noqa: PLC0415 - as in `authority`

            raise KeyFileError(
                f"{folder}: saw a file, expected the folder of root and intermediate. "
                f"Type mv {folder} {folder}.away: a new folder is made"
            )
        is_elsewhere = settings.issuer_key or settings.lists or settings.responses
        if is_elsewhere or (folder and folder.is_dir()):
            authority = self._open(now_s)
            if is_elsewhere and settings.notify:
                for sentence in authority.answers.notices(now_s):
                    settings.notify(CERTIFICATE_TROUBLE.message(sentence))

    def authority(self, now_s: float) -> "CertificateAuthority":
        """Return the certificate authority; the first call may make its keys.

        A rehearsal takes the steps that are due.

        Raises:
            KeyFileError: as `check`, or a missing file cannot be written.
        """
        authority = self._open(now_s)
        authority.advance(now_s)
        return authority

    def _open(self, now_s: float) -> "CertificateAuthority":
        # Imported here: a server that attests nothing does not load cryptography.
        from openimds.credentials.keys.files import lasting  # noqa: PLC0415 - see below
        from openimds.credentials.pki.authority import CertificateAuthority  # noqa: PLC0415 - see above
        from openimds.credentials.pki.external_ca import read_external_ca  # noqa: PLC0415 - see above

        settings = self._settings
        with self._lock:
            if self._authority is None:
                external_ca = None
                if settings.issuer_certificates and settings.issuer_key:
                    external_ca = read_external_ca(
                        settings.issuer_certificates, settings.issuer_key, now_s
                    )

                def opened(folder: Path | None) -> CertificateAuthority:
                    return CertificateAuthority.open(
                        folder,
                        now_s,
                        public_url=settings.public_url,
                        external_ca=external_ca,
                        make_key=settings.make_key,
                        generation=settings.generation,
                        ca_bits=settings.ca_bits,
                        bases=settings.bases,
                        host_leaves=settings.host_leaves,
                    )

                is_new = not (self._folder and any(self._folder.glob("*.pem")))
                report = settings.notify if is_new else None
                loss = "attested documents are signed by a CA in memory, and no longer verify"
                authority = lasting(opened, self._folder, report, loss)
                if settings.lists or settings.responses:
                    authority.answers.bring(settings.lists, settings.responses)
                authority.report = self.report
                self._authority = authority
            return self._authority

    def report(self, part: str, cause: str, sentence: str) -> None:
        """Count an automatic replacement, and print its sentence; "" counts nothing."""
        if part:
            self.replaced[part, cause] += 1
        if self._settings.notify:
            event = CERTIFICATE_REPLACED if part else CERTIFICATE_TROUBLE
            fields = {"part": part, "cause": cause} if part else {"cause": cause}
            self._settings.notify(event.message(sentence, **fields))

    def rehearse(self, walk: "GenerationWalk", now_s: float) -> None:
        """Begin a walk through generations.

        Raises:
            KeyFileError: as `rotate`, or the walk cannot be written.
        """
        self.authority(now_s).rehearse(walk, now_s)

    def end_rehearsal(self, now_s: float) -> None:
        """Stay at the present generation.

        Raises:
            KeyFileError: as `authority`, or the file of the walk cannot be removed.
        """
        self.authority(now_s).end_rehearsal()

    def walk(self, now_s: float) -> "GenerationWalk | None":
        """Return the rehearsal under way or completed, if there is one.

        Raises:
            KeyFileError: as `authority`.
        """
        return self.authority(now_s).walk

    def revocation_list(self, name: str, now_s: float) -> bytes | None:
        """Return a list of revoked certificates in DER by its name, or None.

        Raises:
            KeyFileError: as `authority`.
        """
        return self.authority(now_s).revocation_list(name, now_s)

    def revoke(self, target: str, reason: str, now_s: float) -> None:
        """Revoke leaves or a CA certificate, and replace them where they are in use.

        Raises:
            ConfigError: the target cannot be revoked.
            KeyFileError: as `authority`, or the root's key is absent.
        """
        self.authority(now_s).revoke(target, reason, now_s)

    def revocation_status(self, now_s: float) -> "RevocationStatus":
        """Return the standing of all certificates, and the served lists.

        Raises:
            KeyFileError: as `authority`.
        """
        return self.authority(now_s).revocation_status(now_s)

    def ocsp_response(self, request: bytes, now_s: float) -> bytes:
        """Return the response to an OCSP request.

        Raises:
            KeyFileError: as `authority`.
        """
        return self.authority(now_s).ocsp_response(request, now_s)

    def keep_up(self, now_s: float) -> None:
        """Renew certificates, take the steps and sign the lists that are due.

        An authority that nobody has used yet stays closed.

        Raises:
            KeyFileError: a renewal failed, and the certificate has expired.
        """
        if self._authority:
            self._authority.renew(now_s)
            self._authority.advance(now_s)
            self._authority.answers.refresh_due(now_s)

    def ends(self) -> dict[str, float]:
        """Return the end of each certificate in use, by its part, in seconds since 1970.

        An authority that nobody has used yet stays closed, and has none.
        """
        return self._authority.ends() if self._authority else {}

    def bundle(self, now_s: float) -> bytes:
        """Return the trust bundle as PEM.

        Raises:
            KeyFileError: as `authority`.
        """
        return self.authority(now_s).bundle()

    def root_pem(self, now_s: float) -> bytes:
        """Return the root as PEM.

        Raises:
            KeyFileError: as `authority`.
        """
        return self.authority(now_s).root_pem()

    def certificate_infos(self, now_s: float) -> "list[CertificateInfo]":
        """Return the public facts of the CA certificates.

        Raises:
            KeyFileError: as `authority`.
        """
        return self.authority(now_s).certificate_infos()

    def rotate(self, part: str, now_s: float, generation: str = "") -> None:
        """Replace the leaf key, the intermediate or the root; cached documents are dropped.

        A new intermediate is of the named generation, by default that of the settings.

        Raises:
            KeyFileError: the root's key is absent, or a file cannot be written.
        """
        from openimds.credentials.pki.authority import PARTS  # noqa: PLC0415 - as in `authority`

        self.authority(now_s).rotate(PARTS[part], now_s, generation)

    def document_signer(self, now_s: float) -> "DocumentSigner":
        """Return the signer of attested documents.

        Raises:
            KeyFileError: as `authority`.
        """
        from openimds.credentials.pki.document_signer import DocumentSigner  # noqa: PLC0415 - as in `authority`

        authority = self.authority(now_s)
        with self._lock:
            self._document_signer = self._document_signer or DocumentSigner(authority)
            return self._document_signer
