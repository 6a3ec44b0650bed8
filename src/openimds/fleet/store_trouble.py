"""The trouble of a store, logged when it begins and when it ends."""

from collections.abc import Callable

from openimds.fleet.store.port import Store, StoreError
from openimds.log.events import STORE_RECOVERED, STORE_REFUSES


class StoreTrouble:
    """Logs when a store refuses changes or does not answer, and its recovery."""

    def __init__(
        self, store: Store, notify: Callable[[str], None], now: Callable[[], float]
    ) -> None:
        """Begin with the refusal that the opening of the store has reported."""
        self._store, self._notify, self._now = store, notify, now
        self._reason = self._refusal
        self._since_s = now()

    @property
    def _refusal(self) -> str:
        """The reason why the store takes no change, if its engine knows one."""
        return str(getattr(self._store, "refusal", ""))

    def note_answer(self) -> None:
        """Note a call that has succeeded."""
        self._note(self._refusal)

    def note_failure(self, error: Exception) -> None:
        """Note a call that has failed; an error of another kind is no trouble."""
        if isinstance(error, StoreError):
            self._note(self._refusal or str(error))

    def _note(self, reason: str) -> None:
        before, self._reason = self._reason, reason
        if reason and not before:
            self._since_s = self._now()
            sentence = f"the store takes no change: {reason}. The fleet is served as it is"
            self._notify(STORE_REFUSES.message(sentence, reason=reason))
        elif before and not reason:
            seconds = round(self._now() - self._since_s)
            sentence = f"the store takes changes again, after {seconds} s"
            self._notify(STORE_RECOVERED.message(sentence, seconds=seconds))
