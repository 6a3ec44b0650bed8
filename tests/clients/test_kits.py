"""A kit is made once, made anew when it has to be, and says why when it cannot be."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients import kits
from tests.clients.kits import Kit


class Maker:
    """Counts how often it fetched and built, by a tool that can fail."""

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
def maker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Maker:
    monkeypatch.setattr(kits, "MADE", tmp_path / "made")
    monkeypatch.setattr(kits, "ROOT", tmp_path)
    (tmp_path / "manifest").write_text("1")
    return Maker()


def a_kit(maker: Maker, *tools: str, is_quick: bool = False) -> Kit:
    return Kit("Thing", tools, ("manifest",), maker.fetch, maker.build, is_quick=is_quick)


def test_it_is_made_once_and_again_when_its_manifest_changes(tmp_path: Path, maker: Maker) -> None:
    kit = a_kit(maker)
    assert kit.why_not() == "not made as it is now: type make clients"
    assert a_kit(maker, is_quick=True).why_not().endswith("type make test")
    kits.make([kit])
    kits.make([kit])
    assert (kit.why_not(), maker.fetched, maker.built) == ("", 1, 1)
    (tmp_path / "manifest").write_text("2")
    assert kit.why_not() == "not made as it is now: type make clients"
    kits.make([kit])
    assert (kit.why_not(), maker.fetched, maker.built) == ("", 2, 2)


def test_without_its_tools_it_is_not_tried(maker: Maker) -> None:
    kit = a_kit(maker, "sh", "no-such-tool", "nor-this")
    kits.make([kit])
    assert kit.why_not() == "no-such-tool and nor-this not installed"
    assert maker.fetched == 0


def test_what_cannot_be_fetched_says_why_and_is_tried_again(
    maker: Maker, capsys: pytest.CaptureFixture[str]
) -> None:
    maker.no_index = "WARNING: an error may follow\nERROR: No matching distribution\nmore"
    kit = a_kit(maker)
    kits.make([kit])
    reason = f"{Path(sys.executable).name}: ERROR: No matching distribution"
    assert (kit.why_not(), maker.built) == (reason, 0)
    assert f"Thing: {reason}: its tests are skipped" in capsys.readouterr().err
    maker.no_index = ""
    kits.make([kit])
    assert (kit.why_not(), maker.built) == ("", 1)


def test_what_cannot_be_built_is_no_excuse_and_is_tried_again(
    tmp_path: Path, maker: Maker, capsys: pytest.CaptureFixture[str]
) -> None:
    kit = a_kit(maker)
    kits.make([kit])
    (tmp_path / "manifest").write_text("2")
    maker.no_build = "main.go:3: undefined: x"
    kits.make([kit])
    # Its tests are run, and fail: there is nothing any more that they could run.
    assert (kit.why_not(), kit.place.exists()) == ("", False)
    assert "Thing cannot be built:\nmain.go:3: undefined: x" in capsys.readouterr().err
    maker.no_build = ""
    kits.make([kit])
    assert maker.built == 2


def test_a_tool_that_does_not_end_is_ended(maker: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, timeout: float, **__: object) -> None:
        raise subprocess.TimeoutExpired("it", timeout)

    monkeypatch.setattr(subprocess, "run", never)
    kit = a_kit(maker)
    kits.make([kit])
    assert kit.why_not().endswith(": it was not done after 900 s")
