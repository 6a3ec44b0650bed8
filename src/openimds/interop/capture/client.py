"""Client of one IMDS, which sends each request on a connection of its own."""

import re
import socket
from base64 import b64decode
from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import urlsplit

import msgspec.json
from msgspec import Struct

from openimds.errors import ConfigError
from openimds.interop.capture.http_message import Message, MessageError
from openimds.interop.capture.plan import PlannedQuestion
from openimds.interop.capture.throttle import Throttle
from openimds.interop.transcript.exchange import (
    Exchange,
    RecordedRequest,
    RecordedResponse,
    recorded_response,
)
from openimds.interop.transcript.location import ATTESTED, locate

_AUTHORITY = re.compile(r"[A-Za-z0-9._-]+(:\d+)?|\[[0-9A-Fa-f:.]+\](:\d+)?")
_WITH_LENGTH = ("POST", "PUT", "PATCH")
_CHUNK_BYTES = 1 << 16
_HTTP_PORT = 80


class ImdsAddress(Struct, frozen=True):
    """The address of an IMDS: its Host header, and its host and port."""

    authority: str
    host: str
    port: int

    @property
    def url(self) -> str:
        """The URL of the server."""
        return f"http://{self.authority}"


def imds_address(url: str, where: str) -> ImdsAddress:
    """Return the address in a URL; `where` names the option or argument of the URL.

    Raises:
        ConfigError: it is not http, or has more than a host and a port.
    """
    expected = "http://HOST or http://HOST:PORT, without a path"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError(where, f'"{url}"', expected) from None
    is_bare = parts.path in ("", "/") and not parts.query and not parts.fragment
    fits = parts.scheme == "http" and is_bare and _AUTHORITY.fullmatch(parts.netloc)
    if not fits or not parts.hostname or port == 0:
        raise ConfigError(where, f'"{url}"', expected)
    return ImdsAddress(parts.netloc, parts.hostname, port or _HTTP_PORT)


class CaptureClient:
    """Sends requests, each on a new connection; the environment (proxies) has no influence."""

    def __init__(self, address: ImdsAddress, throttle: Throttle, now: Callable[[], float]) -> None:
        """Take the address, the throttle of its requests, and a monotonic clock in seconds."""
        self.address = address
        self._throttle, self._now = throttle, now

    def ask(self, question: PlannedQuestion) -> Exchange:
        """Return the exchange of a question, repeated while the answer is "try again"."""
        turned_away: RecordedResponse | None = None
        tries = 0
        while True:
            self._throttle.wait_for_turn()
            try:
                response = self._exchange(question)
            except TimeoutError:
                return self._failed(question, f"no whole answer within {question.most_s:g} s")
            except OSError as error:
                return self._failed(question, (error.strerror or str(error)).lower())
            except MessageError as error:
                return self._failed(question, str(error))
            retry_after = response.value("Retry-After")
            if not self._throttle.wait_to_retry(response.status, tries, retry_after):
                break
            turned_away = turned_away or response
            tries += 1
        return Exchange(
            question.question,
            question.version,
            question.request,
            answer=response,
            turned_away=turned_away,
        )

    @staticmethod
    def _failed(question: PlannedQuestion, why: str) -> Exchange:
        return Exchange(question.question, question.version, question.request, failure=why)

    def _exchange(self, question: PlannedQuestion) -> RecordedResponse:
        """Return the answer to one request.

        Raises:
            OSError: there is no connection, or no whole answer in time.
            MessageError: the bytes are not an HTTP answer.
        """
        until_s = self._now() + question.most_s
        message = Message(question.request.method)
        where = self.address.host, self.address.port
        with socket.create_connection(where, timeout=question.most_s) as connection:
            connection.sendall(self._bytes(question.request))
            while True:
                # The bound is for the whole answer, however slowly its bytes arrive.
                if (left_s := until_s - self._now()) <= 0:
                    raise TimeoutError
                connection.settimeout(left_s)
                data = connection.recv(_CHUNK_BYTES)
                if not data:
                    message.end()
                    break
                if message.feed(data):
                    break
        signed = _signed_text(message.body) if _is_signed(question, message) else ""
        return recorded_response(message.line, message.headers, message.body, signed)

    def _bytes(self, request: RecordedRequest) -> bytes:
        host = [f"Host: {self.address.authority}"] if request.has_host else []
        length = ["Content-Length: 0"] if request.method in _WITH_LENGTH else []
        headers = [f"{name}: {value}" for name, value in request.headers]
        lines = [f"{request.method} {request.target} HTTP/1.1", *host, *headers, *length]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _is_signed(question: PlannedQuestion, message: Message) -> bool:
    is_ok = message.line.split()[1] == b"%d" % HTTPStatus.OK
    return is_ok and locate(question.request.target).document == ATTESTED


def _signed_text(body: bytes) -> str:
    """Return the text that an attested document signs, empty if it cannot be read."""
    # Imported on use: cryptography weighs more than all the rest.
    from openimds.credentials.pki.cms import EnvelopeError, open_envelope  # noqa: PLC0415 - see above

    try:
        value = msgspec.json.decode(body)
        octets = b64decode(value["signature"], validate=True)
        return (open_envelope(octets).payload or b"").decode()
    except (EnvelopeError, KeyError, TypeError, ValueError, RecursionError, msgspec.DecodeError):
        return ""
