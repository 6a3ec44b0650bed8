"""The listeners of the data plane: shared ones, those of single VMs, and inherited sockets."""

import socket
from collections.abc import Callable
from collections.abc import Set as AbstractSet

from openimds.dataplane.listeners import IsStale, Listener, Netns, listen, listen_on
from openimds.dataplane.reactor import Reactor
from openimds.errors import ConfigError
from openimds.server.inherited_sockets import InheritedSockets
from openimds.server.listener_faults import reopener


class ListenerSet:
    """All open listeners of the data plane.

    `by_text` has those that can be reopened, by their text in `reach.listen`; the first shared one
    is under "".
    """

    def __init__(
        self,
        reactor: Reactor,
        text: str,
        inherited: InheritedSockets,
        notify: Callable[[str], None],
        on_count: Callable[[int], None],
    ) -> None:
        """Open nothing yet; `text` has the addresses of the shared listeners, with commas.

        `on_count` receives the number of listening sockets before it grows, and after it shrank.
        """
        self.by_text: dict[str, Listener] = {}
        self.reopen = reopener(reactor, text, _enter)
        self._others: list[Listener] = []
        self._reactor, self._text, self._notify = reactor, text, notify
        self._inherited, self._on_count = inherited, on_count

    @property
    def others(self) -> tuple[Listener, ...]:
        """Listeners on inherited sockets, and the shared ones after the first."""
        return tuple(self._others)

    async def open(self) -> Listener:
        """Open the shared listeners, or serve the inherited sockets; return the first listener.

        Raises:
            ConfigError: a listener cannot be opened.
        """
        if not self._inherited.dataplane:
            first, *others = self._text.split(",")
            self.by_text[""] = await listen(self._reactor, first, "listen", enter=_enter)
            for text in others:
                self._others.append(await listen(self._reactor, text, "listen", enter=_enter))
        for inherited, vm in self._inherited.dataplane:
            self._others.append(listen_on(self._reactor, inherited, vm))
        self._on_count(self._count())
        return self.by_text.get("") or self._others[0]

    async def update(self, wanted: dict[str, str], keep: AbstractSet[str]) -> None:
        """Open the listeners of single VMs that are missing; close those neither wanted nor kept.

        `wanted` maps the text of each listener to the name of its VM.

        Raises:
            ConfigError: a listener cannot be opened.
        """
        if self._inherited.is_exclusive:
            return
        missing = [text for text in wanted if text not in self.by_text]
        self._on_count(self._count() + len(missing))
        for text in missing:
            where = f"vms.{wanted[text]}.reach.listen"
            self.by_text[text] = await listen(self._reactor, text, where, is_own=True, enter=_enter)
        for text in self.by_text.keys() - wanted.keys() - keep - {""}:
            self.by_text.pop(text).close()
        self._on_count(self._count())

    def _count(self) -> int:
        """Return the number of listening sockets."""
        listeners = (*self.by_text.values(), *self._others)
        return sum(len(listener.sockets) for listener in listeners)

    async def reopen_stale(self) -> None:
        """Reopen the listeners whose network namespace was recreated; report those that cannot."""
        for text, old in list(self.by_text.items()):
            if not old.is_stale():
                continue
            try:
                new = await self.reopen(text, old)
            except ConfigError as error:
                self._notify(f"{error}; guests in the new namespace get no answer")
                continue
            if self.by_text.get(text) is not old:  # The fleet changed meanwhile.
                new.close()
                continue
            old.close()
            self.by_text[text] = new
            self._notify(f"{text} was recreated; its listener is open again")

    def urls(self, texts: tuple[str, ...]) -> list[str]:
        """Return the URLs of these listeners, of the first shared one, and of all others."""
        listeners = [self.by_text[text] for text in (*texts, "") if text in self.by_text]
        return [listener.url for listener in (*listeners, *self._others)]

    def close(self) -> None:
        """Accept no further connection; open ones continue."""
        for listener in (*self.by_text.values(), *self._others):
            listener.close()


def _enter(netns: Netns, where: str) -> tuple[socket.socket, IsStale]:
    from openimds.linux import named_netns  # noqa: PLC0415 - few servers listen in a namespace

    return named_netns.listening(netns.name, netns.host, netns.port, where)
