"""Keys shared by servers that start in turn, as in a test run.

Generating a key takes a tenth of a second, starting a server without one a thousandth. So every
server gets the same keys in the same order: each begins with the first, and none gets a key twice.
"""

from itertools import count
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    from openimds.credentials.keys.files import MakeKey


class KeyPool:
    """Keys in the order in which they were made; usable from any thread."""

    def __init__(self) -> None:
        """Begin without keys."""
        self._keys: list[RSAPrivateKey] = []
        self._lock = Lock()

    def supply(self) -> "MakeKey":
        """Return a key source for one server: the pool's keys in turn, then new ones."""
        numbers = count()
        return lambda: self._key(next(numbers))

    def _key(self, number: int) -> "RSAPrivateKey":
        # Imported here: an unused pool does not load cryptography.
        from openimds.credentials.keys import files  # noqa: PLC0415 - see above

        with self._lock:
            while len(self._keys) <= number:
                self._keys.append(files.new_key())
            return self._keys[number]
