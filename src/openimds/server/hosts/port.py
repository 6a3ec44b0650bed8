"""The port that hosts call: TLS, and who may say what on a connection."""

import asyncio
import ssl
from asyncio import StreamReader, StreamWriter
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from socket import socket
from typing import Any, Protocol

from openimds.errors import Error
from openimds.log.events import HOST_CONNECTED, HOST_GONE, HOST_REFUSED
from openimds.server.hosts.follower import reason_of
from openimds.server.hosts.handshakes import Handshakes, source_of
from openimds.server.hosts.messages import (
    FEED_VERSION,
    AskTrust,
    FromFleetHost,
    Hello,
    HostsRoots,
    Join,
    JoinByAccount,
    JoinedHost,
    Renew,
    Unproven,
    Wait,
    Welcome,
)
from openimds.server.hosts.session import HostSession
from openimds.server.notify import Notify
from openimds.server.seam.channel import (
    MOST_CALLS,
    CertificateRefusedError,
    Channel,
    ChannelClosedError,
)
from openimds.server.seam.messages import SeamMessage

MOST_HOSTS = 5000
"""All connections."""
MOST_PER_HOST = 4
"""The connections of one host: that which it uses, and those that have not ended yet."""
MOST_UNPROVEN = 32
"""The connections of callers without a certificate, who can only join."""
UNPROVEN_S = 15.0
"""The longest connection of such a caller; a host sends its first message in this time."""
MAX_UNPROVEN_BYTES = 64 << 10
"""The longest message of such a caller."""
MOST_UNPROVEN_MESSAGES = 1
"""The messages of such a caller that are answered at the same time; nothing more is read."""
MOST_MESSAGES = 2 * MOST_CALLS
"""Those of a host: all calls that it may have under way, and as many that it does not wait for."""
WAITING = "this control has not loaded its store yet"
_MESSAGES = 64
"""So many refusals are remembered, and not repeated."""


class HostsAuthority(Protocol):
    """Knows which hosts there are, and certifies their keys."""

    def roots(self) -> bytes:
        """Return the roots as PEM."""
        ...

    def host_of(self, certificate: bytes) -> str:
        """Return the name of the host with a certificate (DER).

        Raises:
            Error: the host or this certificate is revoked, or it is none of a host.
        """
        ...

    async def join(self, name: str, secret: bytes, csr: bytes) -> JoinedHost:
        """Certify the key of a new host.

        Raises:
            Error: the secret is wrong, has ended or was used.
        """
        ...

    async def admit(self, name: str, token: str, csr: bytes, source: str) -> JoinedHost:
        """Certify the key of a host whose pod has a service-account token.

        Raises:
            Error: the token does not prove the name, or the host is revoked.
        """
        ...

    async def renew(self, certificate: bytes, csr: bytes) -> JoinedHost:
        """Certify the next key of a host that has presented a certificate (DER).

        Raises:
            Error: the host is revoked, or the request does not fit.
        """
        ...


_NEEDED = "this takes the certificate of a host"
MakeSession = Callable[[str, Channel], HostSession]


class HostConnection:
    """A connection: of a host with a certificate, or of a caller without."""

    def __init__(
        self, port: "HostsPort", name: str, certificate: bytes, refusal: str = _NEEDED
    ) -> None:
        """Answer a host, or with an empty name a caller without a valid certificate.

        `refusal` is the reason for the latter.
        """
        self.channel: Channel
        self.name, self.certificate, self._refusal = name, certificate, refusal
        self.source = ""
        """The address of the caller."""
        self._port = port
        self.patience: asyncio.Timeout | None = None
        """The time for the first message of a host, or for all of a caller without certificate."""
        self._serving: asyncio.Task[None] | None = None

    async def answer(self, message: SeamMessage) -> Any:  # noqa: ANN401 - of the type that the message has
        """Answer a message.

        Raises:
            Error: the caller may not send it.
        """
        authority = self._port.authority
        match message:
            case AskTrust():
                return HostsRoots(authority.roots())
            case Join():
                return await authority.join(message.name, message.secret, message.csr)
            case JoinByAccount():
                return await authority.admit(message.name, message.token, message.csr, self.source)
        if not self.name:
            raise (CertificateRefusedError if self.certificate else Error)(self._refusal)
        match message:
            case Renew():
                return await authority.renew(self.certificate, message.csr)
            case Hello():
                return self._welcome(message)
        session = self._port.sessions.get(self.name)
        if session is None or session.channel is not self.channel:
            raise Error("the first message of a host is a Hello")
        return await session.answer(message)

    def _welcome(self, hello: Hello) -> Welcome | Wait:
        """Begin a session, or have the host wait.

        Raises:
            Error: the host speaks no version that this release knows, or its time has ended.
        """
        port = self._port
        if FEED_VERSION not in hello.versions:
            raise Error(
                f"the host {self.name} of release {hello.release} speaks the versions "
                f"{', '.join(map(str, hello.versions))} of the feed; this control speaks "
                f"{FEED_VERSION}"
            )
        if port.make_session is None:
            return Wait(WAITING)
        if self.patience:  # First: a session that is registered is served.
            if self.patience.expired():
                raise Error(f"the first message of the host {self.name} came too late")
            self.patience.reschedule(None)  # Its session looks after it from now on.
        session = port.make_session(self.name, self.channel)
        if before := port.sessions.get(self.name):
            before.channel.close()
        port.sessions[self.name] = session
        self._serving = asyncio.create_task(self._serve(session, hello))
        return session.welcome(hello)

    async def _serve(self, session: HostSession, hello: Hello) -> None:
        self._port.notify(
            HOST_CONNECTED.message(
                f"the host {self.name} follows this control", host=self.name, release=hello.release
            )
        )
        reason = "an error"
        try:
            await session.run(hello)
        except ChannelClosedError as error:
            reason = reason_of(error)
        except Exception as error:  # noqa: BLE001 - the host comes again
            self._port.report(
                HOST_REFUSED.message(
                    f"the host {self.name} is not served: {reason_of(error)}",
                    host=self.name,
                    reason=reason_of(error),
                )
            )
        finally:
            self.channel.close()
            if self._port.sessions.get(self.name) is session:
                del self._port.sessions[self.name]
            sentence = (
                f"the host {self.name} follows no longer ({reason}); its guests are served on"
            )
            self._port.notify(HOST_GONE.message(sentence, host=self.name, reason=reason))

    async def end(self) -> None:
        """Wait until the session has ended."""
        if self._serving:
            self._serving.cancel()
            await asyncio.gather(self._serving, return_exceptions=True)


class HostsPort:
    """Accepts hosts, those that join, and nobody else."""

    def __init__(
        self,
        authority: HostsAuthority,
        sessions: dict[str, HostSession],
        notify: Notify,
    ) -> None:
        """Begin while the fleet is loaded: every host has to wait."""
        self.authority, self.sessions, self.notify = authority, sessions, notify
        self.make_session: MakeSession | None = None
        """Makes the session of a host, once this control has loaded."""
        self._listening: socket | None = None
        self._handshakes: Handshakes
        self._accepting: asyncio.Task[None]
        self._connections: set[HostConnection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.report = lru_cache(_MESSAGES)(notify)
        """Reports a sentence that was not reported lately."""
        self._counts: Counter[str] = Counter()

    async def open(self, listening: socket, tls: ssl.SSLContext) -> None:
        """Accept connections."""
        self._listening = listening
        self._handshakes = Handshakes(tls, self._take, UNPROVEN_S)
        self._accepting = asyncio.create_task(self._handshakes.accept(listening))

    async def close(self) -> None:
        """Close the port and all connections."""
        if self._listening:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
            await self._handshakes.close()
            self._listening.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut_off(self, name: str) -> None:
        """Close the connections of a host, which is revoked."""
        for connection in [*self._connections]:
            if connection.name == name:
                connection.channel.close()

    def check_certificates(self) -> None:
        """Close the connections whose certificate has been revoked or has ended."""
        for connection in [*self._connections]:
            if connection.name:
                try:
                    self.authority.host_of(connection.certificate)
                except Error:
                    connection.channel.close()

    async def _take(self, reader: StreamReader, writer: StreamWriter) -> None:
        certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        await self.serve(reader, writer, certificate or b"")

    async def serve(self, reader: StreamReader, writer: StreamWriter, certificate: bytes) -> None:
        """Serve a connection; `certificate` is that of the host (DER), or empty."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        name, refusal = "", _NEEDED
        if certificate:
            try:
                name = self.authority.host_of(certificate)
            except Error as error:
                refusal = str(error)
                self.report(HOST_REFUSED.message(f"a host is refused: {refusal}", reason=refusal))
        most = MOST_PER_HOST if name else MOST_UNPROVEN
        if self._counts[name] >= most or len(self._connections) >= MOST_HOSTS:
            writer.transport.abort()
            return
        connection = HostConnection(self, name, certificate, refusal)
        peer = writer.get_extra_info("peername")
        connection.source = source_of(peer[0]) if isinstance(peer, tuple) else ""
        connection.channel = Channel(
            reader,
            writer,
            FromFleetHost if certificate else Unproven,
            connection.answer,
            max_frame_bytes=None if name else MAX_UNPROVEN_BYTES,
            most_under_way=MOST_MESSAGES if name else MOST_UNPROVEN_MESSAGES,
        )
        self._connections.add(connection)
        self._counts[name] += 1
        try:
            async with asyncio.timeout(UNPROVEN_S) as connection.patience:
                await connection.channel.run()
        except TimeoutError:
            pass
        finally:
            self._connections.discard(connection)
            self._counts[name] -= 1
            if not self._counts[name]:
                del self._counts[name]
            connection.channel.close()
            await connection.end()
            with suppress(OSError, asyncio.IncompleteReadError):
                await writer.wait_closed()
