"""The keys and certificates of a host in another process; the calls block."""

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from openimds.protocol.generation_walk import GenerationWalk
from openimds.server.seam.messages import CallCredentials, ReadWalk, Rehearse, SeamMessage, Spoil

Wait: TypeAlias = Callable[[SeamMessage], Any]
"""Returns the result of a message; called in another thread than that of the event loop."""


class KeyState(Struct, frozen=True):
    """A key of tokens as it passed; see `credentials.keys.keyring.KeyInfo`."""

    kid: str
    began_s: float
    retired_s: float | None = None
    until_s: float | None = None


class RemoteCredentials:
    """The keys and certificates of a host in another process; its methods block."""

    def __init__(self, wait: Wait, forget: Callable[[], None]) -> None:
        """Ask by `wait`; `forget` drops what control has cached of published documents."""
        self._wait, self._forget = wait, forget
        self.ca = RemoteCertificates(self)
        self.hardware = RemoteHardware(self)

    def call(self, name: str, *arguments: str | float) -> Any:  # noqa: ANN401 - of any method
        """Call a method of the host's credentials by its name."""
        return self.ask(CallCredentials(name, arguments))

    def change(self, name: str, *arguments: str | float) -> None:
        """Call a method that changes what is published."""
        self.ask_change(CallCredentials(name, arguments))

    def ask(self, message: SeamMessage) -> Any:  # noqa: ANN401 - of the type that the message has
        """Return the result of a message."""
        return self._wait(message)

    def ask_change(self, message: SeamMessage) -> None:
        """Send a message that changes what is published."""
        self._wait(message)
        self._forget()

    def key_infos(self, now_s: float) -> tuple[KeyState, ...]:
        """Return the published keys of tokens, newest first."""
        return msgspec.convert(self.call("key_infos", now_s), tuple[KeyState, ...])

    def rotate(self, now_s: float) -> None:
        """Sign tokens with a new key from now on."""
        self.change("rotate", now_s)


class RemoteCertificates:
    """The CA certificates of attested documents of a host in another process."""

    def __init__(self, credentials: RemoteCredentials) -> None:
        """Call through these credentials."""
        self._credentials = credentials
        self._call, self._change = credentials.call, credentials.change

    def certificate_infos(self, now_s: float) -> list[object]:
        """Return the public facts of each published certificate, those in use first."""
        return list(self._call("ca.certificate_infos", now_s))

    def bundle(self, now_s: float) -> bytes:
        """Return the trust bundle as PEM."""
        found: bytes = self._call("ca.bundle", now_s)
        return found

    def revoke(self, target: str, reason: str, now_s: float) -> None:
        """Revoke leaves or a CA certificate, and replace them where they are in use."""
        self._change("ca.revoke", target, reason, now_s)

    def revocation_status(self, now_s: float) -> object:
        """Return the standing of all certificates, and the served lists."""
        status: object = self._call("ca.revocation_status", now_s)
        return status

    def rotate(self, part: str, now_s: float, generation: str = "") -> None:
        """Replace the leaf, the intermediate or the root, the latter two in a generation's form."""
        self._change("ca.rotate", part, now_s, generation)

    def rehearse(self, walk: GenerationWalk, now_s: float) -> None:
        """Begin a walk through generations."""
        self._credentials.ask_change(Rehearse(walk, now_s))

    def end_rehearsal(self, now_s: float) -> None:
        """Stay at the present generation."""
        self._change("ca.end_rehearsal", now_s)

    def walk(self, now_s: float) -> GenerationWalk | None:
        """Return the rehearsal under way or completed, if there is one."""
        found: GenerationWalk | None = self._credentials.ask(ReadWalk(now_s))
        return found


class RemoteSpoiltAnswers:
    """The signed answers that are wrong on purpose, by a host in another process."""

    def __init__(self, wait: Wait) -> None:
        """Ask by `wait`."""
        self._wait = wait
        self.has_unknown_root = False

    def certificate(self, octets: bytes, answer: str) -> bytes:
        """Return the same CA, as certified otherwise."""
        self.has_unknown_root = True  # It may have one from now on.
        found: bytes = self._wait(Spoil("certificate", (octets, answer)))
        return found

    def unknown_root(self, name: str) -> bytes | None:
        """Return the DER of the unknown root by its name."""
        found: bytes | None = self._wait(Spoil("unknown_root", (name,)))
        return found

    def stale_list(self, octets: bytes) -> bytes:
        """Return a list with the same entries that has ended."""
        found: bytes = self._wait(Spoil("stale_list", (octets,)))
        return found

    def ocsp_response(self, request: bytes | str, answer: str) -> bytes:
        """Return the response to an OCSP request: DER, or the path of a GET."""
        found: bytes = self._wait(Spoil("ocsp_response", (request, answer)))
        return found


class RemoteHardware:
    """The CA certificates of processors of a host in another process."""

    def __init__(self, credentials: RemoteCredentials) -> None:
        """Call through these credentials."""
        self._call = credentials.call

    def certificates(self, maker: str) -> list[object]:
        """Return the public facts of a maker's CA certificates."""
        return list(self._call("hardware.certificates", maker))
