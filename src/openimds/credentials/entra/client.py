"""Fetch access tokens from Entra through azure-identity."""

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
"""The ways to authenticate to Entra: the values of the setting `entra`."""
ENTRA_UNCONFIGURED = (
    "identities with source: entra get status 500 until a method is set. Set entra to federation, "
    "service-principal or az"
)
AUDIENCE = "api://AzureADTokenExchange"
"""The audience of a client assertion, the token by which an identity authenticates to Entra."""
ASSERTION_S = 600
THREADS = 8
TIMEOUT_S = 10.0
QUIET_S = 60.0
"""The shortest time between two reports of failed fetches to the operator, in seconds."""
_REQUIRED = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID")
_PROOFS = ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH")
_SECRETS = ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PASSWORD")

Sign: TypeAlias = Callable[[Mapping[str, object], float], str]
Notify: TypeAlias = Callable[[str], None]


class _EntraFailure(Struct, frozen=True):
    """A fetch without a token or a refusal; `reason` is for the operator."""

    reason: str


class EntraClient:
    """Fetches tokens from Entra. Called on the event loop; fetches run in threads.

    Each fetch makes a new azure-identity credential: a reused one would answer from its own cache
    with the current token when its successor is wanted.
    """

    def __init__(  # noqa: PLR0913 - the parts of a conversation
        self,
        method: str,
        *,
        issuer: str,
        sign: Sign,
        notify: Notify,
        options: Mapping[str, Any] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Prepare to fetch by one of the `METHODS`; `options` go to azure-identity.

        Raises:
            ConfigError: azure-identity is not installed, or the environment lacks a variable.
        """
        _require(method)
        self._method, self._issuer, self._sign, self._notify = method, issuer, sign, notify
        self._timeout_s = timeout_s
        # No retries: a failed fetch is repeated by the next request, while no guest waits.
        patience = {"connection_timeout": timeout_s, "read_timeout": timeout_s, "retry_total": 0}
        self._options = {**patience, **(options or {})}
        self._pool = ThreadPoolExecutor(THREADS, "openimds-entra")
        self._quiet_until_s = float("-inf")
        self._unreported = 0
        for library in ("azure", "msal"):
            # Without a handler Python prints their warnings; the operator gets our reports.
            logging.getLogger(library).addHandler(logging.NullHandler())

    async def token(self, pending: PendingToken, now_s: float) -> AccessToken | Failed:
        """Return a token, or the refusal for the guest."""
        try:
            fetch = asyncio.get_running_loop().run_in_executor(
                self._pool, self._fetch, pending, now_s
            )
            result = await asyncio.wait_for(fetch, self._timeout_s)
        except TimeoutError:
            result = _EntraFailure(f"no answer within {self._timeout_s:g} s")
        except RuntimeError as error:  # The pool is closed, and so is the server.
            result = _EntraFailure(str(error))
        if isinstance(result, _EntraFailure):
            self._report(pending, result.reason, now_s)
            return Failed("server_error")
        return result

    def close(self) -> None:
        """Start no further fetch; fetches in flight end by themselves."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _fetch(self, pending: PendingToken, now_s: float) -> AccessToken | Failed | _EntraFailure:
        """Ask Entra; runs in a thread."""
        refusals: list[EntraError] = []
        try:
            with self._credential(pending, now_s, refusals) as credential:
                token = credential.get_token(f"{pending.resource}/.default")
        except Exception as error:  # noqa: BLE001 - a guest waits for an answer to every failure
            return self._failure(pending, now_s, error, refusals)
        begins_s = not_before_s(token.token, now_s)
        return AccessToken(
            token.token, begins_s, token.expires_on, token.expires_on - begins_s - SKEW_S
        )

    def _failure(
        self, pending: PendingToken, now_s: float, error: Exception, refusals: list[EntraError]
    ) -> Failed | _EntraFailure:
        # azure-identity has one exception for a refusal and for a broken network: only an error
        # body of Entra is a refusal. az, a command, quotes Entra's refusal in its own message.
        errors = [error_in_text(str(error))] if self._method == AZ else refusals[-1:]
        if errors and errors[0]:
            return failed_by(errors[0], pending, now_s)
        return _EntraFailure(f"{type(error).__name__}: {error}")

    def _credential(
        self, pending: PendingToken, now_s: float, refusals: list[EntraError]
    ) -> "AbstractContextManager[TokenCredential]":
        from azure.identity import (  # noqa: PLC0415 - an extra
            AzureCliCredential,
            ClientAssertionCredential,
            EnvironmentCredential,
        )

        def collect(response: Any) -> None:  # noqa: ANN401 - a response of any of its transports
            http = response.http_response
            refusal = error_in_body(http.status_code, http.body())
            if refusal:
                refusals.append(refusal)

        host = CLOUDS[pending.cloud].issuer_v2.removeprefix("https://")
        # msal need not ask a central host whether this one is Entra's: `CLOUDS` has them all.
        known = {"authority": host, "disable_instance_discovery": True}
        options = {**self._options, **known, "raw_response_hook": collect}
        if self._method == FEDERATION:
            identity = pending.identity
            claims = assertion(pending, self._issuer, now_s)
            return ClientAssertionCredential(
                identity.tenant_id,
                identity.client_id,
                lambda: self._sign(claims, now_s),
                **options,
            )
        if self._method == SERVICE_PRINCIPAL:
            return EnvironmentCredential(**options)
        return AzureCliCredential(process_timeout=max(1, int(self._timeout_s)))

    def _report(self, pending: PendingToken, reason: str, now_s: float) -> None:
        if now_s < self._quiet_until_s:
            self._unreported += 1
            return
        more = f" ({self._unreported} earlier failures not shown)" if self._unreported else ""
        self._quiet_until_s, self._unreported = now_s + QUIET_S, 0
        secrets = [os.environ.get(name, "") for name in _SECRETS]
        sentence = f"no token from Entra for {pending.vm}, {pending.resource}: {reason}"
        self._notify(redacted(sentence, secrets) + more)


class UnconfiguredEntra:
    """Takes the place of `EntraClient` where the setting `entra` is empty."""

    def __init__(self, notify: Notify, *, is_reported: bool) -> None:
        """Report `ENTRA_UNCONFIGURED` at the first request, unless that was reported before."""
        self._notify, self._is_reported = notify, is_reported

    async def token(self, _pending: PendingToken, _now_s: float) -> Failed:
        """Return Azure's answer for a directory that does not respond."""
        if not self._is_reported:
            self._is_reported = True
            self._notify(ENTRA_UNCONFIGURED)
        return Failed("server_error")


def assertion(pending: PendingToken, issuer: str, now_s: float) -> dict[str, object]:
    """Return the claims of the client assertion by which an identity authenticates to Entra.

    Entra compares iss, sub and aud with the federated credential of the application or identity.
    """
    identity, issued_s = pending.identity, int(now_s)
    return {
        "aud": AUDIENCE,
        "iss": issuers(identity.tenant_id, pending.cloud, issuer)[1],
        "iat": issued_s,
        "nbf": issued_s - SKEW_S,
        "exp": issued_s + ASSERTION_S,
        "sub": identity.object_id,
        "tid": identity.tenant_id,
    }


def _require(method: str) -> None:
    if not _is_installed():
        raise ConfigError(
            "entra",
            f'"{method}" without azure-identity',
            "the extra entra to be installed",
            "Type pip install './openimds[entra]' beside a checkout",
        )
    if method != SERVICE_PRINCIPAL:
        return
    missing = [name for name in _REQUIRED if not os.environ.get(name)]
    if not any(os.environ.get(name) for name in _PROOFS):
        missing.append(" or ".join(_PROOFS))
    if missing:
        raise ConfigError(
            "entra",
            f'"{method}" without {", ".join(missing)}',
            "these variables in the environment of the server",
        )


def _is_installed() -> bool:
    try:
        return find_spec("azure.identity") is not None
    except ModuleNotFoundError:  # The package azure itself is missing.
        return False


_MAX_LINE = 500
_JWT = re.compile(r"eyJ[\w-]+(\.[\w-]*)*")
_HIDDEN = "***"


class _Claims(Struct):
    nbf: int


def not_before_s(token: str, now_s: float) -> int:
    """Return a token's nbf; for an unreadable token, the nbf that Azure would choose now."""
    try:
        body = token.split(".")[1]
        text = urlsafe_b64decode(body + "=" * (-len(body) % 4))
        return msgspec.json.decode(text, type=_Claims).nbf
    except (IndexError, ValueError, msgspec.DecodeError):
        return int(now_s) - SKEW_S


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    """Return a text as one printable line without tokens and secrets, at most 500 characters."""
    for secret in secrets:
        text = text.replace(secret, _HIDDEN) if secret else text
    printable = "".join(char if char.isprintable() else " " for char in _JWT.sub(_HIDDEN, text))
    line = " ".join(printable.split()).rstrip(".")
    return line if len(line) <= _MAX_LINE else line[: _MAX_LINE - 1] + "…"
