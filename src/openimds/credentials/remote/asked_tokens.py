"""The tokens that each VM asked for lately: those which are worth a renewal."""

from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping

from msgspec import structs

from openimds.credentials.tokens.cache import MAX_PER_VM, MAX_TOKENS
from openimds.protocol.pending import PendingToken

ASKED_S = 86_400.0
"""The time for which a token is remembered after its VM last asked for it, in seconds."""
MAX_ASKED = MAX_TOKENS
"""The most remembered tokens; each weighs about 1 kB."""


class AskedTokens:
    """Pending tokens by VM, each without the wishes of one request."""

    def __init__(self, most: int = MAX_ASKED, most_per_vm: int = MAX_PER_VM) -> None:
        """Begin empty; beyond a bound, the oldest token goes.

        In all that is of the VM that asked for nothing for the longest time.
        """
        self._most, self._most_per_vm = most, most_per_vm
        self._size = 0
        # Both orders are those of asking, the latest last.
        self._vms: OrderedDict[str, OrderedDict[PendingToken, float]] = OrderedDict()
        self._lap: deque[str] = deque()

    def __len__(self) -> int:
        """Return the number of remembered tokens."""
        return self._size

    def note(self, pending: PendingToken, now_s: float) -> None:
        """Remember that a VM asked for a token."""
        plain = plain_token(pending)
        own = self._vms.setdefault(plain.vm, OrderedDict())
        self._vms.move_to_end(plain.vm)
        self._size += plain not in own
        own[plain] = now_s
        own.move_to_end(plain)
        if len(own) > self._most_per_vm:
            self._drop(plain.vm, next(iter(own)))
        while self._size > self._most:
            vm, eldest = next(iter(self._vms.items()))
            self._drop(vm, next(iter(eldest)))

    def of(self, vm: str, now_s: float) -> list[PendingToken]:
        """Return a VM's tokens of the last `ASKED_S`, and forget its others."""
        own: Mapping[PendingToken, float] = self._vms.get(vm, {})
        for pending in [one for one, at_s in own.items() if now_s - at_s > ASKED_S]:
            self._drop(vm, pending)
        return [*own]

    def times(self, vm: str) -> dict[PendingToken, float]:
        """Return a VM's tokens with the times at which it last asked for them."""
        return {**self._vms.get(vm, {})}

    def take_turns(self, most: int) -> Iterator[str]:
        """Yield the next VMs of a lap over all, at most so many."""
        if not self._lap:
            self._lap.extend(self._vms)
        for _ in range(min(most, len(self._lap))):
            yield self._lap.popleft()

    def forget(self, pending: PendingToken) -> None:
        """Forget a token."""
        plain = plain_token(pending)
        if plain in self._vms.get(plain.vm, ()):
            self._drop(plain.vm, plain)

    def forget_vm(self, vm: str) -> None:
        """Forget the tokens of a VM."""
        self._size -= len(self._vms.pop(vm, ()))

    def forget_future(self, now_s: float) -> None:
        """Count times after this one as this one: the clock was set back."""
        for own in self._vms.values():
            for pending in [one for one, at_s in own.items() if at_s > now_s]:
                own[pending] = now_s

    def _drop(self, vm: str, pending: PendingToken) -> None:
        own = self._vms[vm]
        del own[pending]
        self._size -= 1
        if not own:
            del self._vms[vm]


def plain_token(pending: PendingToken) -> PendingToken:
    """Return a pending token without the wishes and faults of one request."""
    return structs.replace(pending, is_fresh=False, proof="", outdated="", edits=None)
