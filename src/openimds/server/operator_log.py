"""The log of this process by its settings, and the message of a start."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from openimds import __version__
from openimds.facts.redaction import MASKED
from openimds.log.event import Level, LogMessage
from openimds.log.events import STARTING
from openimds.log.formats import FORMATS, LineFormat
from openimds.log.journal import is_terminal, leads_to_journal
from openimds.log.library_records import claim_libraries
from openimds.log.log import OperatorLog
from openimds.server.notify import Notify
from openimds.settings import SETTINGS, Settings


def make_log(settings: Settings, environment: Mapping[str, str]) -> OperatorLog:
    """Return a log on stderr, in the form that fits its other end."""
    name = settings.log_format
    if name == "auto":
        name = "logfmt" if is_terminal() else "json"
    form = LineFormat(FORMATS[name], is_journal=leads_to_journal(environment))
    return OperatorLog(form, Level[settings.log_level.upper()])


@contextmanager
def operator_log(settings: Settings) -> Iterator[OperatorLog]:
    """Give this process a log, with its libraries' records, and end it afterwards."""
    log = make_log(settings, os.environ)
    give_back = claim_libraries(log)
    try:
        yield log
    finally:
        give_back()
        log.close()


def starting(command: str, settings: Settings, own: Iterable[tuple[str, str]] = ()) -> LogMessage:
    """Return the message of a start; `own` are the settings of the command alone."""
    changed = [
        f"{row.name}={MASKED if row.is_secret else _text(value)}"
        for row in SETTINGS
        if (value := getattr(settings, row.name)) != row.default
    ]
    changed += [f"{name}={value}" for name, value in own if value]
    return STARTING.message(
        f"openimds {command} {__version__} starts",
        command=command,
        version=__version__,
        pid=os.getpid(),
        settings=tuple(changed),
    )


def log_samples(notify: Notify, role: str) -> dict[str, Mapping[tuple[str, ...], float]]:
    """Return the metrics of a log, if messages go to one."""
    if not isinstance(notify, OperatorLog):
        return {}
    return {
        "openimds_log_lines": {(level, role): count for level, count in notify.counts.items()},
        "openimds_log_lines_lost": {(role,): notify.dropped},
    }


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
