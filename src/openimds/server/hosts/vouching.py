"""The Kubernetes API as the authority that vouches for a host's name.

Anybody who reaches the port for hosts can send a text in the form of a token, and each costs the
API a review. So few run at once, each has a time, and an address whose tokens are refused waits
longer and longer. A refusal costs no host that has joined anything.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
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
MOST_SOURCES = 1024
"""The addresses whose refused tokens are counted; the one refused longest ago is forgotten."""
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
    """The refused tokens of an address, and when the next one may come."""

    count: int = 0
    until_s: float = 0.0


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
        self._trouble = ""
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
        self._check_wait(source)
        judged: TokenRefusal | BoundPod = form_refusal(token) or await self._in_turn(token, source)
        if isinstance(judged, BoundPod):
            judged = name_refusal(judged, name) or judged
        if isinstance(judged, TokenRefusal):
            self._note_failure(source)
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
        return str(judged.account)

    def close(self) -> None:
        """Wait for no call that is under way."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _in_turn(self, token: str, source: str) -> BoundPod | TokenRefusal:
        """Return the pod of a token, once there is a place for its review.

        Raises:
            Error: the API cannot be asked, or is asked too much.
        """
        if self._waiting >= MOST_WAITING:
            raise Error(BUSY)
        self._waiting += 1
        try:
            async with asyncio.timeout(REVIEW_S), self._places:
                self._check_wait(source)  # Others of it may have been refused meanwhile.
                judged = await self._reviewed(token)
        except TimeoutError:
            raise self._away(f"no answer within {REVIEW_S:g} s") from None
        except MsgspecError as error:
            raise self._away(f"its answer is of another form ({error})") from None
        except (KubernetesError, ConfigError) as error:
            raise self._away(str(error).replace(token, "***")) from None
        finally:
            self._waiting -= 1
        if self._trouble:
            self._trouble = ""
            self._notify(HOSTS_TROUBLE.message("the Kubernetes API reviews tokens again"))
        return judged

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

    def _away(self, reason: str) -> Error:
        if reason != self._trouble:
            self._trouble = reason
            self._notify(
                HOSTS_TROUBLE.message(f"hosts cannot join by service-account tokens: {reason}")
            )
        return Error(AWAY)

    def _check_wait(self, source: str) -> None:
        """Check that an address need not wait.

        Raises:
            Error: too many of its tokens were refused.
        """
        known = self._failures.get(source)
        if known and known.until_s > self._steady():
            raise Error(_WAIT)

    def _note_failure(self, source: str) -> None:
        known = self._failures.setdefault(source, _Failures())
        self._failures.move_to_end(source)
        known.count += 1
        beyond = known.count - FREE_FAILURES
        if beyond > 0:
            known.until_s = self._steady() + min(LONGEST_WAIT_S, 2.0 ** min(beyond - 1, 16))
        if len(self._failures) > MOST_SOURCES:
            self._failures.popitem(last=False)

    async def _call(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)
