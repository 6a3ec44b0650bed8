"""The certificates of attested documents, opened when the first one is needed."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from openimds.credentials.keys.files import MakeKey
    from openimds.credentials.pki.authority import CertificateAuthority
    from openimds.credentials.pki.certificates import CertificateInfo
    from openimds.credentials.pki.document_signer import DocumentSigner

CA = "ca"
"""The folder of the state directory that holds root and intermediate."""


class CaSettings(Struct, frozen=True):
    """Where certificates are kept and offered, and an operator's own issuer if there is one.

    `make_key` is where new keys come from, if they are not to be made.
    """

    folder: Path | None = None
    public_url: str = ""
    issuer_certificates: Path | None = None
    issuer_key: Path | None = None
    make_key: "MakeKey | None" = None


class LazyCa:
    """The authority of a server. All of it belongs into threads."""

    def __init__(self, issuing: CaSettings) -> None:
        """Open nothing yet."""
        self._issuing = issuing
        self._folder = issuing.folder / CA if issuing.folder else None
        self._authority: CertificateAuthority | None = None
        self._notary: DocumentSigner | None = None
        self._lock = threading.Lock()

    @property
    def generation(self) -> int:
        """A number that grows whenever what signs is replaced, by request or by itself."""
        return self._authority.generation if self._authority else 0

    def check(self, now_s: float) -> None:
        """Open what is kept, if there is anything.

        Raises:
            KeyFileError: a key or a certificate is not what it should be.
            ConfigError: the operator's own issuer cannot be used.
        """
        folder = self._folder
        if folder and not folder.is_dir() and (folder.is_symlink() or folder.exists()):
            from openimds.credentials.keys.files import KeyFileError  # noqa: PLC0415 - as in `authority`

            raise KeyFileError(
                f"{folder}: saw something that is no folder, expected the folder of root and "
                f"intermediate. Type mv {folder} {folder}.away: what is missing is made"
            )
        if self._issuing.issuer_key or (folder and folder.is_dir()):
            self.authority(now_s)

    def authority(self, now_s: float) -> "CertificateAuthority":
        """Return the authority; the first call may make its keys.

        Raises:
            KeyFileError: as `check`, or what is missing cannot be written.
        """
        # Imported here: a server that attests nothing starts without what certificates take.
        from openimds.credentials.pki.authority import CertificateAuthority  # noqa: PLC0415 - see above
        from openimds.credentials.pki.external_ca import read_external_ca  # noqa: PLC0415 - see above

        issuing = self._issuing
        with self._lock:
            if self._authority is None:
                brought = None
                if issuing.issuer_certificates and issuing.issuer_key:
                    brought = read_external_ca(
                        issuing.issuer_certificates, issuing.issuer_key, now_s
                    )
                self._authority = CertificateAuthority.open(
                    self._folder,
                    now_s,
                    public_url=issuing.public_url,
                    brought=brought,
                    make_key=issuing.make_key,
                )
            return self._authority

    def bundle(self, now_s: float) -> bytes:
        """Return the trust bundle as PEM.

        Raises:
            KeyFileError: as `authority`.
        """
        return self.authority(now_s).bundle()

    def certificate_infos(self, now_s: float) -> "list[CertificateInfo]":
        """Return what everybody may know of the CA certificates.

        Raises:
            KeyFileError: as `authority`.
        """
        return self.authority(now_s).certificate_infos()

    def rotate(self, part: str, now_s: float) -> None:
        """Replace the leaf, the intermediate or the root; what was signed before is let go of.

        Raises:
            KeyFileError: the root's key is elsewhere, or a file cannot be written.
        """
        from openimds.credentials.pki.authority import PARTS  # noqa: PLC0415 - as in `authority`

        self.authority(now_s).rotate(PARTS[part], now_s)

    def document_signer(self, now_s: float) -> "DocumentSigner":
        """Return who signs documents.

        Raises:
            KeyFileError: as `authority`.
        """
        from openimds.credentials.pki.document_signer import DocumentSigner  # noqa: PLC0415 - as in `authority`

        authority = self.authority(now_s)
        with self._lock:
            self._notary = self._notary or DocumentSigner(authority)
            return self._notary
