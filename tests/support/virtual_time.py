"""An event loop in which no time passes but that which its tasks wait for.

Where every task waits, the time jumps to the next timer. Calls that would run in a thread run on
the loop, one turn later. So a test of hours takes moments, and each run of it is the same.
"""

import asyncio
import selectors
from collections.abc import Callable
from typing import Any


class _JumpingSelector(selectors.DefaultSelector):
    """Waits for nothing: where no socket is ready, the time jumps."""

    def __init__(self, jump: Callable[[float], None]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout != 0:
            assert timeout is not None, "every task waits, and no timer is set"
            self._jump(timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop with a time of its own, and without threads."""

    def __init__(self) -> None:
        """Begin at the time 0."""
        self._now_s = 0.0
        super().__init__(_JumpingSelector(self._jump))

    def time(self) -> float:
        """Return the seconds since the loop was made."""
        return self._now_s

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Call a function in the next turn, whichever executor is asked for."""
        del executor
        future = self.create_future()

        def call() -> None:
            try:
                result = func(*args)
            except Exception as error:  # noqa: BLE001 - the caller gets it
                if not future.done():
                    future.set_exception(error)
            else:
                if not future.done():
                    future.set_result(result)

        self.call_soon(call)
        return future

    def _jump(self, seconds: float) -> None:
        self._now_s += seconds
