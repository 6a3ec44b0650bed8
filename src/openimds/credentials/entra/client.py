"""Tokens of Entra, through azure-identity; Entra's refusals become those that IMDS hands on."""

import asyncio
import logging
import os
import re
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec.json
from msgspec import Struct

from openimds.credentials.entra.errors import EntraError, error_in_body, error_in_text, failed_by
from openimds.errors import ConfigError
from openimds.facts.clouds import CLOUDS
from openimds.facts.tokens import SKEW_S
from openimds.protocol.access_token import issuers
from openimds.protocol.pending import AccessToken, Failed, PendingToken

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

FEDERATION, SERVICE_PRINCIPAL, AZ = "federation", "service-principal", "az"
METHODS = (FEDERATION, SERVICE_PRINCIPAL, AZ)
"""By whose name Entra is asked."""
ENTRA_UNCONFIGURED = (
    "identities with source: entra get status 500, for nothing says how to ask Entra. Set entra to "
    "federation, service-principal or az"
)
AUDIENCE = "api://AzureADTokenExchange"
"""For whom a token is by which an identity shows Entra who it is."""
ASSERTION_S = 600
THREADS = 8
TIMEOUT_S = 10.0
QUIET_S = 60.0
"""For how long the operator is told nothing after having been told of a failure."""
_NEEDED = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID")
_PROOFS = ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH")
_SECRETS = ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PASSWORD")

Sign: TypeAlias = Callable[[Mapping[str, object], float], str]
Notify: TypeAlias = Callable[[str], None]


class _EntraFailure(Struct, frozen=True):
    """Why Entra gave no answer that a guest could use; for the operator's eyes."""

    reason: str


class EntraClient:
    """The tokens of Entra. Called on the event loop; what takes a while happens in threads.

    Every fetch has a credential of its own: one that is kept would answer with the token that it
    has, when what is wanted is the one after it.
    """

    def __init__(  # noqa: PLR0913 - the parts of a conversation
        self,
        way: str,
        *,
        issuer: str,
        sign: Sign,
        notify: Notify,
        options: Mapping[str, Any] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Prepare to ask in one of the `METHODS`; `options` are passed on to azure-identity.

        Raises:
            ConfigError: azure-identity is not installed, or the environment lacks a part.
        """
        _require(way)
        self._way, self._issuer, self._sign, self._notify = way, issuer, sign, notify
        self._timeout_s = timeout_s
        # A fetch that failed is made again when somebody asks, not while somebody waits.
        patience = {"connection_timeout": timeout_s, "read_timeout": timeout_s, "retry_total": 0}
        self._options = {**patience, **(options or {})}
        self._pool = ThreadPoolExecutor(THREADS, "openimds-upstream")
        self._quiet_until_s = float("-inf")
        self._untold = 0
        for library in ("azure", "msal"):
            # Without a handler Python prints their warnings; the operator is told by us.
            logging.getLogger(library).addHandler(logging.NullHandler())

    async def token(self, need: PendingToken, now_s: float) -> AccessToken | Failed:
        """Return a token, or why there is none."""
        try:
            fetch = asyncio.get_running_loop().run_in_executor(self._pool, self._fetch, need, now_s)
            got = await asyncio.wait_for(fetch, self._timeout_s)
        except TimeoutError:
            got = _EntraFailure(f"no answer within {self._timeout_s:g} s")
        except RuntimeError as error:  # The pool is closed, and so is the server.
            got = _EntraFailure(str(error))
        if isinstance(got, _EntraFailure):
            self._report(need, got.reason, now_s)
            return Failed("server_error")
        return got

    def close(self) -> None:
        """Begin no fetch any more; those under way end by themselves."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _fetch(self, need: PendingToken, now_s: float) -> AccessToken | Failed | _EntraFailure:
        """Return what Entra says; in a thread."""
        refusals: list[EntraError] = []
        try:
            with self._credential(need, now_s, refusals) as credential:
                got = credential.get_token(f"{need.resource}/.default")
        except Exception as error:  # noqa: BLE001 - whatever it is, a guest waits for an answer
            return self._failure(need, now_s, error, refusals)
        begun_s = not_before_s(got.token, now_s)
        return AccessToken(got.token, begun_s, got.expires_on, got.expires_on - begun_s - SKEW_S)

    def _failure(
        self, need: PendingToken, now_s: float, error: Exception, refusals: list[EntraError]
    ) -> Failed | _EntraFailure:
        # azure-identity has one exception for a refusal and for a broken network: only what Entra
        # itself said is a refusal. Of az, a command, nothing but its words is heard.
        heard = [error_in_text(str(error))] if self._way == AZ else refusals[-1:]
        said = heard[0] if heard else None
        return (
            failed_by(said, need, now_s)
            if said
            else _EntraFailure(f"{type(error).__name__}: {error}")
        )

    def _credential(
        self, need: PendingToken, now_s: float, refusals: list[EntraError]
    ) -> "AbstractContextManager[TokenCredential]":
        from azure.identity import (  # noqa: PLC0415 - an extra
            AzureCliCredential,
            ClientAssertionCredential,
            EnvironmentCredential,
        )

        def listen(response: Any) -> None:  # noqa: ANN401 - a response of any of its transports
            got = response.http_response
            refusal = error_in_body(got.status_code, got.body())
            if refusal:
                refusals.append(refusal)

        host = CLOUDS[need.cloud].issuer_v2.removeprefix("https://")
        options = {**self._options, "authority": host, "raw_response_hook": listen}
        if self._way == FEDERATION:
            one = need.identity
            said = assertion(need, self._issuer, now_s)
            return ClientAssertionCredential(
                one.tenant_id, one.client_id, lambda: self._sign(said, now_s), **options
            )
        if self._way == SERVICE_PRINCIPAL:
            return EnvironmentCredential(**options)
        return AzureCliCredential(process_timeout=max(1, int(self._timeout_s)))

    def _report(self, need: PendingToken, reason: str, now_s: float) -> None:
        if now_s < self._quiet_until_s:
            self._untold += 1
            return
        more = f" ({self._untold} failures before it were not told)" if self._untold else ""
        self._quiet_until_s, self._untold = now_s + QUIET_S, 0
        secrets = [os.environ.get(name, "") for name in _SECRETS]
        said = redacted(f"no token of Entra for {need.vm}, {need.resource}: {reason}", secrets)
        self._notify(said + more)


class UnconfiguredEntra:
    """Stands where nothing says how to ask Entra."""

    def __init__(self, notify: Notify, *, is_told: bool) -> None:
        """Tell the operator with the first token that is wanted, unless that has been told."""
        self._notify, self._is_told = notify, is_told

    async def token(self, _need: PendingToken, _now_s: float) -> Failed:
        """Return Azure's words for a directory that does not answer."""
        if not self._is_told:
            self._is_told = True
            self._notify(ENTRA_UNCONFIGURED)
        return Failed("server_error")


def assertion(need: PendingToken, issuer: str, now_s: float) -> dict[str, object]:
    """Return what an identity says to Entra: who it is, by the word of our issuer.

    Entra compares iss, sub and aud with the federated credential of the application or identity.
    """
    one, made_s = need.identity, int(now_s)
    return {
        "aud": AUDIENCE,
        "iss": issuers(one.tenant_id, need.cloud, issuer)[1],
        "iat": made_s,
        "nbf": made_s - SKEW_S,
        "exp": made_s + ASSERTION_S,
        "sub": one.object_id,
        "tid": one.tenant_id,
    }


def _require(way: str) -> None:
    if not _is_installed():
        raise ConfigError(
            "entra",
            f'"{way}" without azure-identity, which asks Entra',
            "the extra entra to be installed",
            "Type pip install openimds[entra]",
        )
    if way != SERVICE_PRINCIPAL:
        return
    lacking = [name for name in _NEEDED if not os.environ.get(name)]
    if not any(os.environ.get(name) for name in _PROOFS):
        lacking.append(" or ".join(_PROOFS))
    if lacking:
        raise ConfigError(
            "entra",
            f'"{way}" without {", ".join(lacking)}',
            "these variables in the environment of the server",
        )


def _is_installed() -> bool:
    try:
        return find_spec("azure.identity") is not None
    except ModuleNotFoundError:  # Not even the package above it.
        return False


_LONGEST = 500
_JWT = re.compile(r"eyJ[\w-]+(\.[\w-]*)*")
_HIDDEN = "***"


class _Claims(Struct):
    nbf: int


def not_before_s(token: str, now_s: float) -> int:
    """Return from when on a token holds; of one that cannot be read, what Azure would say."""
    try:
        body = token.split(".")[1]
        text = urlsafe_b64decode(body + "=" * (-len(body) % 4))
        return msgspec.json.decode(text, type=_Claims).nbf
    except (IndexError, ValueError):
        return int(now_s) - SKEW_S


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    """Return text as one line that may be shown: no token, no secret, nothing unprintable."""
    for secret in secrets:
        text = text.replace(secret, _HIDDEN) if secret else text
    shown = "".join(sign if sign.isprintable() else " " for sign in _JWT.sub(_HIDDEN, text))
    line = " ".join(shown.split()).rstrip(".")
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
