"""`openimds kubevirt follow`: bad options are refused before anything is asked."""

from pathlib import Path

import pytest

from openimds.cli.main import command
from openimds.errors import ConfigError
from tests.unit.cli.runner import CliRunner

FOLLOW = ("kubevirt", "follow", "--node", "node-1")


def error_of(*words: str) -> str:
    got = CliRunner().invoke(command, [*FOLLOW, *words])
    assert isinstance(got.exception, ConfigError)
    return str(got.exception)


@pytest.fixture(autouse=True)
def outside_of_a_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBERNETES_SERVICE_HOST", "OPENIMDS_KUBEVIRT_TEMPLATE"):
        monkeypatch.delenv(name, raising=False)


def test_outside_of_a_pod_the_url_is_asked_for() -> None:
    error = error_of()
    assert error.startswith("KUBERNETES_SERVICE_HOST: saw nothing")
    assert error.endswith("or name the URL of the API")


@pytest.mark.parametrize("option", ["--kubernetes-ca", "--kubernetes-token-file"])
def test_option_of_another_api_needs_its_url(option: str) -> None:
    assert error_of(option, "file") == f"{option}: saw it without --kubernetes, expected both"


def test_token_does_not_go_over_http() -> None:
    words = ("--kubernetes", "http://127.0.0.1:1", "--kubernetes-token-file", "token")
    assert "expected https://HOST:PORT" in error_of(*words)


def test_template_is_read_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    assert f"--template: saw {path} (no such file" in error_of("--template", str(path))
    path.write_text("default: {}")
    assert f"{path}: default: saw an unknown key" in error_of("--template", str(path))


def test_node_is_required() -> None:
    got = CliRunner().invoke(command, ["kubevirt", "follow"], env={"OPENIMDS_NODE": None})
    assert got.exit_code == 2
    assert "--node" in got.stderr
