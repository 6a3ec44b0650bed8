"""The option type of time spans."""

import click
import pytest

from openimds.cli.duration import Duration
from openimds.errors import ConfigError
from tests.unit.cli.runner import CliRunner


@click.command()
@click.option("--timeout", "timeout_s", type=Duration(), default=60.0, help="A time.")
def wait(timeout_s: float) -> None:
    click.echo(timeout_s)


@pytest.mark.parametrize("text, seconds", [("90", "90"), ("2h30m", "9000"), ("1.5s", "1.5")])
def test_duration_is_seconds(text: str, seconds: str) -> None:
    assert CliRunner().invoke(wait, ["--timeout", text]).output.strip() == seconds
    assert CliRunner().invoke(wait, []).output.strip() == "60.0"


@pytest.mark.parametrize("text", ["soon", "-1", "10 m", "nan"])
def test_text_that_is_no_duration_is_refused(text: str) -> None:
    error = CliRunner().invoke(wait, ["--timeout", text]).exception
    assert isinstance(error, ConfigError)
    assert str(error) == (
        f'--timeout: saw "{text}", expected a number of at least 0: seconds, or a duration such '
        "as 90s, 10m or 2h30m"
    )


def test_help_names_the_type() -> None:
    assert "--timeout DURATION" in CliRunner().invoke(wait, ["--help"]).output
