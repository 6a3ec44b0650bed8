"""The admin port with a certificate, which is replaced while the port is open."""

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from openimds.admin import tls_files
from openimds.admin.tls_files import AdminTls, TlsFiles
from openimds.credentials.pki.certificate_info import end_of
from openimds.errors import ConfigError
from openimds.server.build import build
from openimds.server.server import Server
from openimds.server.startup import load
from openimds.settings import Settings
from tests.support.certificates import TestCa

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def answered(url: str, ca: TestCa, client: tuple[Path, Path] | None = None) -> str:
    """Return the status line of /healthz, and the common name of the server's certificate."""
    context = ssl.create_default_context(cafile=str(ca.path))
    if client:
        context.load_cert_chain(*client)
    port = int(url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("localhost", port, ssl=context)
    writer.write(HEALTH)
    line = (await reader.readline()).decode().strip()
    subject = writer.get_extra_info("peercert")["subject"]
    writer.transport.abort()
    return f"{line} {subject[0][0][1]}"


def settings(folder: Path, pair: tuple[Path, Path], **more: Any) -> Settings:
    ports: dict[str, Any] = {"listen": "127.0.0.1:0", "admin": "127.0.0.1:0", "public": "none"}
    files: dict[str, Any] = {"admin_cert": str(pair[0]), "admin_key": str(pair[1])}
    return Settings(state=str(folder / "state"), **ports, **files, **more)


def test_admin_port_follows_its_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openimds.admin.tls_files.LOOK_S", 0.01)
    ca = TestCa(tmp_path)
    pair = ca.issue("first", "localhost")

    async def work() -> None:
        loop, messages = asyncio.get_running_loop(), asyncio.Queue[str]()

        def notify(sentence: str) -> None:
            loop.call_soon_threadsafe(messages.put_nowait, sentence)

        server = build(load(settings(tmp_path, pair)), notify)
        try:
            ready = await server.start()
            assert ready.admin
            assert ready.admin.startswith("https://127.0.0.1:")
            assert await answered(ready.admin, ca) == "HTTP/1.1 200 OK first"
            samples = server.control.admin_ports.samples()
            expiry = samples["openimds_admin_certificate_expiry_timestamp_seconds"]
            assert expiry == end_of(pair[0].read_bytes()).timestamp()
            assert samples["openimds_port_connections_refused"]["admin"] == 0  # type: ignore[index]
            for old, new in zip(pair, ca.issue("second", "localhost"), strict=True):
                new.replace(old)
            while "uses the new certificate" not in await messages.get():
                pass
            assert await answered(ready.admin, ca) == "HTTP/1.1 200 OK second"
        finally:
            await server.stop(patience_s=0)

    asyncio.run(work())


def test_admin_port_demands_a_client_certificate(tmp_path: Path) -> None:
    ca, clients = TestCa(tmp_path), TestCa(tmp_path, "Clients CA")
    pair = ca.issue("first", "localhost")

    async def work() -> None:
        more = {"admin_client_ca": str(clients.path)}
        server: Server = build(load(settings(tmp_path, pair, **more)), lambda _: None)
        try:
            ready = await server.start()
            assert ready.admin
            right, wrong = clients.issue("client"), ca.issue("stranger")
            assert await answered(ready.admin, ca, right) == "HTTP/1.1 200 OK first"
            for client in (None, wrong):
                text = ""
                with suppress(ssl.SSLError, ConnectionError):
                    text = await answered(ready.admin, ca, client)
                assert "HTTP" not in text
        finally:
            await server.stop(patience_s=0)

    asyncio.run(work())


def test_start_with_a_bad_pair_names_the_file(tmp_path: Path) -> None:
    ca = TestCa(tmp_path)
    pair = (ca.issue("first", "localhost")[0], ca.issue("second", "localhost")[1])

    async def work() -> None:
        server = build(load(settings(tmp_path, pair)), lambda _: None)
        try:
            with pytest.raises(ConfigError, match=r"^admin_key: saw .*second\.key, which is not"):
                await server.start()
        finally:
            await server.stop(patience_s=0)

    asyncio.run(work())


def test_look_without_a_thread_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_files, "LOOK_S", 0.01)
    certificate, key = TestCa(tmp_path).issue("first", "localhost")
    tls = AdminTls(TlsFiles(str(certificate), str(key)), lambda _: None)

    async def work() -> None:
        looks: list[object] = []
        has_looked = asyncio.Event()

        async def to_thread(look: object) -> None:
            looks.append(look)
            if len(looks) == 1:
                raise RuntimeError("can't start new thread")
            has_looked.set()

        monkeypatch.setattr(asyncio, "to_thread", to_thread)
        following = asyncio.create_task(tls.follow())
        await has_looked.wait()
        following.cancel()
        assert looks[:2] == [tls.look, tls.look]

    asyncio.run(work())
