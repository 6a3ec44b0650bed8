"""What a call was refused for, in four parts that a test can compare."""

from collections.abc import Callable
from typing import NamedTuple

import pytest

from openimds.errors import ConfigError


class Refused(NamedTuple):
    """The parts of a `ConfigError`."""

    where: str
    seen: str
    expected: str
    hint: str = ""


def refused(call: Callable[..., object], *arguments: object) -> Refused:
    """Return why a call was refused; that it was not is a failure."""
    with pytest.raises(ConfigError) as caught:
        call(*arguments)
    error = caught.value
    return Refused(error.where, error.seen, error.expected, error.hint)
