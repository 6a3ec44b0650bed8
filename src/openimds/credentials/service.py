"""The credentials service: provides tokens, documents, challenges and client certificates."""

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from openimds.credentials.hardware.service import HARDWARE, HardwareService
from openimds.credentials.pki.document_cache import DocumentCache
from openimds.credentials.pki.lazy_ca import CA, CaSettings, LazyCa
from openimds.credentials.tokens.arc_challenge import ArcTokens, ChallengeFiles
from openimds.credentials.tokens.cache import TokenCache, TokenSource
from openimds.credentials.worker import SHARED, BusyError, Worker
from openimds.errors import Error
from openimds.protocol.access_token import TokenSettings
from openimds.protocol.pending import (
    Failed,
    Pending,
    PendingCertificate,
    PendingChallenge,
    PendingDocument,
    PendingEndorsement,
    PendingQuote,
    PendingToken,
    Result,
)

if TYPE_CHECKING:
    from openimds.credentials.keys.keyring import KeyInfo, Keyring
    from openimds.credentials.tokens.client_certificates import ClientCertificates

_LEEWAY_S = 3600
KEYS = "keys"
"""The folder of the state directory that holds the token signing keys."""


def has_keys(folder: Path) -> bool:
    """Tell whether a state directory has private keys, whose signatures others may trust."""
    globs = (f"{KEYS}/*", f"{CA}/*", f"{HARDWARE}/*", "*.key")
    return any(True for glob in globs for _ in folder.glob(glob))


class CredentialsService:
    """Provides the results of the data plane's pending work, except events (the store's)."""

    def __init__(
        self,
        ca_settings: CaSettings,
        token_settings: TokenSettings,
        entra: TokenSource | None = None,
        challenges: ChallengeFiles | None = None,
        *,
        steady: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Read the keys of a state directory; without one, keys end with the process.

        `steady` is the clock of `TokenCache`.

        Raises:
            KeyFileError: a key file cannot be read or used.
        """
        self.token_settings = token_settings
        self.worker = Worker()
        self.tokens = TokenCache(self.keyring, self.worker, token_settings, entra, steady=steady)
        self.ca = LazyCa(ca_settings)
        self.documents = DocumentCache(
            self.ca.document_signer, lambda: self.ca.generation, self.worker, steady=steady
        )
        self._arc = (
            ArcTokens(challenges, self.worker, self.tokens) if challenges is not None else None
        )
        # A key of AMD takes seconds: tokens must not wait for it.
        self.hardware = HardwareService(ca_settings.folder, Worker(), report=ca_settings.notify)
        self._clients: ClientCertificates | None = None
        self._folder, self._make_key = ca_settings.folder, ca_settings.make_key
        self._notify = ca_settings.notify
        self.had_keys = self._folder is not None and has_keys(self._folder)
        """Whether the state directory had keys before this start."""
        self._keys = self._folder / KEYS if self._folder else None
        self._keyring: Keyring | None = None
        self._lock = threading.Lock()
        if self._keys and self._keys.exists():
            self.keyring()

    def keyring(self) -> "Keyring":
        """Return the keyring of tokens. The first call imports much: make it in a thread.

        Raises:
            KeyFileError: as the constructor.
        """
        # Imported here: a server that signs nothing does not load cryptography.
        from openimds.credentials.keys.keyring import OVERLAP_S, Keyring  # noqa: PLC0415 - see above

        with self._lock:
            if self._keyring is None:
                self._keyring = Keyring.open(
                    self._keys,
                    max(OVERLAP_S, self.token_settings.life_s + _LEEWAY_S),
                    self._make_key,
                )
                self._keyring.report = self._notify
            return self._keyring

    def forget_future(self, now_s: float) -> None:
        """Drop what was made after this time, because the clock was set back."""
        self.tokens.forget_future(now_s)
        self.documents.forget_future(now_s)

    def cached(self, pending: Pending, now_s: float) -> Result | None:
        """Return the cached result of pending work at once, or None."""
        if isinstance(pending, PendingDocument):
            return self.documents.cached(pending, now_s)
        if isinstance(pending, PendingToken) and not pending.proof:
            return self.tokens.cached(pending, now_s)
        if isinstance(pending, PendingEndorsement):
            return self.hardware.cached(pending)
        return None  # A proof must be checked and a CSR signed for each request.

    async def make(self, pending: Pending, now_s: float) -> Result:
        """Provide the result of pending work, or the reason why there is none."""
        if isinstance(pending, PendingDocument):
            return await self.documents.make(pending, now_s)
        if isinstance(pending, PendingEndorsement | PendingQuote):
            return await self.hardware.make(pending, now_s)
        if isinstance(pending, PendingCertificate):
            return await self._certificate(pending, now_s)
        if isinstance(pending, PendingToken) and not pending.proof:
            return await self.tokens.make(pending, now_s)
        # Work of events goes to the store; challenges are pending only where there is a folder.
        assert isinstance(pending, PendingToken | PendingChallenge)
        assert self._arc is not None
        return await self._arc.make(pending, now_s)

    async def _certificate(self, pending: PendingCertificate, now_s: float) -> Result:
        key = ("certificate", pending.vm, pending.identity.client_id, pending.csr)
        try:
            return await self.worker.run(
                pending.vm, key, lambda: self._client_certificates().sign(pending, now_s)
            )
        except BusyError:
            return Failed("throttled")

    def _client_certificates(self) -> "ClientCertificates":
        from openimds.credentials.tokens.client_certificates import ClientCertificates  # noqa: PLC0415 - as in `keyring`

        with self._lock:
            self._clients = self._clients or ClientCertificates(
                self._folder, self._make_key, self._notify
            )
            return self._clients

    def key_infos(self, now_s: float) -> "tuple[KeyInfo, ...]":
        """Return names and times of the token keys. As `keyring`, call it in a thread.

        Raises:
            KeyFileError: as the constructor.
        """
        return self.keyring().key_infos(now_s)

    def key_ends(self) -> "dict[tuple[str, ...], float]":
        """Return the ends of the token keys as `Keyring.ends`; before their first use none."""
        return self._keyring.ends() if self._keyring else {}

    def rotate(self, now_s: float) -> None:
        """Sign tokens with a new key from now on. Call it in a thread.

        Raises:
            KeyFileError: the new key cannot be written; the old one stays current.
        """
        self.keyring().rotate(now_s)

    def keep_up(self, now_s: float) -> None:
        """Renew keys and certificates of age, and sign the lists that are due.

        What nobody has used yet stays unmade. Call it in a thread.

        Raises:
            KeyFileError: a key or certificate cannot be written.
        """
        try:
            self._renew_keys(now_s)
        finally:
            self.ca.keep_up(now_s)

    def _renew_keys(self, now_s: float) -> None:
        new = self._keyring.renew(now_s) if self._keyring else None
        if new is not None:
            sentence = f"tokens are signed by the new key {new.kid}: the former one was a year old"
            self.ca.report("token-key", "age", sentence)

    def sign(self, claims: Mapping[str, object], now_s: float) -> str:
        """Return a JWT of these claims, signed by the current token key.

        Call it in a thread.

        Raises:
            KeyFileError: the first key cannot be written.
        """
        from openimds.credentials.tokens.jwt import sign  # noqa: PLC0415 - as in `keyring`

        return sign(claims, self.keyring().signer(now_s))

    async def warm(self, now_s: float) -> None:
        """Import the signing libraries and make the first key before a request needs them."""
        with suppress(Error):  # The first request that needs the key gets the error.
            await self.worker.run(SHARED, "warm", lambda: self._warm(now_s))

    def _warm(self, now_s: float) -> None:
        import openimds.credentials.tokens.jwt  # noqa: F401, PLC0415 - imported now, used by the first token

        keyring = self.keyring()
        keyring.signer(now_s)
        keyring.prune(now_s)

    def close(self) -> None:
        """Wait for running jobs, and remove the files of open challenges."""
        self.worker.close()
        self.hardware.close()
        if self._arc:
            self._arc.close()
