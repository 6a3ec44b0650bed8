import asyncio
import errno
import select
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from openimds.dataplane.listeners import Netns, Tcp, Unix, address, bound_address, listen, listen_on
from openimds.dataplane.poll_set import Epoll
from openimds.dataplane.reactor import Reactor
from openimds.errors import ConfigError, shortage
from tests.support.talk import a_dispatcher, a_fleet, an_index, replies, request

ASK = request(
    "/metadata/instance/compute/name?api-version=2021-02-01&format=text",
    headers={"Metadata": "true", "Connection": "close"},
)


@pytest.mark.parametrize(
    "text, meant",
    [
        ("127.0.0.1:8169", Tcp("127.0.0.1", 8169)),
        ("localhost:0", Tcp("localhost", 0)),
        ("[::1]:80", Tcp("::1", 80)),
        ("unix:/run/x.sock", Unix("/run/x.sock")),
        ("netns:web-1", Netns("web-1", "169.254.169.254", 80)),
        ("netns:web-1@10.0.0.1:8080", Netns("web-1", "10.0.0.1", 8080)),
        ("netns:web-1@[fe80::a9fe:a9fe%eth0]:80", Netns("web-1", "fe80::a9fe:a9fe%eth0", 80)),
    ],
)
def test_address_is_parsed(text: str, meant: object) -> None:
    assert address(text, "listen") == meant


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8169",
        ":8169",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:x",
        "127.0.0.1:65536",
        "[::1:80",
        "a..b:80",
        f"{'x' * 64}.example:80",
    ],
)
def test_invalid_address_is_rejected(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        address(text, "listen")
    assert str(caught.value) == (
        f'listen: saw "{text}", expected HOST:PORT, [IPV6]:PORT, unix:/path or netns:NAME. '
        "Write 127.0.0.1:8169"
    )


@pytest.mark.parametrize(
    "text", ["netns:a\0b", "netns:a\nb", "unix:/run/a\0b", "unix:/run/\udc80", "a\0b:80"]
)
def test_unprintable_address_is_rejected(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        address(text, "vms.a.reach.listen")
    assert str(caught.value) == (
        f"vms.a.reach.listen: saw {text!a}, expected an address of printable characters"
    )


def test_relative_unix_path_is_rejected() -> None:
    with pytest.raises(ConfigError, match="expected unix: and an absolute path"):
        address("unix:run/x.sock", "listen")


@pytest.mark.parametrize(
    "text",
    ["netns:", "netns:.", "netns:..", "netns:a/b", "netns:@1.2.3.4:80", "netns:a@", "netns:a@b"],
)
def test_netns_without_valid_name_is_rejected(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        address(text, "vms.a.reach.listen")
    assert str(caught.value) == (
        f'vms.a.reach.listen: saw "{text}", expected netns:NAME or netns:NAME@HOST:PORT. '
        "ip netns list prints the names of namespaces"
    )


async def _ask(connection: object) -> bytes:
    reader, writer = await connection  # type: ignore[misc]
    writer.write(ASK)
    data = await reader.read()
    writer.close()
    (reply,) = replies(data)
    return reply.body


def test_tcp_listener_reports_its_real_port() -> None:
    async def talk() -> tuple[str, bytes]:
        listener = await listen(Reactor(a_dispatcher()), "127.0.0.1:0", "listen")
        host, port = listener.url.removeprefix("http://").split(":")
        body = await _ask(asyncio.open_connection(host, int(port)))
        listener.close()
        return listener.url, body

    url, body = asyncio.run(talk())
    assert body == b"vm-1"
    assert not url.endswith(":0")


def test_ipv6_listener_has_brackets_in_its_url() -> None:
    async def talk() -> str:
        listener = await listen(Reactor(a_dispatcher()), "[::1]:0", "listen")
        listener.close()
        return listener.url

    assert asyncio.run(talk()).startswith("http://[::1]:")


def test_unix_listener_belongs_to_its_vm_and_removes_its_file(tmp_path: Path) -> None:
    path = tmp_path / "b.sock"

    async def talk() -> bytes:
        b = {"reach": {"listen": [f"unix:{path}"]}}
        dispatcher = a_dispatcher(an_index(*a_fleet(a={}, b=b)))
        listener = await listen(Reactor(dispatcher), f"unix:{path}", "listen", is_own=True)
        body = await _ask(asyncio.open_unix_connection(str(path)))
        listener.close()
        listener.close()
        return body

    assert asyncio.run(talk()) == b"b"
    assert not path.exists()


def test_stale_socket_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "old.sock"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))

    async def talk() -> str:
        listener = await listen(Reactor(a_dispatcher()), f"unix:{path}", "listen")
        listener.close()
        return listener.url

    assert asyncio.run(talk()) == f"unix:{path}"


def test_socket_of_another_server_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "live.sock"
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(str(path))
        live.listen()
        with pytest.raises(ConfigError, match="another server listens there"):
            asyncio.run(listen(Reactor(a_dispatcher()), f"unix:{path}", "listen"))
    assert path.exists()


def test_unix_socket_where_the_system_has_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.sock"
    with asyncio.Runner() as runner:
        runner.get_loop()  # asyncio itself asks for the family while it makes its loop.
        monkeypatch.delattr(socket, "AF_UNIX")
        with pytest.raises(ConfigError, match="this system has no unix sockets"):
            runner.run(listen(Reactor(a_dispatcher()), f"unix:{path}", "listen"))


def test_file_that_is_not_a_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(ConfigError, match="the file exists and is not a socket"):
        asyncio.run(listen(Reactor(a_dispatcher()), f"unix:{path}", "listen"))
    assert path.read_text() == "mine"


def test_port_in_use_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            asyncio.run(listen(Reactor(a_dispatcher()), f"127.0.0.1:{port}", "listen"))
    assert str(caught.value) == (
        f"listen: saw 127.0.0.1:{port} (address already in use), expected an address that is free "
        "here. Write another port; port 0 is any free one"
    )


def test_host_with_a_taken_address_leaves_no_socket_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[socket.socket] = []

    def bound(family: int, place: object) -> socket.socket:
        if opened:
            raise OSError(errno.EADDRINUSE, "")
        opened.append(socket.create_server(("127.0.0.1", 0)))
        return opened[0]

    async def two(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, 1, 6, "", ("127.0.0.1", port)) for port in (1, 2)]

    async def play() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", two)
        await listen(Reactor(a_dispatcher()), "two.example:0", "listen")

    monkeypatch.setattr("openimds.dataplane.listeners._bound", bound)
    with pytest.raises(ConfigError, match="address already in use"):
        asyncio.run(play())
    assert opened[0].fileno() == -1


def test_port_without_privilege_names_the_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("openimds.dataplane.listeners._bound", refuse)
    with pytest.raises(ConfigError) as caught:
        asyncio.run(listen(Reactor(a_dispatcher()), "0.0.0.0:80", "listen"))
    assert str(caught.value) == (
        "listen: saw 0.0.0.0:80 (permission denied), expected an address that is free here. Write "
        "a port of 1024 or above; those below need the capability NET_BIND_SERVICE"
    )


def test_inherited_tcp_socket_is_served() -> None:
    async def talk() -> tuple[bytes, bytes]:
        dispatcher = a_dispatcher(an_index(*a_fleet(a={}, b={})))
        mine = socket.create_server(("127.0.0.1", 0))
        port = mine.getsockname()[1]
        listener = listen_on(Reactor(dispatcher), mine, "b")
        assert listener.url == f"http://127.0.0.1:{port}"
        known = await _ask(asyncio.open_connection("127.0.0.1", port))
        dispatcher.fleet_index.apply(dispatcher.fleet_index.plan([], ["b"]))
        dispatcher.fleet_index.apply(dispatcher.fleet_index.plan(a_fleet(c={})))
        gone = await _ask(asyncio.open_connection("127.0.0.1", port))
        listener.close()
        return known, gone

    known, gone = asyncio.run(talk())
    assert known == b"b"
    assert gone == b'{"error":"Not found"}'


def test_inherited_unix_socket_keeps_its_file(tmp_path: Path) -> None:
    path = tmp_path / "given.sock"

    async def talk() -> bytes:
        mine = socket.socket(socket.AF_UNIX)
        mine.bind(str(path))
        mine.listen()
        listener = listen_on(Reactor(a_dispatcher()), mine)
        assert listener.url == f"unix:{path}"
        body = await _ask(asyncio.open_unix_connection(path))
        listener.close()
        return body

    assert asyncio.run(talk()) == b"vm-1"
    assert path.exists()


def test_netns_listener_is_opened_by_the_enter_callback() -> None:
    entered: list[tuple[Netns, str]] = []
    is_stale = False

    def enter(wanted: Netns, where: str) -> tuple[socket.socket, Callable[[], bool]]:
        entered.append((wanted, where))
        return socket.create_server(("127.0.0.1", 0)), lambda: is_stale

    async def talk() -> bytes:
        nonlocal is_stale
        fleet = a_fleet(a={}, b={"reach": {"listen": ["netns:b"]}})
        dispatcher = a_dispatcher(an_index(*fleet))
        listener = await listen(
            Reactor(dispatcher), "netns:b", "vms.b.reach.listen", is_own=True, enter=enter
        )
        assert not listener.is_stale()
        is_stale = True
        assert listener.is_stale()
        body = await _ask(asyncio.open_connection("127.0.0.1", int(listener.url.split(":")[-1])))
        listener.close()
        return body

    assert asyncio.run(talk()) == b"b"
    assert entered == [(Netns("b", "169.254.169.254", 80), "vms.b.reach.listen")]


def test_netns_without_enter_callback_is_rejected() -> None:
    with pytest.raises(ConfigError) as caught:
        asyncio.run(listen(Reactor(a_dispatcher()), "netns:b", "listen"))
    assert str(caught.value) == (
        "listen: saw netns:b, expected HOST:PORT or unix:/path (this process cannot open network "
        "namespaces)"
    )


def test_tcp_listener_is_never_stale() -> None:
    async def talk() -> bool:
        listener = await listen(Reactor(a_dispatcher()), "127.0.0.1:0", "listen")
        listener.close()
        return listener.is_stale()

    assert asyncio.run(talk()) is False


@pytest.mark.parametrize("text", ["127.0.0.1:0", "[::1]:0"])
def test_reopened_listener_keeps_its_drawn_port(text: str) -> None:
    async def play() -> None:
        dispatcher = a_dispatcher(an_index(*a_fleet(a={"reach": {"listen": [text]}}, b={})))
        first = await listen(Reactor(dispatcher), text, "listen", is_own=True)
        first.close()
        host, _, port = first.url.removeprefix("http://").rpartition(":")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(host.strip("[]"), int(port))
        again = await listen(
            Reactor(dispatcher), text, "listen", is_own=True, at=bound_address(first, text)
        )
        assert again.url == first.url
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        writer.write(ASK)
        assert replies(await reader.read())[0].body == b"a"
        writer.close()
        again.close()

    asyncio.run(play())


def test_reopened_unix_socket_keeps_its_path(tmp_path: Path) -> None:
    async def play() -> None:
        text = f"unix:{tmp_path}/a"
        listener = await listen(Reactor(a_dispatcher()), text, "listen")
        assert (listener.url, bound_address(listener, text)) == (text, text)
        listener.close()

    asyncio.run(play())


def test_reopening_a_taken_address_is_reported() -> None:
    async def play() -> None:
        dispatcher = a_dispatcher()
        first = await listen(Reactor(dispatcher), "127.0.0.1:0", "listen")
        with pytest.raises(ConfigError, match="an address that is free here"):
            await listen(
                Reactor(dispatcher), "127.0.0.1:0", "listen", at=bound_address(first, "127.0.0.1:0")
            )
        first.close()

    asyncio.run(play())


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="epoll is Linux's")
def test_listener_without_memory_leaves_no_socket(tmp_path: Path) -> None:
    async def play() -> None:
        def no_memory(_descriptor: int, _events: int) -> None:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")

        poll_set = Epoll()
        reactor = Reactor(a_dispatcher(), poll_set)
        first = await listen(reactor, "127.0.0.1:0", "listen")
        bound = socket.create_server(("127.0.0.1", 0))
        unix = f"unix:{tmp_path}/b"
        register, poll_set.register = poll_set.register, no_memory
        for text in ("netns:b", unix):
            with pytest.raises(ConfigError) as caught:
                await listen(reactor, text, "listen", enter=lambda *_: (bound, lambda: False))
            assert shortage(caught.value)
        assert bound.fileno() == -1
        # A pause touches every listener that the reactor knows.
        reactor.pause_accepting(OSError(errno.EMFILE, ""))
        poll_set.register = register
        for listener in (first, await listen(reactor, unix, "listen")):
            listener.close()
        reactor.close()

    asyncio.run(play())


def test_system_that_cannot_defer_serves_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "TCP_DEFER_ACCEPT", raising=False)

    async def play() -> int:
        listener = await listen(Reactor(a_dispatcher()), "127.0.0.1:0", "listen")
        deferred_s = listener.sockets[0].getsockopt(socket.IPPROTO_TCP, 9)  # Linux's number.
        listener.close()
        return deferred_s

    assert asyncio.run(play()) == 0


def test_internal_mistake_is_not_blamed_on_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr("openimds.dataplane.listeners._bound", fail)
    with pytest.raises(RuntimeError, match="a mistake"):
        asyncio.run(listen(Reactor(a_dispatcher()), "127.0.0.1:0", "listen"))
