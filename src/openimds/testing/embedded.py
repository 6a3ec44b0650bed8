"""Start a metadata service inside this process, for any test runner or program."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeAlias

from openimds.dataplane.listeners import Tcp, address
from openimds.errors import ConfigError, Error
from openimds.testing.async_imds import AsyncImds
from openimds.testing.imds import Imds
from openimds.testing.options import FILES, LOOP, LOOP_REASON, check_names, server_options
from openimds.testing.server_thread import ReservedPort, RunningServer, ServerThread

Source: TypeAlias = Mapping[str, object] | str | Path
"""A fleet or document: its path, or the value itself."""
WHERE = "openimds.testing.serve"
_LISTEN, _LOOPBACK = "listen", "127.0.0.1"


def serve(
    fleet: Source | None = None,
    *,
    document: Source | None = None,
    vm: str = "",
    **settings: object,
) -> Imds:
    """Start a metadata service in this process, and return it once it answers.

    Use it in a `with` block, or call `close()`. It runs in a thread, reads neither OPENIMDS_...
    variables nor openimds.toml, and touches neither signals nor the environment. Unlike `openimds
    serve`, it listens at a free port of 127.0.0.1, has no rate limits, no admin API, no public
    listener and a virtual clock, and records requests.

    Args:
        fleet: a fleet file, a folder of them, or the content of one; by default one VM.
        document: a captured document, or its path, instead of a fleet.
        vm: the name of the VM under test, by default the first: callers from this process are it.
        settings: settings of `openimds serve` by name; `listen` is one HOST:PORT.

    Raises:
        ConfigError: an unknown or malformed setting, an invalid fleet, or a port in use.
        StoreError: the state folder cannot be used.
    """
    __tracebackhide__ = True
    sources = dict(zip(FILES, (fleet, document), strict=True))
    given = {name: source for name, source in sources.items() if source is not None}
    check_names(settings, {LOOP: LOOP_REASON}, WHERE)
    host, number = _tcp(str(settings.pop(_LISTEN, f"{_LOOPBACK}:0")))
    homes = (_LOOPBACK,) if host in {_LOOPBACK, "localhost"} else (_LOOPBACK, host)
    options = server_options({**given, **settings}, vm, homes, WHERE)
    try:
        port = ReservedPort(host, number)
    except OSError as error:
        seen = f"{host}:{number} ({error.strerror or error})"
        expected = "an address that is free here"
        raise ConfigError(f"{WHERE}: {_LISTEN}", seen, expected, "Leave it out") from None
    thread = ServerThread(port)

    def release() -> None:
        thread.close()
        port.close()

    messages: list[str] = []
    try:
        running = RunningServer(thread, options.startup, messages.append, WHERE)
    except BaseException:
        release()
        raise
    return Imds(running, options.vm, messages, release)


@asynccontextmanager
async def aserve(
    fleet: Source | None = None,
    *,
    document: Source | None = None,
    vm: str = "",
    **settings: object,
) -> AsyncIterator[AsyncImds]:
    """Serve as `serve` does, with calls that never block the caller's loop.

    Args:
        fleet: as in `serve`.
        document: as in `serve`.
        vm: as in `serve`.
        settings: as in `serve`.

    Raises:
        ConfigError, StoreError: as `serve`.
    """
    start = partial(serve, fleet, document=document, vm=vm, **settings)
    starting = asyncio.ensure_future(asyncio.to_thread(start))
    try:
        imds = await asyncio.shield(starting)
    except asyncio.CancelledError:
        # The thread goes on: its server must not outlive a block that never began.
        with suppress(Error):
            await asyncio.to_thread((await starting).close)
        raise
    try:
        yield AsyncImds(imds)
    finally:
        await asyncio.shield(asyncio.to_thread(imds.close))


def _tcp(listen: str) -> tuple[str, int]:
    wanted = address(listen, f"{WHERE}: {_LISTEN}")
    if not isinstance(wanted, Tcp):
        hint = "A VM may have other listeners in reach.listen"
        raise ConfigError(f"{WHERE}: {_LISTEN}", f'"{listen}"', "one HOST:PORT", hint)
    return wanted.host, wanted.port
