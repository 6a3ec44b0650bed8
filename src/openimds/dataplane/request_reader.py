"""The request that a connection reads: its parts, and the checks of them.

Sizes are bounded; a missing Host is refused; absolute-form targets are accepted. The parser accepts
more request lines than HTTP allows, and fewer methods. A refusal is a key of `facts.refusals`; the
first reason wins.
"""

import re

import httptools

from openimds.dataplane.dispatcher import Dispatcher, ParsedRequest
from openimds.dataplane.phase import TRANSITIONS, Phase, Step
from openimds.dataplane.response_bytes import CONNECTION_CLOSE

_NEVER = float("inf")
_LINE_BYTES = 64
"""The most of a request line beside its target."""
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_METHOD = re.compile(rb"(?:%b{1,32}(?: |$))" % _TOKEN)
_LINE = re.compile(rb"(%b{1,32}) (\S+) HTTP/1\.[01]\r\n" % _TOKEN)
_VERSION = re.compile(rb".* HTTP/1\.[01]\r\n", re.DOTALL)
_HOST = re.compile(
    rb"[ \t]*(?:\[[0-9A-Fa-f:.]+(?:%[\w.~-]+)?\]|[\w.~%!$&'()*+,;=-]*)(?::[0-9]*)?[ \t]*", re.ASCII
)
_PLAIN_HOST = re.compile(
    rb"[ \t]*(?:\[[0-9A-Fa-f:.]+(?:%[\w.~-]+)?\]|[0-9]{1,3}(?:\.[0-9]{1,3}){3}|localhost)"
    rb"(?::[0-9]*)?[ \t]*",
    re.ASCII,
)
"""A Host without a name that a web page can rebind; most requests have one of these."""
_LOOPBACK_NAMES = frozenset((b"localhost", b"host.docker.internal"))
_METHODS = frozenset(
    (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"CONNECT", b"TRACE")
)
"""Methods that the parser is shown; it is shown any other as one that no endpoint allows either."""
_STAND_IN = b"PATCH"
_KEPT = frozenset(
    (
        *(b"metadata", b"host", b"x-forwarded-for", b"authorization", b"secret"),
        *(b"x-identity-header", b"if-none-match", b"expect", b"origin"),
        *(b"content-length", b"transfer-encoding"),
    )
)
"""Headers that matter."""
# Looked up once: in Python 3.11 the attribute of an enum is a slow call.
_IDLE, _READING_HEAD = Phase.IDLE, Phase.READING_HEAD
_BEGIN = Step.BEGIN


class RequestReader:
    """The request that one connection reads, in its phase; the connection derives from it.

    So no request costs an object, and none of its checks a further look-up. `is_local` is true at a
    loopback listener.
    """

    is_local = False
    dispatcher: Dispatcher
    deadline_s = _NEVER
    phase = _IDLE
    _line = b""
    _target = _body = b""
    _method = _refusal = _head_refusal = _none_match = ""
    _fed_bytes = _length = _head_bytes = _body_bytes = _header_count = _host_count = 0
    _is_forwarded = _expects = _is_rebound = False
    _metadata_values: tuple[bytes, ...] = ()
    _credentials: tuple[tuple[str, str], ...] = ()
    _headers: tuple[tuple[str, str], ...] = ()

    def _move(self, step: Step) -> None:
        self.phase = TRANSITIONS[self.phase][step]

    def _forget_request(self) -> None:
        self._target = self._body = b""
        self._method = self._refusal = self._head_refusal = self._none_match = ""
        self._fed_bytes = self._length = self._head_bytes = self._body_bytes = 0
        self._header_count = self._host_count = 0
        self._is_forwarded = self._expects = self._is_rebound = False
        self._metadata_values, self._credentials, self._headers = (), (), ()

    def _checked_line(self, data: bytes) -> bytes:
        """Return the bytes for the parser: none before a request line is complete and correct.

        The parser accepts more lines than HTTP allows, and fewer methods.
        """
        line = self._line + data if self._line else data.lstrip(b"\r\n")
        if not line:
            return b""
        bounds = self.dispatcher.bounds
        if self.phase is _IDLE:
            self._move(_BEGIN)
            self.deadline_s = self.dispatcher.now() + bounds.head_s
        end, self._line = line.find(b"\n") + 1, b""
        found = _LINE.match(line) if end else None
        is_long = (end or len(line)) > bounds.target_bytes + _LINE_BYTES
        if is_long or (found and len(found[2]) > bounds.target_bytes):
            self._refuse("target_too_long")
        elif found and found.end() == end:
            method = found[1]
            if method in _METHODS:
                return line
            self._method = method.decode()
            return _STAND_IN + line[len(method) :]
        elif not _METHOD.match(line):
            self._refuse("malformed")
        elif not end:
            self._line = line
        else:
            self._refuse("line_malformed" if _VERSION.match(line, 0, end) else "malformed")
        return b""

    def on_url(self, url: bytes) -> None:
        """Collect the target, which may come in pieces."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count every header and keep those that matter."""
        self._head_bytes += len(name) + len(value) + 4
        self._header_count += 1
        bounds = self.dispatcher.bounds
        if self._head_bytes > bounds.head_bytes or self._header_count > bounds.header_count:
            self._refuse_head("headers_too_large")
        if self.phase is not _READING_HEAD:
            return  # A trailer behind a chunked body counts towards the bounds only.
        if self.dispatcher.observer is not None:
            shown = (name.lower().decode("latin-1"), value.decode("latin-1"))
            self._headers = (*self._headers, shown)
        name = name.lower()
        if name in _KEPT:
            self._keep(name, value)

    def _keep(self, name: bytes, value: bytes) -> None:
        """Keep a header that the response depends on, or check one that frames the request."""
        match name:
            case b"metadata":
                self._metadata_values = (*self._metadata_values, value.strip())
            case b"x-forwarded-for":
                self._is_forwarded = True
            case b"authorization" | b"secret" | b"x-identity-header":
                credential = (name.decode(), value.strip().decode("latin-1"))
                self._credentials = (*self._credentials, credential)
            case b"origin":
                self._is_rebound = True
            case b"if-none-match":
                self._none_match = value.strip().decode("latin-1")
            case _:
                self._check_frame(name, value)

    def _check_frame(self, name: bytes, value: bytes) -> None:
        """Check a header that frames the request."""
        match name:
            case b"host":
                self._host_count += 1
                if not _PLAIN_HOST.fullmatch(value):
                    self._check_name(value)
            case b"expect":
                self._expects = value.strip().lower() == b"100-continue"
                if not self._expects:
                    self._refuse_head("expectation_unknown")
            case b"content-length" if value.strip().isdigit():  # The parser refuses other values.
                self._length = int(value)
            case b"transfer-encoding" if value.strip().lower() != b"chunked":
                self._refuse_head("coding_unknown")

    def _check_name(self, value: bytes) -> None:
        """Check a Host that is no address."""
        if not _HOST.fullmatch(value):
            self._refuse_head("host_malformed")
        name = value.strip().partition(b":")[0].lower()
        if name not in _LOOPBACK_NAMES and name not in self.dispatcher.listen_hosts:
            self._is_rebound = True

    def on_body(self, body: bytes) -> None:
        """Collect a body within its bound."""
        self._body_bytes += len(body)
        if self._body_bytes > self.dispatcher.bounds.body_bytes:
            self._refuse("body_too_large")
        else:
            self._body += body

    def _request(self, method: str, parser: httptools.HttpRequestParser) -> ParsedRequest:
        is_old = parser.get_http_version() == "1.0"
        # The bytes behind CONNECT are not HTTP, so the connection cannot stay open.
        stays = parser.should_keep_alive() and method != "CONNECT"
        values = self._metadata_values
        return ParsedRequest(
            method=method,
            target=self._target,
            has_metadata_header=len(values) == 1 and values[0].lower() == b"true",
            is_header_exact=values in {(), (b"true",)},
            is_forwarded=self._is_forwarded,
            connection=CONNECTION_CLOSE if not stays else "keep-alive" if is_old else "",
            credentials=tuple(sorted(self._credentials)),
            body=self._body,
            none_match=self._none_match,
            is_rebound=self._is_rebound and self.is_local,
        )

    def _refuse_head(self, key: str) -> None:
        """Refuse the request once its head is complete.

        The parser tells of a header when the next one begins, or at the end of a piece: until the
        end of the head, a refusal would depend on the pieces.
        """
        if self.phase is _READING_HEAD:
            self._head_refusal = self._head_refusal or key
        else:
            self._refuse(key)

    def _refuse(self, key: str) -> None:
        """Refuse the request being read; the first reason wins."""
        self._refusal = self._refusal or key
