"""Kits: made once, made anew after changes, with the reason of a failure."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients import kits
from tests.clients.kits import Kit


class FakeSteps:
    """Counts the steps of a kit, whose tool can fail."""

    def __init__(self) -> None:
        self.fetched = self.built = 0
        self.no_index = self.no_build = ""

    def fetch(self, place: Path) -> None:
        self._use(self.no_index)
        self.fetched += 1
        (place / "fetched").touch()

    def build(self, place: Path) -> None:
        self._use(self.no_build)
        self.built += 1
        assert (place / "fetched").exists()

    def _use(self, failing: str) -> None:
        code = f"print({failing!r}); raise SystemExit({bool(failing)})"
        kits._run(sys.executable, "-c", code)


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSteps:
    monkeypatch.setattr(kits, "MADE", tmp_path / "made")
    monkeypatch.setattr(kits, "ROOT", tmp_path)
    (tmp_path / "manifest").write_text("1")
    return FakeSteps()


def a_kit(steps: FakeSteps, *tools: str, is_quick: bool = False) -> Kit:
    return Kit("Thing", tools, ("manifest",), steps.fetch, steps.build, is_quick=is_quick)


def test_kit_is_made_again_when_its_manifest_changes(tmp_path: Path, steps: FakeSteps) -> None:
    kit = a_kit(steps)
    assert kit.why_not() == "missing or outdated: type make clients"
    assert a_kit(steps, is_quick=True).why_not().endswith("type make quick-clients")
    kits.make([kit])
    kits.make([kit])
    assert (kit.why_not(), steps.fetched, steps.built) == ("", 1, 1)
    (tmp_path / "manifest").write_text("2")
    assert kit.why_not() == "missing or outdated: type make clients"
    kits.make([kit])
    assert (kit.why_not(), steps.fetched, steps.built) == ("", 2, 2)


def test_kit_without_its_tools_is_not_made(steps: FakeSteps) -> None:
    kit = a_kit(steps, "sh", "no-such-tool", "nor-this")
    kits.make([kit])
    assert kit.why_not() == "no-such-tool and nor-this not installed"
    assert steps.fetched == 0


def test_failed_fetch_is_reported_and_repeated(
    steps: FakeSteps, capsys: pytest.CaptureFixture[str]
) -> None:
    steps.no_index = "WARNING: an error may follow\nERROR: No matching distribution\nmore"
    kit = a_kit(steps)
    kits.make([kit])
    reason = f"{Path(sys.executable).name}: ERROR: No matching distribution"
    assert (kit.why_not(), steps.built) == (reason, 0)
    assert f"Thing: {reason}: its tests are skipped" in capsys.readouterr().err
    steps.no_index = ""
    kits.make([kit])
    assert (kit.why_not(), steps.built) == ("", 1)


def test_failed_build_fails_its_tests_and_is_repeated(
    tmp_path: Path, steps: FakeSteps, capsys: pytest.CaptureFixture[str]
) -> None:
    kit = a_kit(steps)
    kits.make([kit])
    (tmp_path / "manifest").write_text("2")
    steps.no_build = "main.go:3: undefined: x"
    kits.make([kit])
    # Its tests are run, and fail: the earlier build is removed.
    assert (kit.why_not(), kit.place.exists()) == ("", False)
    assert "Thing cannot be built:\nmain.go:3: undefined: x" in capsys.readouterr().err
    steps.no_build = ""
    kits.make([kit])
    assert steps.built == 2


def test_tool_without_an_end_is_stopped(steps: FakeSteps, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, timeout: float, **__: object) -> None:
        raise subprocess.TimeoutExpired("it", timeout)

    monkeypatch.setattr(subprocess, "run", never)
    kit = a_kit(steps)
    kits.make([kit])
    assert kit.why_not().endswith(": did not end within 900 s")
