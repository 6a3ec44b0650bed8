"""The tokens that operators make, as stored: names, times, hashes of secrets."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime

from msgspec import Struct

from openimds.admin.roles import FILE_TOKEN, Role
from openimds.errors import ConfigError

MOST_TOKENS = 1000
EXPIRED_KEPT_S = 30 * 86_400.0
"""A token is listed for so long after its end, then forgotten."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class FormerSecret(Struct, frozen=True, rename="camel"):
    """The secret before a rotation, which ends at a time in seconds since 1970."""

    sha256: str
    ends_s: float


class MadeToken(Struct, frozen=True, rename="camel"):
    """A token as stored; `sha256` is the digest of its secret in hexadecimal digits.

    `made` and `rotated` are times, `by` the caller that made it. `life_s` are the seconds for which
    a secret is valid, and `ends_s` is the end of this one, in seconds since 1970; None means that
    it has none. `former` is the secret before the last rotation, `select` the selector of VMs that
    the token is bound to, or nothing.
    """

    name: str
    role: Role
    sha256: str
    made: str
    by: str
    life_s: float | None = None
    ends_s: float | None = None
    rotated: str | None = None
    former: FormerSecret | None = None
    select: str = ""

    def is_over(self, now_s: float) -> bool:
        """Tell whether the token has expired."""
        return self.ends_s is not None and self.ends_s <= now_s

    @property
    def secrets(self) -> "tuple[TokenSecret, ...]":
        """The secrets by which the token is known, the newest first."""
        newest = TokenSecret(self, self.sha256, self.ends_s)
        if self.former is None:
            return (newest,)
        return newest, TokenSecret(self, self.former.sha256, self.former.ends_s)


class TokenSecret(Struct, frozen=True):
    """A secret of a token, by its hash; without `ends_s` it has no end."""

    token: MadeToken
    sha256: str
    ends_s: float | None

    def left_s(self, now_s: float) -> float | None:
        """Return the seconds until its end; None without one."""
        return None if self.ends_s is None else self.ends_s - now_s

    def why_ended(self, now_s: float) -> str:
        """Return why the secret has ended, with the remedy; empty while it is valid."""
        name = self.token.name
        if self.ends_s is None or self.ends_s > now_s:
            return ""
        if self.sha256 != self.token.sha256 and not self.token.is_over(now_s):
            return (
                f"This secret of the token {name} was replaced by openimds token rotate, and ended "
                f"at {time_of(self.ends_s)}. Use the new one"
            )
        return (
            f"The token {name} expired at {time_of(self.ends_s)}. Ask for a new secret: openimds "
            f"token rotate {name}, with a token of the role admin"
        )


def check_token_name(name: str) -> None:
    """Check the name of a new token.

    Raises:
        ConfigError: it does not fit.
    """
    if not _NAME.fullmatch(name) or name == FILE_TOKEN:
        expected = f"1 to 64 letters, digits, '.', '_' or '-', and another name than {FILE_TOKEN}"
        raise ConfigError("name", f'"{name[:80]}"', expected)


def still_listed(tokens: Iterable[MadeToken], now_s: float) -> list[MadeToken]:
    """Return the tokens by name, without those that expired long ago."""
    listed = [token for token in tokens if not token.is_over(now_s - EXPIRED_KEPT_S)]
    return sorted(listed, key=lambda token: token.name)


def with_a_place(tokens: list[MadeToken], now_s: float) -> list[MadeToken] | None:
    """Return the tokens with room for one more, without those that expired first.

    None if there is no room and no token has expired.
    """
    if len(tokens) < MOST_TOKENS:
        return tokens
    valid = [token for token in tokens if not token.is_over(now_s)]
    expired = [token for token in tokens if token.is_over(now_s)]
    if len(valid) >= MOST_TOKENS:
        return None
    expired.sort(key=lambda token: token.ends_s or 0.0, reverse=True)
    return [*valid, *expired[: MOST_TOKENS - 1 - len(valid)]]


def time_of(at_s: float) -> str:
    """Return a time in seconds since 1970 as RFC 3339."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds")
