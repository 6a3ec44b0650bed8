"""Everything that signs, put together, with nothing loaded before it is needed."""

import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from openimds.credentials.pki.document_cache import DocumentCache
from openimds.credentials.pki.lazy_ca import CaSettings, LazyCa
from openimds.credentials.tokens.arc_challenge import ArcTokens, ChallengeFiles
from openimds.credentials.tokens.cache import TokenCache, TokenSource
from openimds.credentials.worker import BusyError, Worker
from openimds.errors import Error
from openimds.protocol.access_token import TokenSettings
from openimds.protocol.pending import (
    Failed,
    Pending,
    PendingCertificate,
    PendingChallenge,
    PendingDocument,
    PendingToken,
    Result,
)

if TYPE_CHECKING:
    from openimds.credentials.keys.keyring import KeyInfo, Keyring
    from openimds.credentials.tokens.client_certificates import ClientCertificates

_LEEWAY_S = 3600
KEYS = "keys"
"""The folder of the state directory that holds the keys of tokens."""


class CredentialsService:
    """What the data plane's needs are made with, but for what the store makes."""

    def __init__(
        self,
        issuing: CaSettings,
        terms: TokenSettings,
        elsewhere: TokenSource | None = None,
        challenges: ChallengeFiles | None = None,
    ) -> None:
        """Read the keys of a state directory; without one they live as long as the process.

        Raises:
            KeyFileError: a key file is not what it should be.
        """
        self.terms = terms
        self.worker = Worker()
        self.tokens = TokenCache(self.keyring, self.worker, terms, elsewhere)
        self.ca = LazyCa(issuing)
        self.documents = DocumentCache(
            self.ca.document_signer, lambda: self.ca.generation, self.worker
        )
        self._arc = (
            ArcTokens(challenges, self.worker, self.tokens) if challenges is not None else None
        )
        self._clients: ClientCertificates | None = None
        self._folder, self._make_key = issuing.folder, issuing.make_key
        self._keys = issuing.folder / KEYS if issuing.folder else None
        self._keyring: Keyring | None = None
        self._lock = threading.Lock()
        if self._keys and self._keys.exists():
            self.keyring()

    def keyring(self) -> "Keyring":
        """Return the keys of tokens. The first call loads much: make it in a thread.

        Raises:
            KeyFileError: as the constructor.
        """
        # Imported here: a server that signs nothing starts without what signing takes.
        from openimds.credentials.keys.keyring import OVERLAP_S, Keyring  # noqa: PLC0415 - see above

        with self._lock:
            if self._keyring is None:
                self._keyring = Keyring.open(
                    self._keys,
                    max(OVERLAP_S, self.terms.life_s + _LEEWAY_S),
                    self._make_key,
                )
            return self._keyring

    def cached(self, need: Pending, now_s: float) -> Result | None:
        """Return what is there already, or None."""
        if isinstance(need, PendingDocument):
            return self.documents.cached(need, now_s)
        if isinstance(need, PendingToken) and not need.proof:
            return self.tokens.cached(need, now_s)
        return None  # It serves once: a proof has to be looked at, a request to be signed.

    async def make(self, need: Pending, now_s: float) -> Result:
        """Return it once it is made, or why it could not be."""
        if isinstance(need, PendingDocument):
            return await self.documents.make(need, now_s)
        if isinstance(need, PendingCertificate):
            return await self._certificate(need, now_s)
        if isinstance(need, PendingToken) and not need.proof:
            return await self.tokens.make(need, now_s)
        # What events need is the store's; challenges are asked for where there is a folder.
        assert isinstance(need, PendingToken | PendingChallenge)
        assert self._arc is not None
        return await self._arc.make(need, now_s)

    async def _certificate(self, need: PendingCertificate, now_s: float) -> Result:
        job = ("certificate", need.vm, need.identity.client_id, need.csr)
        try:
            return await self.worker.do(job, lambda: self._clients_of().sign(need, now_s))
        except BusyError:
            return Failed("throttled")

    def _clients_of(self) -> "ClientCertificates":
        from openimds.credentials.tokens.client_certificates import ClientCertificates  # noqa: PLC0415 - as in `keyring`

        with self._lock:
            self._clients = self._clients or ClientCertificates(self._folder, self._make_key)
            return self._clients

    def key_infos(self, now_s: float) -> "tuple[KeyInfo, ...]":
        """Return the lives of the keys of tokens. As `keyring`, it belongs into a thread.

        Raises:
            KeyFileError: as the constructor.
        """
        return self.keyring().key_infos(now_s)

    def rotate(self, now_s: float) -> None:
        """Sign tokens with a new key from now on. It belongs into a thread.

        Raises:
            KeyFileError: the new key cannot be written; the old one goes on signing.
        """
        self.keyring().rotate(now_s)

    def sign(self, claims: Mapping[str, object], now_s: float) -> str:
        """Return a token that says just this, signed as tokens are. It belongs into a thread.

        Raises:
            KeyFileError: the first key could not be written.
        """
        from openimds.credentials.tokens.jwt import sign  # noqa: PLC0415 - as in `keyring`

        return sign(claims, self.keyring().signer(now_s))

    async def warm(self, now_s: float) -> None:
        """Load what signs, and make the first key, before somebody waits for it."""
        with suppress(Error):  # Whoever needs it is told.
            await self.worker.do("warm", lambda: self._warm(now_s))

    def _warm(self, now_s: float) -> None:
        import openimds.credentials.tokens.jwt  # noqa: F401, PLC0415 - loaded now, used with the first token

        keyring = self.keyring()
        keyring.signer(now_s)
        keyring.prune(now_s)

    def close(self) -> None:
        """Let the work end that has begun."""
        self.worker.close()
        if self._arc:
            self._arc.close()
