"""Blocking and awaited calls of the same job on the server's loop."""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from openimds.testing.server_thread import RunningServer

J = TypeVar("J")
P = ParamSpec("P")
T = TypeVar("T")


class Facade(Generic[J]):
    """A noun of a running server, with the jobs that change it."""

    def __init__(self, running: RunningServer, jobs: J) -> None:
        """Take a running server and the jobs."""
        self._running, self._jobs = running, jobs


def blocking(
    job: Callable[Concatenate[J, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Facade[J], P], T]:
    """Return a method that waits for a job on the server's loop."""

    @wraps(job)
    def call(self: Facade[J], /, *args: P.args, **kwargs: P.kwargs) -> T:
        __tracebackhide__ = True
        return self._running.do(job(self._jobs, *args, **kwargs))

    return call


def awaited(
    job: Callable[Concatenate[J, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Facade[J], P], Coroutine[Any, Any, T]]:
    """Return a coroutine method that runs a job on the server's loop."""

    @wraps(job)
    async def call(self: Facade[J], /, *args: P.args, **kwargs: P.kwargs) -> T:
        __tracebackhide__ = True
        return await self._running.awaited(job(self._jobs, *args, **kwargs))

    return call
