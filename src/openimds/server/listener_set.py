"""The listeners of the data plane: everybody's, those of single VMs, and those that were given."""

import socket
from collections.abc import Callable
from collections.abc import Set as AbstractSet

from openimds.dataplane.dispatcher import Dispatcher
from openimds.dataplane.listeners import IsStale, Listener, Netns, listen, listen_on
from openimds.errors import ConfigError
from openimds.linux import named_netns
from openimds.server.inherited_sockets import InheritedSockets
from openimds.server.listener_faults import reopening


class ListenerSet:
    """All open listeners; `by_text` has those that may be opened again, everybody's under ""."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        text: str,
        given: InheritedSockets,
        notify: Callable[[str], None],
    ) -> None:
        """Begin with none; `text` are the addresses of everybody's, with commas."""
        self.by_text: dict[str, Listener] = {}
        self.reopen = reopening(dispatcher, text, _enter)
        self._others: list[Listener] = []
        self._dispatcher, self._text, self._given, self._notify = dispatcher, text, given, notify

    @property
    def others(self) -> tuple[Listener, ...]:
        """Those that were given, and everybody's but the first."""
        return tuple(self._others)

    async def open(self) -> Listener:
        """Open the listeners of everybody, or take those that were given; return the first.

        Raises:
            ConfigError: one of them cannot be opened.
        """
        if not self._given.dispatcher:
            first, *others = self._text.split(",")
            self.by_text[""] = await listen(self._dispatcher, first, "listen", enter=_enter)
            for text in others:
                self._others.append(await listen(self._dispatcher, text, "listen", enter=_enter))
            return self.by_text[""]
        for taken, vm in self._given.dispatcher:
            self._others.append(await listen_on(self._dispatcher, taken, vm))
        return self._others[0]

    async def have(self, wanted: dict[str, str], keep: AbstractSet[str]) -> None:
        """Have these listeners of single VMs beside the first one; of the others keep only some.

        `wanted` has the name of the VM of each.

        Raises:
            ConfigError: one of them cannot be opened.
        """
        if self._given.is_all:
            return
        for text in [one for one in wanted if one not in self.by_text]:
            where = f"vms.{wanted[text]}.reach.listen"
            self.by_text[text] = await listen(
                self._dispatcher, text, where, is_own=True, enter=_enter
            )
        for text in self.by_text.keys() - wanted.keys() - keep - {""}:
            self.by_text.pop(text).close()

    async def renew(self) -> None:
        """Listen anew where a namespace was made anew; say where that cannot be."""
        for text, old in list(self.by_text.items()):
            if not old.is_stale():
                continue
            try:
                new = await self.reopen(text, old)
            except ConfigError as error:
                self._notify(f"{error}; guests of the new namespace are not heard")
                continue
            if self.by_text.get(text) is not old:  # The fleet has changed meanwhile.
                new.close()
                continue
            old.close()
            self.by_text[text] = new
            self._notify(f"{text} is another namespace by now and is listened in again")

    def urls(self, texts: tuple[str, ...]) -> list[str]:
        """Return the URLs of the listeners of these texts, of everybody's, and of the others."""
        found = [self.by_text[text] for text in (*texts, "") if text in self.by_text]
        return [one.url for one in (*found, *self._others)]

    def close(self) -> None:
        """Take no new connection."""
        for listener in (*self.by_text.values(), *self._others):
            listener.close()


def _enter(wanted: Netns, where: str) -> tuple[socket.socket, IsStale]:
    return named_netns.listening(wanted.name, wanted.host, wanted.port, where)
