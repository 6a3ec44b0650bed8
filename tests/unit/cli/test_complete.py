"""Names and ids for the completion of a shell."""

import socket
from pathlib import Path
from typing import Any

import click
import pytest
from click.shell_completion import CompletionItem, ShellComplete

from openimds.cli import complete
from openimds.cli.client import Client, ServerError
from openimds.cli.main import command

LISTS: dict[str, list[dict[str, Any]]] = {
    "/v1/events": [{"id": "AB-1", "type": "Reboot"}, {"id": "CD-2", "type": "Freeze"}],
    "/v1/faults": [{"id": "ab1", "effect": "status"}],
    "/v1/hosts": [{"name": "abel", "state": "joined"}],
    "/v1/scenarios": [{"name": "abc"}],
    "/v1/tokens": [{"name": "abi", "role": "read"}],
    "/v1/identities": [{"resourceId": "/ab", "vm": "a"}, {"clientId": "ab-c", "vm": "b"}],
}


@pytest.fixture
def paths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Answer from `LISTS`; return the paths that are asked for."""
    (tmp_path / "token").write_text("x")
    monkeypatch.setenv("OPENIMDS_TOKEN_FILE", str(tmp_path / "token"))
    asked: list[str] = []

    def ask(_: Client, __: str, path: str) -> Any:
        asked.append(path)
        if path.startswith("/v1/vms?"):
            return {"items": [{"name": "abba"}]}
        if path not in LISTS:
            raise ServerError("there is no such list")
        return {"items": LISTS[path]}

    monkeypatch.setattr(Client, "ask", ask)
    return asked


def completions(typed: str) -> list[str]:
    """Return the completions of the last word."""
    *words, incomplete = typed.split(" ")
    complete = ShellComplete(command, {}, "openimds", "_OPENIMDS_COMPLETE")
    return [item.value for item in complete.get_completions(words, incomplete)]


@pytest.mark.parametrize(
    "typed, found",
    [
        ("event cancel a", ["AB-1"]),
        ("event wait c", ["CD-2"]),
        ("event log ", ["AB-1", "CD-2"]),
        ("fault clear a", ["ab1"]),
        ("fault set sta", ["status"]),
        ("control host revoke ab", ["abel"]),
        ("vm move x --to ab", ["abel"]),
        ("scenario remove ab", ["abc"]),
        ("token revoke ab", ["abi"]),
        ("token rotate x", []),
        ("identity remove --user /", ["/ab"]),
        ("identity token w --client-id ab", ["ab-c"]),
        ("audit --vm ab", ["abba"]),
        ("changes --vm ab", ["abba"]),
        ("env --vm ab", ["abba"]),
        ("vm show ab", ["abba"]),
        ("identity token ab", ["abba"]),
    ],
)
def test_word_is_completed_from_the_server(paths: list[str], typed: str, found: list[str]) -> None:
    assert completions(typed)[: len(found) or 1] == found
    assert paths or typed.startswith("fault set")


def offer(read: complete.Read) -> list[CompletionItem]:
    return complete.offered(click.Context(command), "", read)


def test_completion_without_a_server_is_empty(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("OPENIMDS_ADMIN", "127.0.0.1:1")
    assert completions("event cancel ") == []
    monkeypatch.setenv("OPENIMDS_ADMIN", "no URL:")
    assert completions("event cancel ") == []
    assert capsys.readouterr() == ("", "")


def test_completion_does_not_wait_for_a_hanging_server(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("x")
    monkeypatch.setenv("OPENIMDS_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setattr(complete, "PATIENCE_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        monkeypatch.setenv("OPENIMDS_ADMIN", f"127.0.0.1:{hanging.getsockname()[1]}")
        assert completions("event cancel ") == []


def test_answer_of_another_release_completes_nothing(paths: list[str]) -> None:
    def read(client: Client, _: str) -> list[CompletionItem]:
        return [CompletionItem(client.ask("GET", "/v1/events")["absent"])]

    assert offer(read) == []
    assert paths == ["/v1/events"]
