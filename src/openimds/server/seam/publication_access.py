"""The documents of the public port, read from the host at a bounded rate.

Anybody may read them, and a reader who asks for names that do not exist finds no cached answer. So
one look-up is under way at a time, and the next one waits in proportion: readers cost the host at
most a small part of its time.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

Ask = Callable[[str, tuple[str | bytes, ...]], Any]
"""Asks the host for a document by the name of a method and its arguments; it blocks."""
CACHED_S = 1.0
"""The time for which an answer is given again."""
MOST_CACHED = 256
PAUSE_RATIO = 4
"""The pause after a look-up, in its own lengths."""


class PublicationAccess:
    """The documents to publish; its methods block, and may be called from any thread."""

    def __init__(
        self,
        ask: Ask,
        prefixes: frozenset[str],
        now: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        """Read by `ask`; `now` is a steady clock in seconds, `sleep` waits on it."""
        self.prefixes = prefixes
        self._ask, self._now, self._sleep = ask, now, sleep
        self._answers: OrderedDict[tuple[object, ...], tuple[float, Any]] = OrderedDict()
        self._lock = threading.Lock()
        self._next_s = 0.0

    def forget(self) -> None:
        """Ask the host again for each document, for keys or certificates have changed."""
        self._answers.clear()

    def discovery(self, tenant: str, version: str, host: str = "") -> dict[str, Any]:
        """Return a tenant's discovery document of a version for readers at a host."""
        found: dict[str, Any] = self._answer("discovery", tenant, version, host)
        return found

    def keys(self, tenant: str, version: str) -> dict[str, Any]:
        """Return the public keys of a tenant as a JWK set."""
        found: dict[str, Any] = self._answer("keys", tenant, version)
        return found

    def certificate(self, name: str) -> bytes | None:
        """Return the DER of a CA certificate by its name, or None."""
        found: bytes | None = self._answer("certificate", name)
        return found

    def revocation_list(self, name: str) -> bytes | None:
        """Return a list of revoked certificates in DER by its path, or None."""
        found: bytes | None = self._answer("revocation_list", name)
        return found

    def ocsp_response(self, request: bytes | str) -> bytes:
        """Return the response to an OCSP request: DER, or the path of a GET."""
        found: bytes = self._answer("ocsp_response", request)
        return found

    def bundle(self) -> bytes:
        """Return the trust bundle as PEM."""
        found: bytes = self._answer("bundle")
        return found

    def _answer(self, name: str, *arguments: str | bytes) -> Any:  # noqa: ANN401 - of any document
        key = (name, *arguments)
        if (found := self._answers.get(key)) and self._now() - found[0] < CACHED_S:
            return found[1]
        with self._lock:
            if (found := self._answers.get(key)) and self._now() - found[0] < CACHED_S:
                return found[1]  # Another reader has asked meanwhile.
            if (wait_s := self._next_s - self._now()) > 0:
                self._sleep(wait_s)
            begun_s = self._now()
            answer = self._ask(name, arguments)
            ended_s = self._now()
            self._next_s = ended_s + PAUSE_RATIO * (ended_s - begun_s)
            self._answers[key] = (ended_s, answer)
            self._answers.move_to_end(key)
            while len(self._answers) > MOST_CACHED:
                self._answers.popitem(last=False)
            return answer
