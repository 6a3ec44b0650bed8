"""The options by which a host joins, and those of control for pods."""

from pathlib import Path

import pytest
from click import Command

from openimds.cli import control, host
from openimds.cli.host_join import pod_files
from openimds.cli.variables import OF_COMMANDS
from openimds.errors import ConfigError
from tests.unit.cli.runner import CliRunner


@pytest.mark.parametrize(
    "command, options",
    [
        (
            control.run,
            (
                "--join-service-account",
                "--publish-root",
                "--kubernetes-api",
                "--kubernetes-folder",
            ),
        ),
        (host.host_run, ("--join-service-account-token", "--control-fingerprint")),
    ],
    ids=["control", "host"],
)
def test_options_for_pods_are_in_the_help_and_have_variables(
    command: Command, options: tuple[str, ...]
) -> None:
    got = CliRunner().invoke(command, ["--help"])
    assert got.exit_code == 0
    for option in options:
        assert f"{option} " in got.output
        assert f"OPENIMDS_{option[2:].replace('-', '_').upper()}" in OF_COMMANDS


def test_files_of_a_pod_come_together() -> None:
    assert pod_files(None, None) is None
    assert pod_files("", "") is None
    made = pod_files("a", "b")
    assert made
    assert (made.token, made.fingerprints) == (Path("a"), Path("b"))
    with pytest.raises(ConfigError, match="--control-fingerprint: saw nothing"):
        pod_files("a", None)
    with pytest.raises(ConfigError, match="--join-service-account-token: saw nothing"):
        pod_files(None, "b")
