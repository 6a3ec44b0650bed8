"""Web pages that call the data plane: Host, Origin, and the order of checks."""

import asyncio
import socket
from pathlib import Path

import pytest

from openimds.dataplane.connection import Connection
from openimds.dataplane.dispatcher import Dispatcher
from openimds.dataplane.listeners import listen, listen_on
from openimds.dataplane.reactor import Reactor
from openimds.dataplane.response_bytes import CountKey
from openimds.facts.refusals import refusal_row
from tests.support.talk import Reply, Talk, a_dispatcher, replies

VERSIONS = "/metadata/versions"
BODY = refusal_row("rebound", "").body.encode()


class JudgedConnection(Connection):
    is_judged = True


class LocalTalk(Talk):
    """One connection that a web page may have opened."""

    connection_type = JudgedConnection


def local(listen_hosts: frozenset[str] = frozenset(), *, checks_hosts: bool = False) -> Dispatcher:
    dispatcher = a_dispatcher(listen_hosts=listen_hosts, checks_hosts=checks_hosts)
    dispatcher.judge_pages()
    return dispatcher


def asking(host: str, *headers: str, method: str = "GET", path: str = VERSIONS) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def ask(talk: Talk, host: str, *headers: str) -> Reply:
    (reply,) = replies(talk.send(asking(host, "Metadata: true", *headers)))
    return reply


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:8169",
        "169.254.169.254",
        "[::1]:8169",
        "[fe80::1%eth0]",
        "localhost",
        "LOCALHOST:80",
        "host.docker.internal:8169",
        "Imds.Example:8169",
    ],
)
def test_host_without_a_rebound_name_is_served_on_loopback(host: str) -> None:
    talk = LocalTalk(local(frozenset({"imds.example"})))
    assert [ask(talk, host).status for _ in range(2)] == [200, 200]


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8169",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "imds.example.evil",
        "1.2.3",
        "",
    ],
)
def test_host_of_a_web_page_is_refused_on_loopback(host: str) -> None:
    dispatcher = local(frozenset({"imds.example"}))
    talk = LocalTalk(dispatcher)
    seen = [ask(talk, host) for _ in range(2)]
    assert [(reply.status, reply.body) for reply in seen] == [(403, BODY)] * 2
    assert b"listen_hosts" in BODY
    assert dispatcher.counts[CountKey("versions", 403, "rebound")].requests == 2


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:8169", "null"])
def test_origin_is_refused_on_loopback(origin: str) -> None:
    talk = LocalTalk(local())
    assert ask(talk, "127.0.0.1", f"Origin: {origin}").body == BODY
    assert ask(talk, "127.0.0.1").status == 200


@pytest.mark.parametrize("host", ["localhost:1@evil", "a b"])
def test_malformed_host_stays_a_bad_request(host: str) -> None:
    assert ask(LocalTalk(local()), host).status == 400


def test_two_hosts_stay_a_bad_request() -> None:
    assert ask(LocalTalk(local()), "127.0.0.1", "Host: evil.example").status == 400


@pytest.mark.parametrize(
    "method, path, headers, status",
    [
        ("HEAD", VERSIONS, ("Metadata: true",), 400),
        ("GET", VERSIONS, (), 400),
        ("GET", "/metadata/nothing", ("Metadata: true",), 404),
        ("DELETE", VERSIONS, ("Metadata: true",), 405),
        ("GET", VERSIONS, ("Metadata: true", "X-Forwarded-For: 10.0.0.1"), 403),
        ("GET", "/metadata/instance", ("Metadata: true",), 403),
    ],
    ids=["head", "no header", "path", "verb", "forwarded", "version"],
)
def test_web_page_is_refused_behind_the_verb(
    method: str, path: str, headers: tuple[str, ...], status: int
) -> None:
    data = asking("evil.example", *headers, method=method, path=path)
    (reply,) = replies(LocalTalk(local()).send(data), [method])
    assert reply.status == status


def test_name_is_served_on_other_listeners() -> None:
    talk = Talk(local())
    assert ask(talk, "evil.example", "Origin: http://evil.example").status == 200


@pytest.mark.parametrize("kinds", [(Talk, LocalTalk), (LocalTalk, Talk)])
def test_listeners_share_no_response_to_a_web_page(kinds: tuple[type[Talk], ...]) -> None:
    dispatcher = local()
    for _ in range(2):
        statuses = {kind: ask(kind(dispatcher), "evil.example").status for kind in kinds}
        assert statuses == {Talk: 200, LocalTalk: 403}


def test_response_of_before_is_not_served_to_a_web_page() -> None:
    """The bytes were cached while no loopback listener was open."""
    dispatcher = a_dispatcher()
    assert [ask(Talk(dispatcher), "evil.example").status for _ in range(2)] == [200, 200]
    dispatcher.judge_pages()
    assert ask(LocalTalk(dispatcher), "evil.example").status == 403


def test_name_is_cached_by_its_bytes_without_a_loopback_listener(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    talk = Talk(a_dispatcher())
    ask(talk, "a.example")
    parsed: list[bytes] = []
    monkeypatch.setattr(talk.connection, "_parse", parsed.append)
    assert ask(talk, "a.example").status == 200
    assert parsed == []


@pytest.mark.parametrize(
    "host, status",
    [
        ("imds", 200),
        ("imds_1:8169", 200),
        ("IMDS", 200),
        ("imds.", 403),
        ("imds.lab", 403),
        ("", 403),
        (":8169", 403),
    ],
)
def test_one_label_passes_only_where_every_host_is_checked(host: str, status: int) -> None:
    assert ask(LocalTalk(local(checks_hosts=True)), host).status == status
    assert ask(LocalTalk(local()), host).status == 403


def test_origin_beside_one_label_is_refused() -> None:
    assert ask(LocalTalk(local(checks_hosts=True)), "imds", "Origin: http://imds").body == BODY


async def answer(place: object, family: int = socket.AF_INET) -> bytes:
    """Return the first line of the answer to a page of another name."""
    with socket.socket(family) as client:
        client.settimeout(0)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, place)  # type: ignore[arg-type]
        await loop.sock_sendall(
            client, asking("evil.example", "Metadata: true", "Connection: close")
        )
        return (await loop.sock_recv(client, 4096)).partition(b"\r\n")[0]


@pytest.mark.parametrize("text", ["127.0.0.1:0", "0.0.0.0:0"])
def test_web_page_is_refused_at_a_loopback_address(text: str) -> None:
    async def run() -> None:
        reactor = Reactor(a_dispatcher())
        listener = await listen(reactor, text, "listen")
        port = int(listener.url.rpartition(":")[2])
        assert await answer(("127.0.0.1", port)) == b"HTTP/1.1 403 Forbidden"
        listener.close()
        reactor.close()

    asyncio.run(run())


def test_unix_listener_checks_no_host(tmp_path: Path) -> None:
    async def run() -> None:
        reactor = Reactor(a_dispatcher())
        listener = await listen(reactor, f"unix:{tmp_path}/s", "listen")
        assert await answer(f"{tmp_path}/s", socket.AF_UNIX) == b"HTTP/1.1 200 OK"
        listener.close()
        reactor.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    "is_in_sandbox, line", [(True, b"HTTP/1.1 200 OK"), (False, b"HTTP/1.1 403 Forbidden")]
)
def test_inherited_loopback_socket_checks_host_outside_a_sandbox(
    is_in_sandbox: bool, line: bytes
) -> None:
    async def run() -> None:
        reactor = Reactor(a_dispatcher())
        bound = socket.create_server(("127.0.0.1", 0))
        place = bound.getsockname()
        listener = listen_on(reactor, bound, is_in_sandbox=is_in_sandbox)
        assert await answer(place) == line
        listener.close()
        reactor.close()

    asyncio.run(run())
