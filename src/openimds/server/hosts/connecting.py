"""The way of a host to control: its address, TLS, and the join."""

import asyncio
import ssl
import time
from collections.abc import Callable, Collection
from typing import Any

from openimds.credentials.hosts.handshake import (
    check_control,
    first_contact_context,
    host_context,
    pinned_root,
)
from openimds.credentials.hosts.identity import HostIdentity
from openimds.credentials.hosts.join_token import OTHER_ROOT, JoinToken
from openimds.credentials.hosts.pod_files import PodProof
from openimds.errors import ConfigError, Error
from openimds.server.hosts.follower import Answer
from openimds.server.hosts.messages import (
    AskTrust,
    HostsRoots,
    Join,
    JoinByAccount,
    JoinedHost,
    ToFleetHost,
)
from openimds.server.seam.channel import Channel
from openimds.server.seam.messages import SeamMessage

DEFAULT_PORT = 8172
CONNECT_S = 10.0
"""The longest time for a connection and its handshake."""
_LAST_PORT = 65535
SHUTDOWN_S = 1.0
"""The longest wait for the end of TLS."""


def control_address(text: str) -> tuple[str, int]:
    """Return host and port of a control, as in `control-1:8172` or `[fd00::1]`.

    Raises:
        ConfigError: it is no address.
    """
    host, colon, digits = text.rpartition(":")
    if not colon or (text.endswith("]") and text.startswith("[")):
        host, digits = text, str(DEFAULT_PORT)
    try:
        host.encode("idna")
    except UnicodeError:
        host = ""
    is_port = digits.isascii() and digits.isdecimal() and 0 < int(digits) <= _LAST_PORT
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not host or not is_port or "/" in host or not host.isprintable():
        hint = "It is the address of --hosts of openimds control run"
        raise ConfigError("--control", f'"{text}"', "HOST:PORT", hint)
    return host, int(digits)


async def connect(control: str, context: ssl.SSLContext, answer: Answer) -> Channel:
    """Return a channel to a control whose certificate is control's.

    Raises:
        OSError: it cannot be reached, or its certificate does not verify.
        HostTrustError: its certificate is another's.
    """
    channel, certificate = await _open(control, context, answer)
    try:
        check_control(certificate)
    except Error:
        channel.close()
        raise
    return channel


async def join(
    control: str,
    token: JoinToken,
    identity: HostIdentity,
    utc: Callable[[], float] = time.time,
) -> None:
    """Have a control certify this host.

    The first connection only fetches the roots, which the token's fingerprint judges; the secret
    passes on a second one, to a control below them.

    Raises:
        OSError: the control cannot be reached.
        Error: it refuses, or is not the one of the token.
    """
    context = await _verified(control, (token.fingerprint,), OTHER_ROOT)
    channel = await connect(control, context, _refuse)
    message = Join(token.name, token.secret, await asyncio.to_thread(identity.request))
    joined: JoinedHost = await _ask(channel, message)
    await asyncio.to_thread(identity.accept, token.name, joined.certificate, joined.roots, utc())


async def join_by_account(
    control: str,
    name: str,
    proof: PodProof,
    identity: HostIdentity,
    utc: Callable[[], float] = time.time,
) -> None:
    """Have a control certify this host by its pod's token, as in `join`.

    Raises:
        OSError: the control cannot be reached.
        Error: it refuses, or is not the one of the fingerprints.
    """
    context = await _verified(control, proof.fingerprints, proof.other_root)
    channel = await connect(control, context, _refuse)
    message = JoinByAccount(name, proof.token, await asyncio.to_thread(identity.request))
    joined: JoinedHost = await _ask(channel, message)
    await asyncio.to_thread(identity.accept, name, joined.certificate, joined.roots, utc())


async def _verified(control: str, fingerprints: Collection[str], other_root: str) -> ssl.SSLContext:
    """Return the context for a control below a root that has one of these fingerprints.

    Raises:
        OSError: the control cannot be reached.
        HostTrustError: it has no such root.
    """
    channel, _ = await _open(control, first_contact_context(), _refuse)
    found: HostsRoots = await _ask(channel, AskTrust())
    return host_context(pinned_root(found.roots, fingerprints, other_root))


async def _open(
    control: str, context: ssl.SSLContext, answer: Answer
) -> tuple[Channel, bytes | None]:
    host, port = control_address(control)
    try:
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(
                host, port, ssl=context, server_hostname="", ssl_shutdown_timeout=SHUTDOWN_S
            )
    except TimeoutError:
        raise TimeoutError(f"no connection within {CONNECT_S:g} s") from None
    certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return Channel(reader, writer, ToFleetHost, answer), certificate


async def _ask(channel: Channel, message: SeamMessage) -> Any:  # noqa: ANN401 - of the type that the message has
    """Return the result of the only message of a connection.

    Raises:
        Error: control refuses it, or does not answer.
    """
    reading = asyncio.create_task(channel.run())
    try:
        async with asyncio.timeout(CONNECT_S):
            return await channel.call(message)
    except TimeoutError:
        raise TimeoutError(f"no answer within {CONNECT_S:g} s") from None
    finally:
        channel.close()
        await asyncio.wait({reading})


async def _refuse(_: SeamMessage) -> None:
    raise Error("this host has not joined")
