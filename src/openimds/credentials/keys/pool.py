"""Keys for servers that come and go within one process, as they do from test to test.

A new key takes a tenth of a second, a server without one a thousandth. So the keys of the first
server are those of the next one as well; each server begins with the first, and none gets one
twice.
"""

from itertools import count
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    from openimds.credentials.keys.files import MakeKey


class KeyPool:
    """Keys in the order in which they were made. It may be used from any thread."""

    def __init__(self) -> None:
        """Begin without any."""
        self._keys: list[RSAPrivateKey] = []
        self._lock = Lock()

    def supply(self) -> "MakeKey":
        """Return what hands out the keys of the pool to one server, and makes those it lacks."""
        numbers = count()
        return lambda: self._key(next(numbers))

    def _key(self, number: int) -> "RSAPrivateKey":
        # Imported here: a pool that nobody draws from loads nothing that signs.
        from openimds.credentials.keys import files  # noqa: PLC0415 - see above

        with self._lock:
            while len(self._keys) <= number:
                self._keys.append(files.new_key())
            return self._keys[number]
