"""A server in the place of a Kubernetes API, with TLS and a test's answers."""

import json
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.support.certificates import TestCa


@dataclass(frozen=True)
class ReplayedRequest:
    """A request as the server got it."""

    method: str
    path: str
    query: dict[str, str]
    token: str
    body: Any = None
    content_type: str = field(default="", compare=False)


@dataclass(frozen=True)
class ReplayedAnswer:
    """An answer: a JSON value, or the parts of a body.

    A part is sent as it comes, as a chunk unless the headers have a Content-Length. With `is_cut`
    the connection ends after the parts, in the middle of the body.
    """

    value: Any = None
    status: int = 200
    parts: Iterable[bytes] | None = None
    is_cut: bool = False
    headers: dict[str, str] = field(default_factory=dict)


class ReplayedApi:
    """The server: its URL, the files of its clients, and the requests so far."""

    def __init__(
        self,
        folder: Path,
        answer: Callable[[ReplayedRequest], ReplayedAnswer],
        address: str = "127.0.0.1",
    ) -> None:
        """Make the server for clients that call this address.

        Another than loopback may exist only later, so the server listens at all of them.
        """
        self.ca = TestCa(folder, "Cluster CA")
        self.token_file = folder / "token"
        self.token_file.write_text("token-1")
        self.requests: list[ReplayedRequest] = []
        certificate, key = self.ca.issue("apiserver", address)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        listen = address if address == "127.0.0.1" else ""
        self._server = _Server((listen, 0), _handler(self.requests, answer))
        self.port: int = self._server.server_address[1]
        self.url = f"https://{address}:{self.port}"

    @contextmanager
    def running(self) -> Iterator["ReplayedApi"]:
        """Serve within the block."""
        # The handshake is made by the thread of the connection, not by the one that accepts.
        self._server.socket = self._context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        """A client that ends a connection is no failure of a test."""


def _handler(
    requests: list[ReplayedRequest], answer: Callable[[ReplayedRequest], ReplayedAnswer]
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(length)) if length else None
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            query = dict(parse_qsl(parts.query))
            kind = self.headers.get("Content-Type", "")
            request = ReplayedRequest(self.command, parts.path, query, token, body, kind)
            requests.append(request)
            self._send(answer(request))

        do_POST = do_PATCH = do_GET  # noqa: N815 - the names that http.server calls

        def _send(self, answer: ReplayedAnswer) -> None:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            if answer.parts is None:
                body = json.dumps(answer.value).encode()
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                return
            is_chunked = "Content-Length" not in answer.headers
            if is_chunked:
                self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for part in answer.parts:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part) if is_chunked else part)
            if answer.is_cut:
                self.close_connection = True
            elif is_chunked:
                self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    return Handler


def line_of(kind: str, value: dict[str, Any]) -> bytes:
    """Return an event of a watch as the API writes it."""
    return json.dumps({"type": kind, "object": value}).encode() + b"\n"


def failure(code: int, reason: str, message: str) -> dict[str, Any]:
    """Return the `Status` object of a failure, as the API conventions of Kubernetes have it."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
