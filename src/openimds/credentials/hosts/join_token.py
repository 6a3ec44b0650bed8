"""The join token: a line of text that an operator carries to a new host.

It has the host's name, a secret for one use, the fingerprint of the hosts' root, and a part of a
hash over all of that, so that a token that was cut or mistyped is known as such before control
is asked.
"""

import binascii
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256

from msgspec import Struct

from openimds.errors import ConfigError
from openimds.vm.names import is_name

SECRET_BYTES = 32
MAX_TOKEN_CHARACTERS = 512
OTHER_ROOT = (
    "the server at --control is not the one that made the join token: no root of its has the "
    "fingerprint in the token. Check the address, or make a new token: openimds control host "
    "add NAME"
)
_MARK = "openimds-join-1"
_CHECK_DIGITS = 8
_FINGERPRINT = re.compile("[0-9a-f]{64}")
_EXPECTED = f"the line that openimds control host add prints ({_MARK}.NAME....)"
_REMEDY = "Copy it as a whole, or make a new one: openimds control host add NAME"


class JoinToken(Struct, frozen=True):
    """A host's name, its secret, and the root's fingerprint in hexadecimal."""

    name: str
    secret: bytes
    fingerprint: str

    def text(self) -> str:
        """Return the token as one line, without its end."""
        secret = urlsafe_b64encode(self.secret).rstrip(b"=").decode()
        body = f"{_MARK}.{self.name}.{secret}.{self.fingerprint}"
        return f"{body}.{_check(body)}"


def new_secret() -> bytes:
    """Return a secret for one join."""
    return secrets.token_bytes(SECRET_BYTES)


def read_join_token(text: str, where: str = "--join-token-file") -> JoinToken:
    """Return the token in a text; space around it does not matter.

    Raises:
        ConfigError: the text is another one, or a token that was cut or changed.
    """
    line = text.strip()
    if not line.startswith(f"{_MARK}."):
        raise ConfigError(where, "text that is no join token", _EXPECTED, _REMEDY)
    # A name may have dots, the other parts have none.
    parts = line[len(_MARK) + 1 :].rsplit(".", 3)
    body, _, check = line.rpartition(".")
    if len(parts) < 4 or len(line) > MAX_TOKEN_CHARACTERS or check != _check(body):  # noqa: PLR2004 - the parts of the form above
        raise ConfigError(where, "a join token that was cut or changed", _EXPECTED, _REMEDY)
    name, secret, fingerprint, _ = parts
    try:
        octets = urlsafe_b64decode(f"{secret}=")
    except binascii.Error:
        octets = b""
    if not is_name(name) or len(octets) != SECRET_BYTES or not _FINGERPRINT.fullmatch(fingerprint):
        raise ConfigError(where, "a join token of another form", _EXPECTED, _REMEDY)
    return JoinToken(name, octets, fingerprint)


def _check(body: str) -> str:
    return sha256(body.encode()).hexdigest()[:_CHECK_DIGITS]
