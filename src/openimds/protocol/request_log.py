"""One request as it is remembered, without anything in it that is secret."""

from msgspec import Struct

MOST_BODY_BYTES = 8192
"""So much of a body is kept; a longer one is cut, and its size tells."""


class Record(Struct, frozen=True):
    """What was asked and what was answered.

    `number` counts all requests of a server. `utc_s` is the time in seconds since 1970, `now_s` on
    the steady clock of limits. `vm` is empty for a caller who is no VM, `target` for bytes that are
    no request. `headers` are those that matter, their names in lower case; secrets in them and in
    the target are masked. `endpoint`, `status` and `reason` are as counted: the key of the endpoint
    (`other` for a path that none has, `unknown_caller`, `http`), and that of the refusal, if it
    was one. `size_bytes` is that of the answer's body. `body` is the body where it holds no
    secret, `sent` the approval of scheduled events that came with the request. `token_until_s` is
    when the token ends that was given. `fault` is what was played on purpose instead of the answer.
    """

    number: int
    utc_s: float
    now_s: float
    vm: str
    peer: str
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    endpoint: str
    status: int
    reason: str = ""
    size_bytes: int = 0
    body: bytes = b""
    sent: bytes = b""
    token_until_s: float = 0.0
    fault: str = ""

    def header(self, name: str) -> str:
        """Return the first header of a name in lower case, or nothing."""
        return next((value for one, value in self.headers if one == name), "")

    @property
    def line(self) -> str:
        """The request and its status in one line."""
        return " ".join(part for part in (self.method, self.target, str(self.status)) if part)
