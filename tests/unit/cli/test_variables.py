"""Variables that look like ours."""

import re
from pathlib import Path

import pytest

import openimds
from openimds.cli import doctor
from openimds.cli.exec import command as run_in_sandbox
from openimds.cli.variables import OF_COMMANDS, report_unknown_variables, unknown_variables
from openimds.settings import SETTINGS
from tests.unit.cli.runner import CliRunner


def test_unknown_variable_is_reported_with_the_nearest() -> None:
    assert [*unknown_variables(["PATH", "OPENIMDS_LISTTEN", "OPENIMDS_STATE"])] == [
        (
            "OPENIMDS_LISTTEN has no effect: there is no such variable; perhaps it should be "
            "OPENIMDS_LISTEN"
        )
    ]
    assert [*unknown_variables(["OPENIMDS_QQQQQQ"])] == [
        "OPENIMDS_QQQQQQ has no effect: there is no such variable"
    ]


@pytest.mark.parametrize(
    "name",
    [
        "OPENIMDS_SERVICE_HOST",
        "OPENIMDS_SERVICE_PORT_HTTP",
        "OPENIMDS_PORT",
        "OPENIMDS_PORT_80_TCP_ADDR",
        "OPENIMDS_CONTROL_SERVICE_HOST",
    ],
)
def test_variable_of_kubernetes_is_no_mistake(name: str) -> None:
    assert not [*unknown_variables([name])]


def test_every_variable_of_the_source_is_known() -> None:
    folder, found = Path(openimds.__file__).parent, set[str]()
    for path in folder.rglob("*.py"):
        found |= {*re.findall(r"\"(OPENIMDS_[A-Z][A-Z_]*)\"", path.read_text("utf-8"))}
    known = {row.variable for row in SETTINGS} | {*OF_COMMANDS}
    assert found <= known
    assert {*OF_COMMANDS} <= found


def test_variables_of_this_process_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENIMDS_STAET", "x")
    messages: list[str] = []
    report_unknown_variables(messages.append)
    assert any("OPENIMDS_STATE" in sentence for sentence in messages)


def test_exec_and_doctor_report_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENIMDS_LISTTEN", "x")
    sentence = "OPENIMDS_LISTTEN has no effect: there is no such variable; perhaps it should be"
    monkeypatch.setattr("openimds.linux.platform.require_linux", lambda *_: None)
    monkeypatch.setattr("openimds.server.sandboxed.run_sandboxed", lambda *_, **__: 0)
    monkeypatch.setattr("openimds.linux.sandbox.exit_like", lambda _: None)
    assert f"openimds: {sentence}" in CliRunner().invoke(run_in_sandbox, ["true"]).stderr
    context = doctor.DoctorContext({}, "", "")
    results = [*doctor._read_settings(context)]
    assert [one.state for one in results] == ["ok", "note"]
    assert results[1].found.startswith(sentence)
