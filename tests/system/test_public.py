"""The public and admin ports of the real process beside guests that exhaust them."""

import socket
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from openimds.server.file_budget import MOST_PORT_CONNECTIONS
from tests.system.process import serving

pytestmark = pytest.mark.system


@pytest.mark.parametrize("port", ["public", "admin"])
def test_silent_connections_of_one_guest_leave_room_for_others(tmp_path: Path, port: str) -> None:
    with serving("--public", "127.0.0.1:0", cwd=tmp_path) as server, ExitStack() as stack:
        url = server.ready[port]
        to = ("127.0.0.1", urlsplit(url).port or 0)
        silent = [
            stack.enter_context(
                socket.create_connection(to, timeout=30, source_address=("127.0.0.31", 0))
            )
            for _ in range(300)
        ]
        # The oldest idle connections end for newcomers, the others stay open.
        for connection in silent[:-MOST_PORT_CONNECTIONS]:
            assert connection.recv(1) == b""
        transport = httpx2.HTTPTransport(local_address="127.0.0.32")
        client = stack.enter_context(httpx2.Client(transport=transport))
        path = "/pki/bundle.pem" if port == "public" else "/healthz"
        assert client.get(url + path).status_code == 200
        assert client.head(url + "/pki/bundle.pem").content == b""
        silent[-1].sendall(b"GET /pki/x.crt HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert silent[-1].recv(12) == b"HTTP/1.1 404"
        assert server.stop() == (0, "")


def test_torn_key_is_reported_once_and_hidden_from_guests(tmp_path: Path) -> None:
    with serving("--public", "127.0.0.1:0", "--state", "kept", cwd=tmp_path) as server:
        # Written after the start, which reads the keys.
        keys = tmp_path / "kept" / "keys"
        keys.write_text("no folder")
        with httpx2.Client(base_url=server.ready["public"]) as client:
            for tenant in ("1", "2", "3"):
                path = f"/{tenant * 8}-2222-3333-4444-555555555555/discovery/keys"
                got = client.get(path)
                assert (got.status_code, str(tmp_path) in got.text) == (503, False)
        code, err = server.stop()
    assert code == 0
    assert err.count(str(keys)) == err.count("\n") == 1
