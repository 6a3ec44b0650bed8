"""Load generators: processes of the clients' core that run until the measuring one is done.

A generator yields to the measuring process, which would else wait for its core. It says that
it is ready once its connections are open, goes on until its standard input ends, and then prints
its counts.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import msgspec.json
from msgspec import Struct

_READY = "ready"
_NICENESS = 10
_END_S = 20.0


class Counts(Struct):
    """Requests, or connections that were reset: sent, answered, refused among those."""

    sent: int = 0
    answered: int = 0
    refused: int = 0
    seconds: float = 0.0


class Load(Struct):
    """A generator. Its counts, those of the whole run, are there when it has ended.

    `fact` is a fact that it tells when it is ready, such as its port.
    """

    fact: str
    counts: Counts = msgspec.field(default_factory=Counts)


@contextmanager
def running(module: str, *arguments: str, before: tuple[str, ...] = ()) -> Iterator[Load]:
    """Run a generator, on the core of this process, until the block ends.

    `before` is a prefix of the command.

    Raises:
        RuntimeError: it failed.
    """
    command = (*before, sys.executable, "-m", module, *arguments)
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            word, _, fact = process.stdout.readline().strip().partition(" ")
            if word != _READY:
                raise RuntimeError(f"{module} did not start")
            load = Load(fact)
            yield load
            out, _ = process.communicate(timeout=_END_S)
        finally:
            process.kill()
    load.counts = msgspec.json.decode(out, type=Counts)


def start_late() -> None:
    """Yield the core to the measuring process; call it first in a generator."""
    os.nice(_NICENESS)


def ready(fact: object = "") -> Thread:
    """Say so, and return a thread that is alive until the input ends."""
    print(_READY, fact, flush=True)
    thread = Thread(target=sys.stdin.buffer.read, daemon=True)
    thread.start()
    return thread


def report(counts: Counts) -> None:
    """Print the counts; call it last in a generator."""
    print(msgspec.json.encode(counts).decode(), flush=True)
