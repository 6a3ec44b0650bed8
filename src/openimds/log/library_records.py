"""The records of libraries that use `logging`, and Python's warnings, as lines.

Only a process whose one server this is may claim them: `logging` has one tree for all.
"""

import logging
import traceback
from collections.abc import Callable

from openimds.log.event import Level, LogMessage, Value
from openimds.log.events import LIBRARY

_LEVELS = (
    (logging.ERROR, Level.ERROR),
    (logging.WARNING, Level.WARNING),
    (logging.INFO, Level.INFO),
)
_QUIET = ("azure", "msal")
"""Their warnings may quote requests; `credentials.entra` reports their failures."""
_MOST_PLACES = 8


class LibraryHandler(logging.Handler):
    """Passes records to a log, with the place of an error, but not its text.

    The text of an exception may have a value of a request in it.
    """

    def __init__(self, notify: Callable[[str], None]) -> None:
        """Pass them to this function."""
        super().__init__()
        self._notify = notify

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one record on; one that cannot be formatted is left out."""
        if record.name.partition(".")[0] in _QUIET:
            return
        try:
            self._notify(_message(record))
        except Exception:  # noqa: BLE001 - a library's mistake ends no caller of it
            return


def _message(record: logging.LogRecord) -> LogMessage:
    level = next((mine for theirs, mine in _LEVELS if record.levelno >= theirs), Level.DEBUG)
    fields: dict[str, Value] = {"logger": record.name}
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        fields |= {"error": type(error).__name__, "place": place_of(error)}
    # The first line: uvicorn and asyncio append the traceback to theirs.
    text = record.getMessage().strip().partition("\n")[0]
    return LIBRARY.at(level, text, **fields)


def place_of(error: BaseException) -> tuple[str, ...]:
    """Return the last places of a traceback, as `function (file:line)`, the innermost last."""
    frames = traceback.extract_tb(error.__traceback__)[-_MOST_PLACES:]
    return tuple(
        f"{frame.name} ({'/'.join(frame.filename.split('/')[-2:])}:{frame.lineno})"
        for frame in frames
    )


def claim_libraries(notify: Callable[[str], None]) -> Callable[[], None]:
    """Pass all records of this process to a log; the returned function gives them back."""
    root, handler = logging.getLogger(), LibraryHandler(notify)
    root.addHandler(handler)
    logging.captureWarnings(True)  # noqa: FBT003 - it takes no name

    def give_back() -> None:
        logging.captureWarnings(False)  # noqa: FBT003 - as above
        root.removeHandler(handler)

    return give_back
