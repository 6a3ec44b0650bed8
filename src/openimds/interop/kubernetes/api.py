"""Client of the Kubernetes API: get, post, patch and watch, with a service account's token."""

import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

import msgspec.json
from msgspec import Struct

from openimds.errors import BAD_JSON, ConfigError, Error
from openimds.interop.kubernetes.lines import CutLineError, LongLineError, lines

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""The folder into which Kubernetes mounts a pod's token, CA and namespace."""
HOST_VARIABLE = "KUBERNETES_SERVICE_HOST"
PORT_VARIABLE = "KUBERNETES_SERVICE_PORT"
ANSWER_BYTES = 64 << 20
"""The largest answer that is read. A list of 1,000 large VMs has about 20 MB."""
MERGE_PATCH = "application/merge-patch+json"
LINE_BYTES = 4 << 20
"""The longest line of a watch. An object has at most 1.5 MiB: etcd takes no larger request."""
ERROR_BYTES = 64 << 10
"""The part of an answer with an error status that is read."""
TOKEN_BYTES = 64 << 10
"""The largest token file that is read."""
TIMEOUT_S = 30
"""The longest silence of the API within an answer, and the longest time of a whole one."""
WATCH_SLACK_S = 30
"""How long after its `timeoutSeconds` a watch that the API has not ended is given up."""
_CHUNK_BYTES = 1 << 16
_KEEPALIVE = (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
"""A peer that has vanished ends an idle watch within 30 seconds."""
_ERROR = "ERROR"
_PATH = re.compile(r"[!-~]*")
"""The path of a URL as HTTP takes it; another one ends a request by an error."""
_USERINFO = re.compile(r"^([a-zA-Z]+://)?.*@", re.DOTALL)


class KubernetesError(Error):
    """A call of the API did not succeed."""


class ApiUnreachableError(KubernetesError):
    """The API cannot be reached, the connection broke, or its answer cannot be used."""


class ApiStatusError(KubernetesError):
    """The API answered with an error: its `Status` object.

    `status` is the HTTP status, such as 410; `reason` is one word for programs, such as `Expired`,
    and may be empty; `message` is for people. `retry_after_s` is that of the answer, or 0.
    """

    def __init__(
        self, call: str, status: int, reason: str, message: str, retry_after_s: int = 0
    ) -> None:
        """Keep the parts; `call` is the method and the path."""
        self.call, self.status, self.reason = call, status, reason
        self.message, self.retry_after_s = message, retry_after_s
        super().__init__(call, status, reason, message)

    def __str__(self) -> str:
        """Return one line: the call, the status and its reason, the message."""
        known = f"{self.status} {self.reason}".strip()
        return f"{self.call}: the Kubernetes API answers {known}: {self.message}"


class WatchEvent(Struct, frozen=True):
    """An event of a watch: ADDED, MODIFIED, DELETED or BOOKMARK, and the object."""

    type: str
    object: dict[str, Any]


class _ApiStatus(Struct):
    """The members of a `Status` object that are read."""

    code: int = 0
    reason: str = ""
    message: str = ""


class _Answer:
    """An answer whose head was read, and its connection; both end with the block."""

    def __init__(
        self, connection: HTTPConnection, response: HTTPResponse, opened: socket.socket
    ) -> None:
        """Take the connection and its socket, which a connection forgets that will end."""
        self.response = response
        self._connection, self._socket = connection, opened

    def patience(self, timeout_s: float) -> None:
        """Set the longest silence within the rest of the answer."""
        self._socket.settimeout(timeout_s)

    def close(self) -> None:
        """Close the connection; what was not read is lost."""
        self.response.close()
        self._connection.close()

    def __enter__(self) -> Self:
        """Return the answer."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self.close()


class KubernetesApi:
    """The API of a cluster. A call opens a connection of its own, and blocks."""

    def __init__(  # noqa: PLR0913 - an address, two files, and bounds
        self,
        url: str,
        ca_file: str = "",
        token_file: str = "",
        *,
        timeout_s: float = TIMEOUT_S,
        answer_bytes: int | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the URL, the file of its CA, and that of a token.

        Without a CA those of the system count; without a file of a token none is sent. `now` is a
        monotonic clock in seconds. An answer has at most `answer_bytes`, by default
        `ANSWER_BYTES`. Nothing is opened yet.

        Raises:
            ConfigError: the URL does not fit. Without TLS all could read the secrets in calls, so
                http is for `kubectl proxy` on this machine alone, which has a token of its own.
        """
        try:
            parts = urlsplit(url)
            self._host, self._port = parts.hostname or "", parts.port or 0
            self._host.encode("idna")  # As a connection does.
        except ValueError:  # Of which UnicodeError is one.
            parts, self._host, self._port = urlsplit(""), "", 0
        self._is_tls = parts.scheme == "https"
        is_safe = self._is_tls or (parts.scheme == "http" and _is_loopback(self._host))
        is_plain = not (parts.query or parts.fragment or "@" in url)
        is_text = _PATH.fullmatch(parts.path) and self._host.isprintable() and " " not in self._host
        if not (self._host and is_plain and is_text and is_safe) or (
            token_file and not self._is_tls
        ):
            expected = "https://HOST:PORT" + ("" if token_file else " or http://127.0.0.1:PORT")
            seen = _USERINFO.sub(r"\1***@", url)  # It may hold a password.
            raise ConfigError("URL of the Kubernetes API", f'"{seen}"', expected)
        self.url = url.rstrip("/")
        self._root = parts.path.rstrip("/")
        self._ca_file, self._token_file = ca_file, token_file
        self._timeout_s, self._now = timeout_s, now
        self._answer_bytes = ANSWER_BYTES if answer_bytes is None else answer_bytes

    @classmethod
    def from_pod(
        cls,
        environ: Mapping[str, str] | None = None,
        folder: Path = SERVICE_ACCOUNT,
        *,
        timeout_s: float = TIMEOUT_S,
        answer_bytes: int | None = None,
    ) -> "KubernetesApi":
        """Return the API of the cluster in which this process runs, by its service account.

        Raises:
            ConfigError: this process is in no pod with a service account's token.
        """
        variables = os.environ if environ is None else environ
        host, port = variables.get(HOST_VARIABLE, ""), variables.get(PORT_VARIABLE, "")
        hint = "Run it in a pod with automountServiceAccountToken, or name the URL of the API"
        for name, value in ((HOST_VARIABLE, host), (PORT_VARIABLE, port)):
            if not value:
                raise ConfigError(name, "nothing", "the address that a pod gets", hint)
        for name in ("ca.crt", "token"):
            if not (folder / name).is_file():
                raise ConfigError(str(folder / name), "no file", "that of a service account", hint)
        place = f"[{host}]" if ":" in host else host
        return cls(
            f"https://{place}:{port}",
            str(folder / "ca.crt"),
            str(folder / "token"),
            timeout_s=timeout_s,
            answer_bytes=answer_bytes,
        )

    def get(self, path: str, params: Mapping[str, str | int] | None = None) -> Any:  # noqa: ANN401 - JSON
        """Return the decoded answer to a GET.

        Raises:
            ApiStatusError: an error status.
            ApiUnreachableError: no answer, or none that can be used.
            ConfigError: the token or the CA cannot be read.
        """
        return self._ask("GET", _with_query(path, params))

    def post(self, path: str, body: object) -> Any:  # noqa: ANN401 - JSON
        """Send a value as JSON, and return the decoded answer.

        Raises:
            As `get`.
        """
        return self._ask("POST", path, msgspec.json.encode(body))

    def patch(self, path: str, body: object) -> Any:  # noqa: ANN401 - JSON
        """Merge a value into an object (RFC 7396), and return the decoded answer.

        Raises:
            As `get`.
        """
        return self._ask("PATCH", path, msgspec.json.encode(body))

    def watch(
        self, path: str, params: Mapping[str, str | int] | None = None, *, lasting_s: int = 300
    ) -> Iterator[WatchEvent]:
        """Yield the events of a watch with bookmarks; the request is sent for the first.

        `params` are its selectors and the `resourceVersion` to begin after. The API ends the watch
        after about `lasting_s`, and so does the iterator.

        Raises:
            ApiStatusError: an error status, or an event of the type ERROR.
            ApiUnreachableError: the connection broke, or a line is too long or no event.
            ConfigError: the token or the CA cannot be read.
        """
        own: dict[str, str | int] = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": lasting_s,
        }
        with self._opened("GET", _with_query(path, {**(params or {}), **own})) as answer:
            answer.patience(lasting_s + WATCH_SLACK_S)
            try:
                for line in lines(answer.response.read1, LINE_BYTES):
                    event = self._event(line)
                    if event.type == _ERROR:
                        text = msgspec.json.encode(event.object)
                        raise _status_error(f"GET {path}, while watching", text)
                    yield event
            except LongLineError:
                reason = f"a line of the watch has more than {LINE_BYTES:,} bytes"
                raise ApiUnreachableError(f"{self.url}: {reason}") from None
            except CutLineError:
                raise ApiUnreachableError(f"{self.url}: the watch ended within a line") from None
            except (OSError, HTTPException) as error:
                raise self._lost(error) from None

    def _ask(self, method: str, target: str, body: bytes | None = None) -> Any:  # noqa: ANN401 - JSON
        until_s = self._now() + self._timeout_s
        with self._opened(method, target, body) as answer:
            try:
                text = self._body(answer.response, until_s)
            except (OSError, HTTPException) as error:
                raise self._lost(error) from None
        try:
            return msgspec.json.decode(text)
        except BAD_JSON:
            raise ApiUnreachableError(f"{self.url}: the answer to {method} is not JSON") from None

    def _opened(self, method: str, target: str, body: bytes | None = None) -> "_Answer":
        """Return the answer to a request, of which only the head is read.

        A token that was rotated between its reading and the request is read a second time.
        """
        token = self._token()
        answer = self._sent(method, target, body, token)
        status = answer.response.status
        if status == HTTPStatus.UNAUTHORIZED and (newer := self._token()) != token:
            answer.close()
            answer = self._sent(method, target, body, newer)
        if answer.response.status < HTTPStatus.MULTIPLE_CHOICES:
            return answer
        with answer:
            try:
                text = answer.response.read(ERROR_BYTES)
            except (OSError, HTTPException):
                text = b""  # The status is known, and tells enough.
        after = answer.response.headers.get("Retry-After", "")
        after_s = int(after) if after.isascii() and after.isdecimal() else 0
        call = f"{method} {target.partition('?')[0]}"
        raise _status_error(call, text, answer.response.status, after_s)

    def _sent(self, method: str, target: str, body: bytes | None, token: str) -> "_Answer":
        headers = {"Accept": "application/json", "User-Agent": "openimds"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if body is not None:
            headers["Content-Type"] = MERGE_PATCH if method == "PATCH" else "application/json"
        connection = self._connection()
        try:
            connection.connect()
            opened: socket.socket = connection.sock
            _keep_alive(opened)
            connection.request(method, self._root + target, body, headers)
            return _Answer(connection, connection.getresponse(), opened)
        except (OSError, HTTPException) as error:
            connection.close()
            raise self._lost(error) from None

    def _connection(self) -> HTTPConnection:
        if not self._is_tls:
            return HTTPConnection(self._host, self._port or 80, timeout=self._timeout_s)
        try:
            context = ssl.create_default_context(cafile=self._ca_file or None)
        except OSError as error:
            seen = f"{self._ca_file} ({_reason(error)})"
            raise ConfigError("CA of the Kubernetes API", seen, "a file of CAs (PEM)") from None
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return HTTPSConnection(
            self._host, self._port or 443, timeout=self._timeout_s, context=context
        )

    def _token(self) -> str:
        """Return the token as the file has it now.

        Raises:
            ConfigError: it cannot be read, is empty, or is no text of a header.
        """
        if not self._token_file:
            return ""
        try:
            with Path(self._token_file).open("rb") as file:
                token = file.read(TOKEN_BYTES).decode("ascii").strip()
        except (OSError, ValueError) as error:
            seen = f"{self._token_file} ({_reason(error)})"
        else:
            if token and token.isprintable():
                return token
            seen = f"{self._token_file}, which holds no token"
        raise ConfigError("token for the Kubernetes API", seen, "a service account's token")

    def _body(self, response: HTTPResponse, until_s: float) -> bytes:
        """Return the whole body.

        Raises:
            ApiUnreachableError: it is too large.
            OSError: it took too long, or the connection broke.
        """
        parts: list[bytes] = []
        length = 0
        while chunk := response.read1(_CHUNK_BYTES):
            parts.append(chunk)
            length += len(chunk)
            if length > self._answer_bytes:
                reason = f"an answer has more than {self._answer_bytes:,} bytes"
                raise ApiUnreachableError(f"{self.url}: {reason}")
            if self._now() > until_s:
                raise TimeoutError("timed out")
        if response.length:  # read1 ends without an error where a body with a length is cut.
            raise ConnectionError("the connection ended within the answer")
        return b"".join(parts)

    def _event(self, line: bytes) -> WatchEvent:
        try:
            return msgspec.json.decode(line, type=WatchEvent)
        except BAD_JSON:
            reason = "a line of the watch is no event in JSON"
            raise ApiUnreachableError(f"{self.url}: {reason}") from None

    def _lost(self, error: Exception) -> ApiUnreachableError:
        if isinstance(error, ssl.SSLCertVerificationError):
            reason = f"its certificate is refused: {error.verify_message}"
        else:
            reason = _reason(error)
        return ApiUnreachableError(f"the Kubernetes API at {self.url} gives no answer ({reason})")


def _is_loopback(host: str) -> bool:
    """Tell whether a host of a URL is this machine by every name service."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _with_query(path: str, params: Mapping[str, str | int] | None) -> str:
    return f"{path}?{urlencode(params)}" if params else path


def _status_error(call: str, text: bytes, status: int = 0, after_s: int = 0) -> ApiStatusError:
    """Return the error of a `Status` object; other text becomes its message, shortened.

    That of a POST does not: it may repeat the request, of which a part may be a secret.
    """
    try:
        value = msgspec.json.decode(text, type=_ApiStatus)
    except BAD_JSON:
        message = " ".join(text[:200].decode("utf-8", "replace").split())
        if call.startswith("POST "):
            message = f"{len(text):,} bytes that are no Status object"
        value = _ApiStatus(message=message)
    message = value.message or "no message"
    return ApiStatusError(call, status or value.code, value.reason, message, after_s)


def _keep_alive(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        if hasattr(socket, name):  # macOS has another name for the first.
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _reason(error: Exception) -> str:
    """Return an error of the system or of HTTP in a few words."""
    reason = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    return str(reason).lower()
