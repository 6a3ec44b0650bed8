"""`--watch` on a terminal and in a pipe, and the signal that wakes it."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import click
import pytest

from openimds.cli import table, watch
from openimds.cli.client import ServerError
from openimds.cli.table import member
from openimds.cli.watch import ChangeSignal, WatchedList, check_form, watch_list, watch_text

COLUMNS = (member("NAME", "name"), member("SIZE", "size"))


class Turns:
    """Wakes once for each step, and ends as Ctrl-C does."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self.steps = [*steps]
        self.periods: list[float] = []

    def wait(self, period_s: float) -> None:
        self.periods.append(period_s)
        if not self.steps:
            raise KeyboardInterrupt
        self.steps.pop(0)()


class Feed:
    """The feed of a server: some changes, then its end or an error."""

    def __init__(self, *items: dict[str, Any], error: str = "") -> None:
        self.items, self.error, self.paths = items, error, list[str]()

    def follow(self, path: str) -> Iterator[dict[str, Any]]:
        self.paths.append(path)
        yield from self.items
        if self.error:
            raise ServerError(self.error)


def watched(items: dict[str, str], output: str = "") -> WatchedList:
    def read() -> list[dict[str, Any]]:
        return [{"name": name, "size": size} for name, size in items.items()]

    return WatchedList(read, COLUMNS, "name", output)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "6")


def run(items: dict[str, str], *steps: Callable[[], object], output: str = "") -> None:
    watch_list(watched(items, output), Turns(*steps))  # type: ignore[arg-type]


def test_pipe_gets_the_list_and_then_its_changes(capsys: pytest.CaptureFixture[str]) -> None:
    items = {"a": "1", "b": "2"}
    run(items, lambda: None, lambda: items.update(b="3", c="4"), lambda: items.pop("a"))
    assert capsys.readouterr().out.splitlines() == [
        "NAME\tSIZE",
        "a\t1",
        "b\t2",
        "b\t3",
        "c\t4",
        "a\tgone",
    ]


def test_json_has_one_item_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    items = {"a": "1"}
    run(items, items.clear, output="json")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [{"name": "a", "size": "1"}, {"name": "a", "gone": True}]


def test_names_alone_are_printed_where_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    items = {"a": "1"}
    run(items, lambda: items.update(b="1"), output="name")
    assert capsys.readouterr().out.split() == ["a", "b"]


@pytest.mark.usefixtures("screen")
def test_terminal_is_drawn_anew_at_a_change(capsys: pytest.CaptureFixture[str]) -> None:
    items = {"a": "1"}
    run(items, lambda: None, lambda: items.update(a="2"))
    _, first, second = capsys.readouterr().out.split("\x1b[H\x1b[2J")
    assert first.splitlines()[:2] == ["NAME  SIZE", "a     1"]
    assert second.splitlines()[1] == "a     2"
    assert "1 in all" in second
    assert second.endswith("; Ctrl-C ends\n")


@pytest.mark.usefixtures("screen")
def test_list_that_is_longer_than_the_screen_ends_there(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run({f"vm-{number}": "1" for number in range(9)})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert "9 in all, 6 lines below" in lines[-1]


def test_text_in_a_pipe_prints_its_new_lines(capsys: pytest.CaptureFixture[str]) -> None:
    texts = ["one\ntwo"]
    turns = Turns(lambda: None, lambda: texts.insert(0, "one\nthree"))
    watch_text(lambda: texts[0], turns, 2.0)  # type: ignore[arg-type]
    assert capsys.readouterr().out.splitlines() == ["one", "two", "three"]
    assert turns.periods == [2.0] * 3


@pytest.mark.usefixtures("screen")
def test_text_on_a_terminal_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    watch_text(lambda: "one\ntwo", Turns())  # type: ignore[arg-type]
    assert capsys.readouterr().out.startswith("\x1b[H\x1b[2Jone\ntwo\n")


def test_signal_wakes_at_a_change_and_reports_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_GATHER_S", 0)
    feed = Feed({"revision": 1})
    signal = ChangeSignal(feed)  # type: ignore[arg-type]
    signal._thread.join()
    with pytest.raises(ServerError, match="the server has ended the feed"):
        signal.wait(0)
    assert feed.paths == ["/v1/changes"]


def test_signal_reports_an_error_of_the_feed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_GATHER_S", 0)
    signal = ChangeSignal(Feed(error="refused"))  # type: ignore[arg-type]
    signal._thread.join()
    with pytest.raises(ServerError, match=r"^refused$"):
        signal.wait(0)


def test_signal_waits_no_longer_than_its_period() -> None:
    class Endless(Feed):
        def follow(self, _: str) -> Iterator[dict[str, Any]]:
            return iter(())

    signal = ChangeSignal(Endless())  # type: ignore[arg-type]
    signal._thread.join()
    signal._error = ""
    signal._changed.clear()
    signal.wait(0)


def test_yaml_cannot_be_watched() -> None:
    with pytest.raises(click.UsageError, match="--output yaml"):
        check_form("yaml")
    check_form("json")
