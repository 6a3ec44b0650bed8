"""The record of one request, without secrets."""

from msgspec import Struct

MOST_BODY_BYTES = 8192
"""The longest body in a record; a longer one is cut, which its size shows."""


class Record(Struct, frozen=True):
    """A request and its response.

    `number` counts all requests of a server. `utc_s` is the time in seconds since 1970, `now_s` on
    the steady clock of the limits. `vm` is empty for an unknown caller, `target` for bytes that are
    no request. `headers` are the relevant ones, their names in lower case; secrets in them and in
    the target are masked. `endpoint`, `status` and `reason` are as counted: the key of the endpoint
    (`other` for an unknown path, `unknown_caller`, `http`), and the key of the refusal, if any.
    `size_bytes` is the size of the response's body. `body` is that body where it holds no secret,
    `sent` the approval of scheduled events in the request. `token_until_s` is the end of the token
    in the response. `fault` is the injected fault that took the place of the response.
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
        return next((value for header, value in self.headers if header == name), "")

    @property
    def line(self) -> str:
        """The request and its status in one line."""
        return " ".join(part for part in (self.method, self.target, str(self.status)) if part)
