"""Calls between two processes over a pair of connected sockets.

A frame is four octets of length, and a body of MessagePack: its kind, the number of the call, and a
message, a result or an error.
"""

import asyncio
import socket
from asyncio import Future, StreamReader, StreamWriter, Task
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import IntEnum
from typing import Any

import msgspec.msgpack
from msgspec import MsgspecError, Raw, Struct

from openimds.errors import ConfigError, Error, shortage
from openimds.fleet.quarantine import TakenError
from openimds.fleet.store.port import StoreError
from openimds.server.seam.messages import MAX_FRAME_BYTES, SeamMessage

_LENGTH_OCTETS = 4
_HEAD_OCTETS = 16
"""The most octets of a frame before its message."""
MOST_CALLS = 1024
"""The calls under way in one direction; a further one waits."""
CLOSE_S = 10.0
"""The longest wait of a channel that ends for work that it has begun."""
_encode = msgspec.msgpack.Encoder().encode

Answer = Callable[[SeamMessage], Awaitable[Any]]
"""Does what a message asks, and returns its result."""


class ChannelClosedError(Error):
    """The process at the other end has ended, or does not speak these messages."""


class CertificateRefusedError(Error):
    """The other end lets the certificate of this process in no longer."""


class _FrameKind(IntEnum):
    CALL, POST, RESULT, ERROR = range(4)


_ASKING = frozenset({_FrameKind.CALL, _FrameKind.POST})


class _Frame(Struct, frozen=True, array_like=True):
    kind: _FrameKind
    number: int
    body: Raw


class WireError(Struct, frozen=True):
    """An error as it passes: its kind and its parts.

    `number` is that of the system's error behind it. The parts of a ConfigError are its four texts;
    a TakenError has three more. `refuses_certificate` is a member and no kind, so that a release
    without it reads the same text.
    """

    kind: str
    parts: tuple[str, ...]
    number: int = 0
    refuses_certificate: bool = False


def to_wire(error: BaseException) -> WireError:
    """Return an error as it passes."""
    lack = shortage(error)
    number = (lack.errno or 0) if lack else 0
    if isinstance(error, ConfigError):
        parts = (error.where, error.seen, error.expected, error.hint)
        if isinstance(error, TakenError):
            return WireError("taken", (*parts, error.name, error.claim, error.other), number)
        return WireError("config", parts, number)
    if isinstance(error, StoreError):
        return WireError("store", (str(error),), number)
    if isinstance(error, Error):
        is_refused = isinstance(error, CertificateRefusedError)
        return WireError("error", (str(error),), number, is_refused)
    return WireError("internal", (repr(error),), number)


def from_wire(wire: WireError) -> Exception:
    """Return the error that passed; its cause is the shortage behind it."""
    error: Exception
    match wire.kind, wire.parts:
        case "config", (where, seen, expected, hint):
            error = ConfigError(where, seen, expected, hint)
        case "taken", (where, seen, expected, hint, name, claim, other):
            error = TakenError(ConfigError(where, seen, expected, hint), name, claim, other)
        case "store", (text,):
            error = StoreError(text)
        case "error", (text,):
            error = CertificateRefusedError(text) if wire.refuses_certificate else Error(text)
        case _, parts:
            error = RuntimeError(*parts)
    if wire.number:
        error.__cause__ = OSError(wire.number, "a shortage in the other process")
    return error


class Channel:
    """One end of the seam: calls the other end, and answers its calls."""

    def __init__(  # noqa: PLR0913 - two streams, messages, their answer, and two bounds
        self,
        reader: StreamReader,
        writer: StreamWriter,
        messages: Any,  # noqa: ANN401 - a union of types
        answer: Answer,
        *,
        max_frame_bytes: int | None = None,
        most_under_way: int | None = None,
    ) -> None:
        """Answer the messages of a union of types; `run` reads them.

        A frame of more than `max_frame_bytes` ends the channel; None is the bound on all frames.
        While `most_under_way` messages are answered, nothing is read, and the other end has to
        wait. None is no bound: an answer that waits for the other end's result needs the reading.
        """
        self._rooms = asyncio.Semaphore(most_under_way) if most_under_way else None
        self._max_frame_bytes = max_frame_bytes or MAX_FRAME_BYTES
        self._reader, self._writer, self._answer = reader, writer, answer
        self._decode = msgspec.msgpack.Decoder(messages).decode
        self._calls: dict[int, tuple[Future[Any], Any]] = {}
        self._tasks: set[Task[None]] = set()
        self._last = 0
        self._places = asyncio.Semaphore(MOST_CALLS)
        self.is_closed = False

    async def call(self, message: SeamMessage) -> Any:  # noqa: ANN401 - of the type that the message has
        """Return the result of a message, once the other end has done it.

        Raises:
            ChannelClosedError: the other end has gone.
            Error: as the other end raised it, or the message is too long.
        """
        async with self._places:
            self._check()
            self._last += 1
            number = self._last
            future: Future[Any] = asyncio.get_running_loop().create_future()
            self._calls[number] = (future, type(message).result)
            try:
                self._send(_FrameKind.CALL, number, _checked(_encode(message)))
                await self._drain()
                return await future
            finally:
                self._calls.pop(number, None)

    def post(self, message: SeamMessage) -> None:
        """Send a message whose result does not matter.

        Messages are done in the order in which they were sent, as far as they do not wait.
        """
        if not self.is_closed:
            self._send(_FrameKind.POST, 0, _checked(_encode(message)))

    @property
    def unsent_bytes(self) -> int:
        """The octets that the other end has not read yet."""
        return self._writer.transport.get_write_buffer_size()

    async def run(self) -> None:
        """Answer the other end until it goes, or `close` is called; finish what has begun."""
        try:
            while True:
                length = int.from_bytes(await self._reader.readexactly(_LENGTH_OCTETS), "big")
                if length > self._max_frame_bytes:
                    break
                frame = msgspec.msgpack.decode(await self._reader.readexactly(length), type=_Frame)
                if self._rooms and frame.kind in _ASKING:
                    await self._rooms.acquire()
                self._take(frame)
        except (asyncio.IncompleteReadError, OSError, MsgspecError):
            pass  # An error of TLS, or the time-out of a dead peer, is no ConnectionError.
        finally:
            self.close()
            # Else they would change a host that the next control has begun to fill.
            if self._tasks:
                _, late = await asyncio.wait(self._tasks, timeout=CLOSE_S)
                for task in late:
                    task.cancel()

    def abort(self) -> None:
        """End the channel at once, without the end of TLS."""
        self.close()
        self._writer.transport.abort()

    def close(self) -> None:
        """End the channel; calls under way fail."""
        self.is_closed = True
        self._writer.close()
        for future, _ in self._calls.values():
            if not future.done():
                future.set_exception(ChannelClosedError("the other process has ended"))
                future.exception()  # Its caller may still be sending; asyncio would log this.

    def _take(self, frame: _Frame) -> None:
        if frame.kind in _ASKING:
            task = asyncio.get_running_loop().create_task(self._do(frame))
            self._tasks.add(task)
            task.add_done_callback(self._forget)
            return
        future, result = self._calls.get(frame.number, (None, None))
        if future is None or future.done():  # Its caller was cancelled.
            return
        kind = result if frame.kind is _FrameKind.RESULT else WireError
        try:
            value = msgspec.msgpack.decode(frame.body, type=kind)
        except MsgspecError as error:
            future.set_exception(error)
            return
        if frame.kind is _FrameKind.RESULT:
            future.set_result(value)
        else:
            future.set_exception(from_wire(value))

    def _forget(self, task: Task[None]) -> None:
        self._tasks.discard(task)
        if self._rooms:
            self._rooms.release()

    async def _do(self, frame: _Frame) -> None:
        try:
            body = _checked(_encode(await self._answer(self._message(frame))))
            kind = _FrameKind.RESULT
        except Exception as error:  # noqa: BLE001 - the caller gets it
            body, kind = _encode(to_wire(error)), _FrameKind.ERROR
        if frame.kind is _FrameKind.CALL and not self.is_closed:
            self._send(kind, frame.number, body)
            with suppress(ChannelClosedError):
                await self._drain()

    def _message(self, frame: _Frame) -> SeamMessage:
        """Return the message of a frame.

        Raises:
            Error: this release does not know it.
        """
        try:
            message: SeamMessage = self._decode(frame.body)
        except MsgspecError as error:
            raise Error(f"a message that this release does not know: {error}") from None
        return message

    def _send(self, kind: _FrameKind, number: int, body: bytes) -> None:
        frame = _encode(_Frame(kind, number, Raw(body)))
        self._writer.write(len(frame).to_bytes(_LENGTH_OCTETS, "big") + frame)

    async def _drain(self) -> None:
        try:
            await self._writer.drain()
        except OSError:
            raise ChannelClosedError("the other process has ended") from None

    def _check(self) -> None:
        if self.is_closed:
            raise ChannelClosedError("the other process has ended")


def _checked(body: bytes) -> bytes:
    """Return a message that the other end will read.

    Raises:
        Error: it is too long.
    """
    if len(body) > MAX_FRAME_BYTES - _HEAD_OCTETS:
        raise Error(
            f"a message of {len(body) >> 20} MiB between control and host exceeds the bound of "
            f"{MAX_FRAME_BYTES >> 20} MiB; make the change in smaller parts"
        )
    return body


async def open_channel(end: socket.socket, messages: Any, answer: Answer) -> Channel:  # noqa: ANN401 - a union of types
    """Return the channel on one of a pair of connected sockets."""
    reader, writer = await asyncio.open_connection(sock=end)
    return Channel(reader, writer, messages, answer)
