"""The Kubernetes API as the authority that vouches for a host's name.

Anybody who reaches the port for hosts can send a text in the form of a token, and each costs the
API a review. So few run at once, each has a time, and an address whose tokens are refused waits
longer and longer. A good token behind the same address comes through at a small rate: while the
address waits, one that was not refused before is reviewed each second. A refusal costs no host that
has joined anything.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from hashlib import sha256
from http import HTTPStatus
from typing import Any, Protocol, TypeVar

from msgspec import MsgspecError, Struct

from openimds.credentials.hosts.service_accounts import (
    REVIEWS,
    BoundPod,
    ServiceAccount,
    TokenRefusal,
    form_refusal,
    judge_pod,
    judge_review,
    name_refusal,
    review_of,
)
from openimds.errors import ConfigError, Error
from openimds.interop.kubernetes import ApiStatusError, KubernetesError
from openimds.log.events import HOST_REFUSED, HOSTS_TROUBLE
from openimds.server.notify import Notify

T = TypeVar("T")
MOST_REVIEWS = 4
"""The calls of the API under way; further ones wait."""
MOST_WAITING = 64
"""So many wait for their review; a further host comes again."""
REVIEW_S = 8.0
"""The longest time of a review with its wait; a host waits for ten seconds."""
CALL_S = 3.0
"""The longest time of one call of the API."""
ANSWER_BYTES = 1 << 20
"""The largest answer that is read; a pod has at most 1.5 MiB, and in fact some KiB."""
FREE_FAILURES = 3
"""So many refused tokens of an address cost it no wait."""
LONGEST_WAIT_S = 60.0
MOST_COUNTED = FREE_FAILURES + 7
"""The highest count of an address; its wait is the longest."""
SPARE_S = 1.0
"""An address that waits has one review of a new token in so many seconds."""
CALM_S = 60.0
"""So many calm seconds take one from the count of an address."""
MOST_REFUSED = 4096
"""The refused tokens that are remembered, by their hashes; the oldest is forgotten."""
MOST_SOURCES = 1024
"""The counts of addresses, for tokens and for other texts; the oldest is forgotten."""
BUSY = "control reviews many tokens now; the host joins once it has time"
_MESSAGES = 64
"""So many refusals are remembered, and not repeated."""
_WAIT = (
    "tokens of this address were refused: the next one is reviewed within a minute; the log of "
    "control has the reasons"
)
AWAY = "control cannot ask the Kubernetes API now; the host joins once it can"


class VouchingApi(Protocol):
    """The calls of the API; they block."""

    def get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        """Return the decoded answer to a GET."""
        ...

    def post(self, path: str, body: object) -> Any:  # noqa: ANN401 - JSON
        """Send a value as JSON, and return the decoded answer."""
        ...


class _Failures(Struct):
    """The refused tokens of an address, or other texts, and their wait."""

    count: int = 0
    until_s: float = 0.0
    calm_s: float = 0.0
    """The time from which it is calm: that of the last refusal, or the end of the wait for it."""
    spare_s: float = 0.0
    """The time of the next review while it waits."""


class Vouching:
    """Asks the API on which node the pod of a token runs."""

    def __init__(
        self,
        api: VouchingApi,
        accounts: Collection[ServiceAccount],
        notify: Notify,
        steady: Callable[[], float],
    ) -> None:
        """Take the accounts whose pods may join; `steady` is a monotonic clock in seconds."""
        self._api, self._accounts, self._notify = api, frozenset(accounts), notify
        self._steady = steady
        self._report = lru_cache(_MESSAGES)(notify)
        self._places = asyncio.Semaphore(MOST_REVIEWS)
        self._threads = ThreadPoolExecutor(MOST_REVIEWS, "kubernetes")
        self._failures: OrderedDict[str, _Failures] = OrderedDict()
        self._refused: OrderedDict[bytes, None] = OrderedDict()
        self._troubles: set[str] = set()
        """The troubles with the API that were reported since it reviewed a token last."""
        self._waiting = 0

    async def account_of(self, name: str, token: str, source: str) -> str:
        """Return the service account of the caller, whose node has a name.

        Args:
            name: the name that the host asks for.
            token: the projected token of its pod.
            source: the address of the caller.

        Raises:
            Error: the token does not prove the name, or the API cannot be asked.
        """
        counted = source
        judged: TokenRefusal | BoundPod | None = form_refusal(token)
        if judged:
            # It costs the API nothing, so it makes no token wait, but the log has few of them.
            counted = f"{source}, texts"
            if self._waits(counted):
                raise Error(_WAIT)
        else:
            judged = await self._in_turn(token, source)
            if isinstance(judged, BoundPod):
                judged = name_refusal(judged, name) or judged
            if isinstance(judged, TokenRefusal):
                self._remember(token)
        if isinstance(judged, TokenRefusal):
            self._note_failure(counted)
            self._report(
                HOST_REFUSED.message(
                    f"the host {name[:128]!a} at {source or 'an unknown address'} may not join by "
                    f"its service-account token: {judged.reason}",
                    host=name[:128],
                    reason=judged.reason,
                )
            )
            raise Error(judged.public)
        self._failures.pop(source, None)
        self._refused.pop(_digest(token), None)
        return str(judged.account)

    def close(self) -> None:
        """Wait for no call that is under way."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _in_turn(self, token: str, source: str) -> BoundPod | TokenRefusal:
        """Return the pod of a token, once there is a place for its review.

        Raises:
            Error: the API cannot be asked, or is asked too much.
        """
        self._check_wait(source, token)
        if self._waiting >= MOST_WAITING:
            raise Error(BUSY)
        self._waiting += 1
        until_s = asyncio.get_running_loop().time() + REVIEW_S
        try:
            await self._place(until_s)
            try:
                self._check_turn(source, token)
                async with asyncio.timeout_at(until_s):
                    judged = await self._reviewed(token)
            finally:
                self._places.release()
        except TimeoutError:
            raise self._away(f"no answer within {REVIEW_S:g} s") from None
        except MsgspecError as error:
            reason = f"its answer is of another form ({error})"
            raise self._away(reason.replace(token, "***")) from None
        except (KubernetesError, ConfigError) as error:
            raise self._away(str(error).replace(token, "***")) from None
        finally:
            self._waiting -= 1
        if self._troubles:
            self._troubles.clear()
            self._notify(HOSTS_TROUBLE.message("the Kubernetes API reviews tokens again"))
        return judged

    async def _place(self, until_s: float) -> None:
        """Take a place for a review.

        Raises:
            Error: there is none in time.
        """
        try:
            async with asyncio.timeout_at(until_s):
                await self._places.acquire()
        except TimeoutError:
            reason = f"{MOST_REVIEWS} reviews are under way, and a token waited {REVIEW_S:g} s"
            raise self._away(reason, BUSY) from None

    async def _reviewed(self, token: str) -> BoundPod | TokenRefusal:
        answer = await self._call(lambda: self._api.post(REVIEWS, review_of(token)))
        judged = judge_review(answer, self._accounts, token)
        if isinstance(judged, TokenRefusal) or judged.node:
            return judged
        pod = judged
        try:
            found = await self._call(lambda: self._api.get(pod.path))
        except ApiStatusError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return TokenRefusal(f"the pod {pod} is gone")
        return judge_pod(found, pod)

    def _away(self, reason: str, public: str = AWAY) -> Error:
        if reason not in self._troubles and len(self._troubles) < _MESSAGES:
            self._troubles.add(reason)
            self._notify(
                HOSTS_TROUBLE.message(f"hosts cannot join by service-account tokens: {reason}")
            )
        return Error(public)

    def _check_wait(self, source: str, token: str) -> None:
        """Check that a token need not wait.

        Raises:
            Error: too many of its address were refused, and it cannot be reviewed in between.
        """
        if not self._waits(source):
            return
        if self._failures[source].spare_s > self._steady() or _digest(token) in self._refused:
            raise Error(_WAIT)

    def _waits(self, counted: str) -> bool:
        known = self._failures.get(counted)
        return known is not None and known.until_s > self._steady()

    def _check_turn(self, source: str, token: str) -> None:
        """Check it again, as others of it may have been refused meanwhile; count the review.

        Raises:
            Error: as `_check_wait`.
        """
        self._check_wait(source, token)
        if known := self._failures.get(source):
            known.spare_s = self._steady() + SPARE_S

    def _note_failure(self, counted: str) -> None:
        now_s = self._steady()
        known = self._failures.setdefault(counted, _Failures(calm_s=now_s))
        self._failures.move_to_end(counted)
        calm = int(max(0.0, now_s - known.calm_s) / CALM_S)
        known.count = min(max(0, known.count - calm) + 1, MOST_COUNTED)
        beyond = known.count - FREE_FAILURES
        if beyond > 0:
            wait_s = min(LONGEST_WAIT_S, 2.0 ** (beyond - 1))
            known.until_s = max(known.until_s, now_s + wait_s)
        known.calm_s = max(now_s, known.until_s)
        if len(self._failures) > MOST_SOURCES:
            self._failures.popitem(last=False)

    def _remember(self, token: str) -> None:
        digest = _digest(token)
        self._refused[digest] = None
        self._refused.move_to_end(digest)
        if len(self._refused) > MOST_REFUSED:
            self._refused.popitem(last=False)

    async def _call(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


def _digest(token: str) -> bytes:
    return sha256(token.encode()).digest()
