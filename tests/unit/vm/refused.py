"""The four parts of a refusal, for tests to compare."""

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
    """Return the refusal of a call; fail if it is not refused."""
    with pytest.raises(ConfigError) as caught:
        call(*arguments)
    error = caught.value
    return Refused(error.where, error.seen, error.expected, error.hint)
