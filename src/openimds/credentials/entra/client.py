"""Fetch access tokens from Entra through azure-identity."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Struct

from openimds.credentials.entra.bulkheads import THREADS, Bulkheads
from openimds.credentials.entra.errors import (
    TOO_MANY,
    UNAVAILABLE,
    EntraError,
    error_in_body,
    error_in_text,
    failed_by,
    retry_after_s,
)
from openimds.credentials.entra.failures import FailureMemory
from openimds.credentials.entra.token_texts import assertion, not_before_s, redacted
from openimds.errors import ConfigError
from openimds.facts.clouds import CLOUDS
from openimds.facts.tokens import SKEW_S
from openimds.log.events import ENTRA_FAILED, ENTRA_LACKS
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
TIMEOUT_S = 10.0
FAILURE_S = 5.0
"""The time for which the same request gets the same failure without another fetch, in seconds."""
QUIET_S = 60.0
"""The shortest time between two reports of failed fetches to the operator, in seconds."""
_ERRORS = range(400, 600)
_REQUIRED = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID")
_PROOFS = ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH")
_SECRETS = ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PASSWORD")

Sign: TypeAlias = Callable[[Mapping[str, object], float], str]
Notify: TypeAlias = Callable[[str], None]


_THROTTLED, _SERVER_ERROR = Failed("throttled"), Failed("server_error")


class _ErrorResponse(Struct, frozen=True):
    """An error response of Entra; `entra_error` is None unless it refuses the request."""

    status: int
    entra_error: EntraError | None
    retry_after_s: float | None


class _EntraFailure(Struct, frozen=True):
    """A fetch without a token or a refusal.

    `reason` is for the operator, `failed` for the guest. For `pause_s` seconds Entra wants no
    further request of the tenant.
    """

    reason: str
    failed: Failed = _SERVER_ERROR
    pause_s: float | None = None


_FetchResult: TypeAlias = AccessToken | Failed | _EntraFailure


class _Fetch:
    """A fetch that waits or runs, and the future of its result."""

    __slots__ = ("future", "key", "now_s", "pending", "tenant")

    def __init__(self, tenant: str, pending: PendingToken, now_s: float) -> None:
        self.tenant, self.pending, self.now_s = tenant, pending, now_s
        identity = pending.identity
        self.key = tenant, identity.client_id, identity.object_id, pending.resource
        self.future: asyncio.Future[AccessToken | Failed] = (
            asyncio.get_running_loop().create_future()
        )


class EntraClient:
    """Fetches tokens from Entra. Called on the event loop; fetches run in threads.

    Tenants share the threads by `Bulkheads`. A failure is remembered for `FAILURE_S`, and a tenant
    whose requests Entra wants later (Retry-After) is not fetched for until then; both are answered
    from memory at once.

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
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare to fetch by one of the `METHODS`; `options` go to azure-identity.

        Raises:
            ConfigError: azure-identity is not installed, or the environment lacks a variable.
        """
        _require(method)
        self._method, self._issuer, self._sign, self._notify = method, issuer, sign, notify
        self._timeout_s, self._steady = timeout_s, steady
        # No retries: a failed fetch is repeated by a later request, while no guest waits.
        patience = {"connection_timeout": timeout_s, "read_timeout": timeout_s, "retry_total": 0}
        self._options = {**patience, **(options or {})}
        self._pool = ThreadPoolExecutor(THREADS, "openimds-entra")
        self._is_closed = False
        self._bulkheads: Bulkheads[_Fetch] = Bulkheads()
        self._waiting: dict[PendingToken, _Fetch] = {}
        self._failures, self._pauses = FailureMemory(steady), FailureMemory(steady)
        self._quiet_until_s = float("-inf")
        self._unreported = 0
        for library in ("azure", "msal"):
            # Without a handler Python prints their warnings; the operator gets our reports.
            logging.getLogger(library).addHandler(logging.NullHandler())

    async def token(self, pending: PendingToken, now_s: float) -> AccessToken | Failed:
        """Return a token, or the refusal for the guest."""
        fetch = _Fetch(self._tenant(pending), pending, now_s)
        known = self._pauses.get(fetch.tenant) or self._failures.get(fetch.key)
        if known:
            return known
        if self._is_closed:
            return _SERVER_ERROR
        self._waiting[pending] = fetch
        refused = self._bulkheads.put(fetch.tenant, pending.vm, fetch)
        if refused:
            self._answer(refused, _THROTTLED)
        self._start()
        try:
            done, _ = await asyncio.wait((fetch.future,), timeout=self._timeout_s)
        except asyncio.CancelledError:
            self._leave(fetch)
            raise
        # Without a thread in all that time, the queue was too long: Entra has not failed.
        if not done and not self._leave(fetch):
            failure = _EntraFailure(f"no answer within {self._timeout_s:g} s")
            self._note(fetch, failure)
            self._answer(fetch, failure.failed)
        return fetch.future.result()

    def withdraw(self, pending: PendingToken) -> bool:
        """Drop a fetch that no thread has begun, and tell whether there was one.

        Its `token` returns as if the queue were full.
        """
        fetch = self._waiting.get(pending)
        return fetch is not None and self._leave(fetch)

    def close(self) -> None:
        """Start no further fetch; fetches in flight end by themselves."""
        self._is_closed = True
        for fetch in [*self._waiting.values()]:
            self._leave(fetch)
        self._pool.shutdown(wait=False)

    def _tenant(self, pending: PendingToken) -> str:
        """Return the tenant of the credential, whose directory is asked."""
        if self._method == FEDERATION:
            return f"{pending.cloud}/{pending.identity.tenant_id}"
        return pending.cloud if self._method == SERVICE_PRINCIPAL else ""

    def _start(self) -> None:
        """Give threads to waiting fetches as far as the bulkheads allow."""
        while fetch := self._bulkheads.take():
            self._forget(fetch)
            self._pool.submit(self._work, fetch)

    def _leave(self, fetch: _Fetch) -> bool:
        """Refuse a fetch that waits, and tell whether it did."""
        is_waiting = self._bulkheads.remove(fetch.tenant, fetch.pending.vm, fetch)
        if is_waiting:
            self._answer(fetch, _THROTTLED)
        return is_waiting

    def _answer(self, fetch: _Fetch, result: AccessToken | Failed) -> None:
        """Give the guest its result, unless it has one."""
        self._forget(fetch)
        if not fetch.future.done():
            fetch.future.set_result(result)

    def _forget(self, fetch: _Fetch) -> None:
        """Count a fetch as waiting no longer."""
        # After a time-out an equal one may wait while the thread of the first is still held.
        if self._waiting.get(fetch.pending) is fetch:
            del self._waiting[fetch.pending]

    def _work(self, fetch: _Fetch) -> None:
        """Fetch, and pass the result to the event loop; runs in a thread."""
        result = self._fetch(fetch.pending, fetch.now_s)
        with suppress(RuntimeError):  # The loop has ended.
            fetch.future.get_loop().call_soon_threadsafe(self._end, fetch, result)

    def _end(self, fetch: _Fetch, result: _FetchResult) -> None:
        self._bulkheads.end(fetch.tenant)
        self._note(fetch, result)
        self._answer(fetch, result.failed if isinstance(result, _EntraFailure) else result)
        self._start()

    def _note(self, fetch: _Fetch, result: _FetchResult) -> None:
        """Remember a failure, pause the tenant if Entra wants that, and report to the operator."""
        failed = result.failed if isinstance(result, _EntraFailure) else result
        self._bulkheads.judge(fetch.tenant, has_failed=failed == _SERVER_ERROR)
        if isinstance(failed, Failed):
            self._failures.put(fetch.key, failed, FAILURE_S)
        else:
            self._failures.forget(fetch.key)
        if not isinstance(result, _EntraFailure):
            return
        if result.pause_s:
            self._pauses.put(fetch.tenant, result.failed, result.pause_s)
            for waiting in self._bulkheads.clear(fetch.tenant):
                self._answer(waiting, result.failed)
        if not fetch.future.done():  # Otherwise its time was over, which is reported already.
            self._report(fetch.pending, result.reason)

    def _fetch(self, pending: PendingToken, now_s: float) -> _FetchResult:
        """Ask Entra; runs in a thread."""
        errors: list[_ErrorResponse] = []
        try:
            with self._credential(pending, now_s, errors) as credential:
                token = credential.get_token(f"{pending.resource}/.default")
        except Exception as error:  # noqa: BLE001 - a guest waits for an answer to every failure
            return self._failure(pending, now_s, error, errors)
        begins_s = not_before_s(token.token, now_s)
        return AccessToken(
            token.token, begins_s, token.expires_on, token.expires_on - begins_s - SKEW_S
        )

    def _failure(
        self, pending: PendingToken, now_s: float, error: Exception, errors: list[_ErrorResponse]
    ) -> Failed | _EntraFailure:
        # azure-identity has one exception for a refusal and for a broken network: only an error
        # body of Entra is a refusal. az, a command, quotes Entra's refusal in its own message.
        response = errors[-1] if errors else _ErrorResponse(0, None, None)
        is_az = self._method == AZ
        refusal = error_in_text(str(error)) if is_az else response.entra_error
        if refusal:
            return failed_by(refusal, pending, now_s)
        reason = f"{type(error).__name__}: {error}"
        if response.status == TOO_MANY:
            return _EntraFailure(reason, _THROTTLED, response.retry_after_s)
        is_down = response.status == UNAVAILABLE
        return _EntraFailure(reason, pause_s=response.retry_after_s if is_down else None)

    def _credential(
        self, pending: PendingToken, now_s: float, errors: list[_ErrorResponse]
    ) -> "AbstractContextManager[TokenCredential]":
        from azure.identity import (  # noqa: PLC0415 - an extra
            AzureCliCredential,
            ClientAssertionCredential,
            EnvironmentCredential,
        )

        def collect(response: Any) -> None:  # noqa: ANN401 - a response of any of its transports
            http = response.http_response
            if http.status_code in _ERRORS:
                refusal = error_in_body(http.status_code, http.body())
                headers = {name.lower(): value for name, value in http.headers.items()}
                errors.append(_ErrorResponse(http.status_code, refusal, retry_after_s(headers)))

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

    def _report(self, pending: PendingToken, reason: str) -> None:
        now_s = self._steady()
        if now_s < self._quiet_until_s:
            self._unreported += 1
            return
        more = f" ({self._unreported} earlier failures not shown)" if self._unreported else ""
        self._quiet_until_s, self._unreported = now_s + QUIET_S, 0
        secrets = [os.environ.get(name, "") for name in _SECRETS]
        sentence = f"no token from Entra for {pending.vm}, {pending.resource}: {reason}"
        self._notify(
            ENTRA_FAILED.message(
                redacted(sentence, secrets) + more, vm=pending.vm, resource=pending.resource
            )
        )


class UnconfiguredEntra:
    """Takes the place of `EntraClient` where the setting `entra` is empty."""

    def __init__(self, notify: Notify, *, is_reported: bool) -> None:
        """Report `ENTRA_UNCONFIGURED` at the first request, unless that was reported before."""
        self._notify, self._is_reported = notify, is_reported

    def is_known(self) -> None:
        """Report nothing: the operator knows."""
        self._is_reported = True

    async def token(self, _pending: PendingToken, _now_s: float) -> Failed:
        """Return Azure's answer for a directory that does not respond."""
        if not self._is_reported:
            self._is_reported = True
            self._notify(ENTRA_LACKS.message(ENTRA_UNCONFIGURED))
        return _SERVER_ERROR

    def withdraw(self, _pending: PendingToken) -> bool:
        """Return false: no fetch waits here."""
        return False


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
