"""The request that a connection reads: its parts, and the checks of them.

The parser is httptools, which accepts more request lines than HTTP allows, and fewer methods. Sizes
are bounded; a missing Host is refused, and so is HTTP/0.9; absolute-form targets are accepted;
`Expect: 100-continue` is answered; an `Upgrade` is ignored. A refusal is a key of `facts.refusals`;
the first reason wins.
"""

import re

import httptools

from openimds.dataplane.bounds import READ_BYTES
from openimds.dataplane.parsed_request import ParsedRequest
from openimds.dataplane.phase import ConnectionSide, Phase, Step
from openimds.dataplane.response_bytes import CONNECTION_CLOSE

_SMALL = 2048
"""Requests up to this size, in bytes, are cached by their bytes."""
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
_BLANK_LINE = b"\r\n\r\n"
_NEW_EACH_TIME = re.compile(rb"\n([A-Za-z-]*[Rr]equest-[Ii][Dd]: [\w-]{1,64}\r\n)", re.ASCII)
"""A header that SDKs send with a new value in each request, and that changes no response."""
_NAME_OF_IT = b"equest-"
"""A part of its name that few requests have elsewhere."""
_REASONS = (
    ("Content-Length", "length_malformed"),
    ("Transfer-Encoding", "length_malformed"),
    ("chunk", "body_malformed"),
    ("url", "target_malformed"),
    ("header", "header_malformed"),
)
"""Parts of the parser's messages, and the refusals for them."""
# Looked up once: in Python 3.11 the attribute of an enum is a slow call.
_IDLE, _READING_HEAD, _READING_BODY = Phase.IDLE, Phase.READING_HEAD, Phase.READING_BODY
_BEGIN = Step.BEGIN


class RequestReader(ConnectionSide):
    """The request that one connection reads, in its phase; the connection derives from it.

    So no request costs an object, and none of its checks a further look-up. `is_judged` is true
    where web pages may call; see `arrivals`.
    """

    is_judged = False
    _parser: httptools.HttpRequestParser | None = None
    _raw = _before = _line = b""
    _target = _body = b""
    _method = _refusal = _head_refusal = _none_match = ""
    _fed_bytes = _length = _head_bytes = _body_bytes = _header_count = _host_count = 0
    _is_forwarded = _expects = _is_rebound = False
    _metadata_values: tuple[bytes, ...] = ()
    _credentials: tuple[tuple[str, str], ...] = ()
    _headers: tuple[tuple[str, str], ...] = ()

    def _forget_request(self) -> None:
        self._target = self._body = b""
        self._method = self._refusal = self._head_refusal = self._none_match = ""
        self._fed_bytes = self._length = self._head_bytes = self._body_bytes = 0
        self._header_count = self._host_count = 0
        self._is_forwarded = self._expects = self._is_rebound = False
        self._metadata_values, self._credentials, self._headers = (), (), ()

    def _most_fed(self) -> int:
        """Return the bytes of a head at which the request is refused."""
        return self.dispatcher.bounds.head_bytes + READ_BYTES

    def _first_of(self, data: bytes) -> bytes:
        """Return the bytes up to a blank line, or the rest of a body.

        No request ends inside of them, so that requests are parsed one by one.
        """
        end = self._length - self._body_bytes if self.phase is _READING_BODY else 0
        data = data[: self._most_fed() - self._fed_bytes] if self.phase < _READING_BODY else data
        if end <= 0:
            # The blank line may have begun with the bytes before.
            blank = (self._before + data).find(_BLANK_LINE)
            end = blank + len(_BLANK_LINE) - len(self._before) if blank >= 0 else len(data)
        return data if end >= len(data) else data[:end]

    def _parse(self, data: bytes) -> None:
        """Feed bytes to the parser; what is wrong with them becomes the refusal."""
        fed = data
        self._fed_bytes += len(data)
        self._raw = data if self.phase is _IDLE and len(data) <= _SMALL else b""
        if self._parser is None:
            self._parser = httptools.HttpRequestParser(self)
        try:
            if self.phase is _IDLE or self._line:
                data = self._checked_line(data)
            if data:
                self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The request itself was answered; a fresh parser reads the bytes behind it.
            self._parser = httptools.HttpRequestParser(self)
        except httptools.HttpParserCallbackError as error:
            # The parser wraps our own exceptions: report them, and do not blame the guest.
            self.dispatcher.on_internal_error(error.__context__ or error)
            self._refuse("server_error")
        except httptools.HttpParserError as error:
            text = str(error)
            self._refuse(next((key for part, key in _REASONS if part in text), "malformed"))
        self._before = b"" if self.phase is _IDLE else (self._before + fed)[-3:]
        if self.phase <= _READING_HEAD and self._fed_bytes >= self._most_fed():
            self._refuse("headers_too_large")

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
        if name in _LOOPBACK_NAMES or name in self.dispatcher.listen_hosts:
            return
        # Other containers call a service by one label, which no page of the public web has.
        if not (self.dispatcher.checks_hosts and name and b"." not in name):
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
            is_rebound=self._is_rebound and self.is_judged,
        )

    def _raw_request(self) -> bytes:
        """Return the chunk if it certainly is this one request and nothing else."""
        dispatcher = self.dispatcher
        if dispatcher.observer is not None or (self._is_rebound and dispatcher.judges_pages):
            # These bytes are refused where web pages may call, and mean another request elsewhere.
            return b""
        # A request with Expect needs 100 Continue each time, so it is always parsed.
        is_whole = (
            self._raw.endswith(_BLANK_LINE)
            and self._raw.count(_BLANK_LINE) == 1
            and not self._expects
        )
        return without_id(self._raw) if is_whole else b""

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


def without_id(data: bytes) -> bytes:
    """Return the bytes of a request without its first header that is new each time."""
    at = data.find(_NAME_OF_IT)
    if at < 0:
        return data
    found = _NEW_EACH_TIME.search(data, max(0, data.rfind(b"\n", 0, at)))
    return data[: found.start(1)] + data[found.end() :] if found else data
