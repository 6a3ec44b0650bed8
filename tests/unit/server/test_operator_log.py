"""The log of a process, as its settings want it."""

import json
import os
from pathlib import Path

import pytest

from openimds import __version__
from openimds.log.event import Level
from openimds.server.operator_log import log_samples, make_log, operator_log, starting
from openimds.settings import Settings


def line_of(settings: Settings, monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool) -> bytes:
    monkeypatch.setattr("openimds.server.operator_log.is_terminal", lambda: is_terminal)
    log = make_log(settings, {})
    return log.format.line("x", 0.0, starting("serve", settings).event)


@pytest.mark.parametrize(
    "name, is_terminal, is_json",
    [
        ("auto", True, False),
        ("auto", False, True),
        ("json", True, True),
        ("logfmt", False, False),
    ],
)
def test_form_follows_the_setting_or_the_other_end(
    monkeypatch: pytest.MonkeyPatch, name: str, is_terminal: bool, is_json: bool
) -> None:
    settings = Settings(log_format=name)  # type: ignore[arg-type]
    line = line_of(settings, monkeypatch, is_terminal=is_terminal)
    assert line.startswith(b"{" if is_json else b"time=")


def test_level_follows_the_setting() -> None:
    assert make_log(Settings(log_level="error"), {}).level is Level.ERROR


def test_journal_is_found_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "journal").open("wb") as file:
        status = os.fstat(file.fileno())
        monkeypatch.setattr("openimds.log.journal.os.fstat", lambda _: status)
        log = make_log(Settings(), {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
    assert log.format.line("x", 0.0, starting("serve", Settings()).event).startswith(b"<6>{")


def test_start_names_version_and_changed_settings_but_no_secret() -> None:
    settings = Settings(fleet="f.yaml", record=5, msi_v2=True, event_hook="sh -c s3cret")
    message = starting("control run", settings, [("store", "postgresql://me@db"), ("url", "")])
    assert message.fields["version"] == __version__
    assert message.fields["settings"] == (
        "fleet=f.yaml",
        "msi_v2=true",
        "event_hook=***",
        "record=5",
        "store=postgresql://me@db",
    )


def test_log_of_a_process_ends_with_it(capfd: pytest.CaptureFixture[str]) -> None:
    with operator_log(Settings(log_format="json")) as log:
        log("hello")
    assert json.loads(capfd.readouterr().err)["message"] == "hello"


def test_lines_are_counted_by_level_and_role() -> None:
    log = make_log(Settings(log_level="warning"), {})
    log.writer._write = lambda _: None
    log("a plain text")
    log.close()
    samples = log_samples(log, "host")
    assert samples["openimds_log_lines"]["warning", "host"] == 1
    assert samples["openimds_log_lines_lost"] == {("host",): 0}
    assert log_samples(print, "host") == {}
