"""The listeners of the data plane: shared ones, those of single VMs, and inherited sockets."""

import asyncio
import socket
from collections.abc import Callable
from collections.abc import Set as AbstractSet

from openimds.dataplane.listeners import (
    Enter,
    IsStale,
    Listener,
    Netns,
    cannot_answer,
    listen,
    listen_on,
)
from openimds.dataplane.observer import CallLater, loop_later
from openimds.dataplane.reactor import Reactor
from openimds.errors import ConfigError
from openimds.fleet.quarantine import TakenError
from openimds.log.events import LISTENER_REOPENED, LISTENER_TROUBLE
from openimds.server.inherited_sockets import InheritedSockets
from openimds.server.listener_faults import reopener

RETRY_S = 1.0
"""The time until listeners that could not be reopened are tried again."""
REPORT_S = 60.0
"""The shortest time between two reports of retries that failed."""


def _enter(netns: Netns, where: str) -> tuple[socket.socket, IsStale]:
    from openimds.linux import named_netns  # noqa: PLC0415 - few servers listen in a namespace

    return named_netns.listening(netns.name, netns.host, netns.port, where)


class ListenerSet:
    """All open listeners of the data plane.

    `by_text` has those that can be reopened, by their text in `reach.listen`; the first shared one
    is under "". `failures` counts the failed tries to reopen a listener.
    """

    def __init__(  # noqa: PLR0913 - its callbacks, and the world of a test
        self,
        reactor: Reactor,
        text: str,
        inherited: InheritedSockets,
        notify: Callable[[str], None],
        on_count: Callable[[int], None],
        *,
        on_reopen: Callable[[], None] = lambda: None,
        enter: Enter = _enter,
        call_later: CallLater = loop_later,
    ) -> None:
        """Open nothing yet; `text` has the addresses of the shared listeners, with commas.

        `on_count` receives the number of listening sockets before it grows, and after it shrank.
        `on_reopen` is called when listeners of recreated namespaces were reopened. `enter` opens a
        socket in a namespace; `call_later` schedules retries.
        """
        self.by_text: dict[str, Listener] = {}
        self.reopen = reopener(reactor, enter)
        self.failures = 0
        self._others: list[Listener] = []
        self._reactor, self._text, self._notify = reactor, text, notify
        self._inherited, self._on_count, self._on_reopen = inherited, on_count, on_reopen
        self._enter, self._call_later = enter, call_later
        self._reopening = asyncio.Lock()
        self._retry: asyncio.Task[None] | None = None
        self._is_retry_due = self._is_closed = False
        self._silent_tries = 0

    @property
    def others(self) -> tuple[Listener, ...]:
        """Listeners on inherited sockets, and the shared ones after the first."""
        return tuple(self._others)

    @property
    def all(self) -> tuple[Listener, ...]:
        """Every open listener."""
        return (*self.by_text.values(), *self._others)

    async def open(self) -> Listener:
        """Open the shared listeners, or serve the inherited sockets; return the first listener.

        Raises:
            ConfigError: a listener cannot be opened.
        """
        if not self._inherited.dataplane:
            first, *others = self._text.split(",")
            self.by_text[""] = await listen(self._reactor, first, "listen", enter=self._enter)
            for text in others:
                self._others.append(await listen(self._reactor, text, "listen", enter=self._enter))
        for inherited, vm in self._inherited.dataplane:
            self._others.append(
                listen_on(self._reactor, inherited, vm, is_in_sandbox=self._inherited.is_exclusive)
            )
            if cannot_answer(inherited):
                url = self._others[-1].url
                self._notify(
                    LISTENER_TROUBLE.message(
                        f"{url} cannot answer, as its address is on no interface; write "
                        "Transparent=yes in the socket unit"
                    )
                )
        self._on_count(self._count())
        return self.by_text.get("") or self._others[0]

    async def update(self, wanted: dict[str, str], keep: AbstractSet[str]) -> None:
        """Open the listeners of single VMs that are missing; close those neither wanted nor kept.

        `wanted` maps the text of each listener to the name of its VM.

        Raises:
            TakenError: a listener cannot be opened.
        """
        if self._inherited.is_exclusive:
            return
        missing = [text for text in wanted if text not in self.by_text]
        self._on_count(self._count() + len(missing))
        for text in missing:
            name = wanted[text]
            where = f"vms.{name}.reach.listen"
            try:
                opened = await listen(self._reactor, text, where, is_own=True, enter=self._enter)
            except ConfigError as error:
                raise TakenError(error, name, text) from None
            self.by_text[text] = opened
        for text in self.by_text.keys() - wanted.keys() - keep - {""}:
            self.by_text.pop(text).close()
        self._on_count(self._count())

    def _count(self) -> int:
        """Return the number of listening sockets."""
        return sum(len(listener.sockets) for listener in self.all)

    async def reopen_stale(self, *, is_retry: bool = False) -> None:
        """Reopen the listeners whose network namespace was recreated.

        Those that fail are tried again every second, for as long as they are stale. They are
        reported at once, and then once a minute.
        """
        async with self._reopening:
            failures: list[ConfigError] = []
            reopened = 0
            # Of shared listeners after the first, the place in `_others` is the key.
            reopenable: list[tuple[str | int, Listener]] = [
                *self.by_text.items(),
                *enumerate(self._others),
            ]
            for key, old in reopenable:
                if self._is_closed or not old.is_stale():
                    continue
                try:
                    new = await self.reopen(key if isinstance(key, str) else "", old)
                except ConfigError as error:
                    failures.append(error)
                    continue
                if not self._replace(key, old, new):
                    new.close()
                    continue
                old.close()
                reopened += 1
                self._notify(
                    LISTENER_REOPENED.message(
                        f"{old.text} was recreated; its listener is open again", listener=old.text
                    )
                )
            self.failures += len(failures)
            if failures:
                self._report(failures, is_retry=is_retry)
                self._retry_later()
            if reopened:
                self._on_reopen()

    def _replace(self, key: str | int, old: Listener, new: Listener) -> bool:
        """Put a listener in the place of another; return whether that was still there."""
        if self._is_closed:
            return False
        if isinstance(key, int):
            self._others[key] = new
        elif self.by_text.get(key) is old:
            self.by_text[key] = new
        else:
            return False
        return True

    def _report(self, failures: list[ConfigError], *, is_retry: bool) -> None:
        """Report the first failure and the number of the others."""
        self._silent_tries += 1
        if is_retry and self._silent_tries * RETRY_S < REPORT_S:
            return
        self._silent_tries = 0
        others = len(failures) - 1
        more = f", nor in {others} more" if others else ""
        self._notify(
            LISTENER_TROUBLE.message(
                f"{failures[0]}; guests in the new namespace get no answer{more}; retrying every "
                f"{RETRY_S:g} s"
            )
        )

    def _retry_later(self) -> None:
        if not self._is_retry_due and not self._is_closed:
            self._is_retry_due = True
            self._call_later(RETRY_S, self._begin_retry)

    def _begin_retry(self) -> None:
        self._is_retry_due = False
        if not self._is_closed:
            self._retry = asyncio.get_running_loop().create_task(self.reopen_stale(is_retry=True))

    def urls(self, texts: tuple[str, ...]) -> list[str]:
        """Return the URLs of these listeners, of the first shared one, and of all others."""
        listeners = [self.by_text[text] for text in (*texts, "") if text in self.by_text]
        return [listener.url for listener in (*listeners, *self._others)]

    def close(self) -> None:
        """Accept no further connection; open ones continue."""
        self._is_closed = True
        for listener in self.all:
            listener.close()
