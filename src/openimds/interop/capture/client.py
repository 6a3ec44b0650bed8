"""One IMDS, asked one thing at a time."""

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
from openimds.interop.transcript.exchange import Exchange, RecordedRequest, RecordedResponse, answer
from openimds.interop.transcript.location import ATTESTED, place

_AUTHORITY = re.compile(r"[A-Za-z0-9._-]+(:\d+)?|\[[0-9A-Fa-f:.]+\](:\d+)?")
_WITH_LENGTH = ("POST", "PUT", "PATCH")
_AT_ONCE_BYTES = 1 << 16
_HTTP_PORT = 80


class ImdsAddress(Struct, frozen=True):
    """Where an IMDS is: what stands in Host, and where to connect to."""

    authority: str
    host: str
    port: int

    @property
    def url(self) -> str:
        """The URL of the server."""
        return f"http://{self.authority}"


def site(url: str, where: str) -> ImdsAddress:
    """Return the site of a URL; `where` is what gave it.

    Raises:
        ConfigError: it is none that can be asked.
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
    """Sends requests over connections of their own; nothing of the environment has a part in it."""

    def __init__(self, at: ImdsAddress, pace: Throttle, now: Callable[[], float]) -> None:
        """Ask there at this pace; `now` is a steady clock."""
        self.site = at
        self._pace, self._now = pace, now

    def ask(self, asked: PlannedQuestion) -> Exchange:
        """Return what came of a question, asked again where the answer says to come back."""
        away: RecordedResponse | None = None
        tries = 0
        while True:
            self._pace.turn()
            try:
                said = self._once(asked)
            except TimeoutError:
                return self._failed(asked, f"no whole answer within {asked.most_s:g} s")
            except OSError as error:
                return self._failed(asked, (error.strerror or str(error)).lower())
            except MessageError as error:
                return self._failed(asked, str(error))
            if not self._pace.rest(said.status, tries, said.value("Retry-After")):
                break
            away = away or said
            tries += 1
        return Exchange(asked.question, asked.version, asked.request, answer=said, turned_away=away)

    @staticmethod
    def _failed(asked: PlannedQuestion, why: str) -> Exchange:
        return Exchange(asked.question, asked.version, asked.request, failure=why)

    def _once(self, asked: PlannedQuestion) -> RecordedResponse:
        """Return the answer to one request.

        Raises:
            OSError: nobody answers in time.
            MessageError: what comes is no answer.
        """
        until_s = self._now() + asked.most_s
        message = Message(asked.request.method)
        where = self.site.host, self.site.port
        with socket.create_connection(where, timeout=asked.most_s) as connection:
            connection.sendall(self._bytes(asked.request))
            while True:
                # However little comes at a time, the whole has its bound.
                if (left_s := until_s - self._now()) <= 0:
                    raise TimeoutError
                connection.settimeout(left_s)
                data = connection.recv(_AT_ONCE_BYTES)
                if not data:
                    message.end()
                    break
                if message.feed(data):
                    break
        signed = _signed(message.body) if _is_signed(asked, message) else ""
        return answer(message.line, message.headers, message.body, signed)

    def _bytes(self, request: RecordedRequest) -> bytes:
        host = [f"Host: {self.site.authority}"] if request.has_host else []
        length = ["Content-Length: 0"] if request.method in _WITH_LENGTH else []
        headers = [f"{name}: {value}" for name, value in request.headers]
        lines = [f"{request.method} {request.target} HTTP/1.1", *host, *headers, *length]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _is_signed(asked: PlannedQuestion, message: Message) -> bool:
    is_good = message.line.split()[1] == b"%d" % HTTPStatus.OK
    return is_good and place(asked.request.target).document == ATTESTED


def _signed(body: bytes) -> str:
    """Return the text that an attested document signs, empty if it cannot be told."""
    # Imported on use: cryptography weighs more than all the rest.
    from openimds.credentials.pki.cms import EnvelopeError, open_envelope  # noqa: PLC0415 - see above

    try:
        value = msgspec.json.decode(body)
        octets = b64decode(value["signature"], validate=True)
        return (open_envelope(octets).payload or b"").decode()
    except (EnvelopeError, KeyError, TypeError, ValueError, RecursionError, msgspec.DecodeError):
        return ""
