"""Exceptions for the mistakes of the operator and the failures of the world.

`Error` is the root; `ConfigError` is for values in a file, a flag, the environment or an admin body
that do not fit. A guest's mistake is never an exception: it is a row of `facts.refusals`.
"""

import errno
from typing import ClassVar

from msgspec import MsgspecError

SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Error numbers of a system that has no file descriptor, buffer or memory left at the moment."""
_NO_FILE = "Too many open files"
_NO_THREAD = "can't start new thread"
BAD_JSON = (MsgspecError, RecursionError, ValueError)
"""The errors of decoding what is no JSON, no UTF-8, of another shape, or nested too deeply."""
FREE_RESOURCES = "free file descriptors, memory and threads"
MORE_RESOURCES = "Raise the limits (LimitNOFILE= and TasksMax= of systemd; ulimit -Hn, ulimit -Hu)"
"""Expectation and remedy of an operation that met a shortage."""


class Error(Exception):
    """A failure that stops a command, with a text that the operator can act on."""

    exit_code: ClassVar[int] = 1
    """The exit code of the command."""


class ConfigError(Error):
    """Bad configuration.

    `where` is the file and the path inside it, `seen` the value, `expected` the values that fit,
    and `hint` the remedy, or empty. A hint that is a question suggests the nearest right word.
    """

    exit_code = 2

    def __init__(self, where: str, seen: str, expected: str, hint: str = "") -> None:
        """Keep the four parts, so that a caller can put a file name before `where`."""
        self.where, self.seen, self.expected, self.hint = where, seen, expected, hint
        super().__init__(where, seen, expected, hint)

    def __str__(self) -> str:
        """Return the one-line form: `where: saw X, expected Y. Hint`.

        A suggestion stands before the expectation, which may be a long list.
        """
        if self.hint.endswith("?"):
            return f"{self.where}: saw {self.seen}. {self.hint} Expected {self.expected}"
        text = f"{self.where}: saw {self.seen}, expected {self.expected}"
        return f"{text}. {self.hint}" if self.hint else text

    def inside(self, outer: str) -> "ConfigError":
        """Return the same error with an outer path in front, such as a file name."""
        where = f"{outer}: {self.where}" if outer else self.where
        return ConfigError(where, self.seen, self.expected, self.hint)


class SpellingError(ConfigError):
    """A mapping with a key in both spellings, snake_case and camelCase."""


class DuplicateNameError(ValueError):
    """A name that stands twice in one mapping."""


def shortage(error: BaseException | None) -> OSError | None:
    """Return the shortage of descriptors, memory or threads behind an error, or None.

    It may be the error itself. A shortage passes: the same work may succeed later.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in SHORTAGES:
            return error
        # The loader of shared libraries has no number for its reason, only the text.
        if isinstance(error, ImportError) and _NO_FILE in str(error):
            return OSError(errno.EMFILE, _NO_FILE)
        # Neither has a thread that the system refuses (`threading.Thread.start`).
        if isinstance(error, RuntimeError) and _NO_THREAD in str(error):
            return OSError(errno.EAGAIN, _NO_THREAD)
        error = error.__cause__ or error.__context__
    return None


def kind_and_place(error: BaseException) -> str:
    """Return an unexpected error's type and place; its text may have a secret."""
    at = error.__traceback__
    while at and at.tb_next:
        at = at.tb_next
    kind = type(error).__name__
    if at is None:
        return kind
    return f"{kind} in {at.tb_frame.f_globals.get('__name__')}, line {at.tb_lineno}"
