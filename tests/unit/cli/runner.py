"""click's runner of commands, with stdout and stderr apart in every version of click."""

from inspect import signature
from typing import Any

import click.testing

# click before 8.2 mixes them unless this parameter is false; later versions do not have it.
_APART: dict[str, Any] = (
    {"mix_stderr": False}
    if "mix_stderr" in signature(click.testing.CliRunner.__init__).parameters
    else {}
)


class CliRunner(click.testing.CliRunner):
    """Runs a command in this process."""

    def __init__(self) -> None:
        super().__init__(**_APART)
