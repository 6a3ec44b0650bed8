"""The header Retry-After of a refusal: seconds, a date, or any other text."""

import re
from collections.abc import Mapping
from email.utils import formatdate

from openimds.errors import ConfigError
from openimds.facts.fault_parameters import RETRY_AFTER
from openimds.parameters import path_of
from openimds.protocol.faults.fault import Value

_NAME = "Retry-After"
_DATE = re.compile(r"date([+-][0-9]{1,9})?")
_HTTP = re.compile(r"[\t\x20-\x7e]*")


def check_retry_after(parameters: Mapping[str, Value], where: str) -> None:
    """Check the value of Retry-After, if there is one.

    Raises:
        ConfigError: the value has other characters, or `headers` has the header too.
    """
    if RETRY_AFTER.name not in parameters:
        return
    path, text = path_of(where, RETRY_AFTER.name), str(parameters[RETRY_AFTER.name])
    if not _HTTP.fullmatch(text):
        raise ConfigError(path, ascii(text), "seconds, date+SECONDS or printable ASCII")
    lines = parameters.get("headers", ())
    if isinstance(lines, tuple) and any(is_retry_after(line.partition(":")[0]) for line in lines):
        raise ConfigError(path, "a header Retry-After beside it", "one of the two")


def retry_after(text: str, now_s: float) -> tuple[str, str]:
    """Return the header of a value that `check_retry_after` accepts, at a time since 1970."""
    dated = _DATE.fullmatch(text)
    value = formatdate(int(now_s) + int(dated[1] or 0), usegmt=True) if dated else text
    return _NAME, value


def is_retry_after(name: str) -> bool:
    """Tell whether a header is Retry-After."""
    return name.lower() == _NAME.lower()
