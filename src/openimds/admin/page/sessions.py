"""The sessions of the page: in memory, bounded, and each for one token.

A session is known by a random id, of which the hash is kept. It stands for a token by the digest of
that, so the session ends when the token does; the token itself is not kept. A restart ends all.
"""

import secrets
from collections import Counter
from collections.abc import Callable

from msgspec import Struct

from openimds.admin.token import token_digest

SESSION_S = 8 * 3600.0
"""The age at which a session ends, in use or not."""
MOST_SESSIONS = 1000
"""Sessions of all tokens; one more ends the oldest of the token that has the most."""
MOST_OF_TOKEN = 32
"""Sessions of one token; one more ends the oldest of them."""
_OCTETS = 32


class Session(Struct):
    """A session: its token's digest, its end on a steady clock, its CSRF token.

    `notice` is the result of the last form, for the next page to show.
    """

    digest: str
    ends_s: float
    csrf: str
    notice: str = ""


class Sessions:
    """All sessions by the hashes of their ids, oldest first."""

    def __init__(self, now: Callable[[], float]) -> None:
        """Begin without a session; `now` is a steady clock in seconds."""
        self._now = now
        self._by_hash: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._by_hash)

    def open(self, digest: str) -> tuple[str, Session]:
        """Begin a session for the token with a digest; return its id and itself."""
        self._drop_ended()
        if self._count(digest) >= MOST_OF_TOKEN:
            self._drop_oldest(digest)
        elif len(self._by_hash) >= MOST_SESSIONS:
            counts = Counter(session.digest for session in self._by_hash.values())
            self._drop_oldest(counts.most_common(1)[0][0])
        text = secrets.token_urlsafe(_OCTETS)
        session = Session(digest, self._now() + SESSION_S, secrets.token_urlsafe(_OCTETS))
        self._by_hash[token_digest(text)] = session
        return text, session

    def find(self, text: str) -> Session | None:
        """Return the session with an id, unless it has ended."""
        key = token_digest(text)
        session = self._by_hash.get(key)
        if session is not None and session.ends_s <= self._now():
            del self._by_hash[key]
            return None
        return session

    def close(self, text: str) -> None:
        """End the session with an id, if there is one."""
        self._by_hash.pop(token_digest(text), None)

    def _count(self, digest: str) -> int:
        return sum(session.digest == digest for session in self._by_hash.values())

    def _drop_ended(self) -> None:
        now_s = self._now()
        for key in [key for key, one in self._by_hash.items() if one.ends_s <= now_s]:
            del self._by_hash[key]

    def _drop_oldest(self, digest: str) -> None:
        key = next(key for key, session in self._by_hash.items() if session.digest == digest)
        del self._by_hash[key]
