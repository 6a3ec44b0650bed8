"""`openimds attest rehearse` against a fake admin API."""

import json
from pathlib import Path
from typing import Any

import pytest

from openimds.cli.attest import command
from openimds.cli.client import Client
from openimds.errors import ConfigError
from tests.unit.cli.runner import CliRunner

WALK = {
    "everyS": 60,
    "overlapS": 15,
    "steps": [
        {
            "generation": year,
            "begins": "2026-11-22T19:54:46.000Z",
            "overlapEnds": "2026-11-22T19:55:01.000Z",
            "taken": year == "2024",
            "change": "another issuer",
            "reports": reports,
        }
        for year, reports in (("2024", []), ("2026", ["spiffe/spire#6952", "coder/coder#25418"]))
    ],
}
CALLS: list[tuple[object, ...]] = []


@pytest.fixture(autouse=True)
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def ask(_: Client, *call: object) -> Any:
        CALLS.append(call)
        return None if call[0] == "DELETE" else WALK

    CALLS.clear()
    # A client reads its token at once; the user's own state folder may have none.
    (tmp_path / "admin-token").write_text("x")
    monkeypatch.setenv("OPENIMDS_TOKEN_FILE", str(tmp_path / "admin-token"))
    monkeypatch.setattr(Client, "ask", ask)


def run(*arguments: str) -> str:
    got = CliRunner().invoke(command, ["rehearse", *arguments], catch_exceptions=False)
    assert got.exit_code == 0, got.output
    return got.stdout


def test_options_are_the_members_of_the_request() -> None:
    lines = run("--every", "60", "--overlap", "15", "--first", "2024").splitlines()
    body = {"everyS": 60, "overlapS": 15, "first": "2024"}
    assert [("POST", "/v1/certificates/rehearsal", body)] == CALLS
    assert [line.split("\t")[0] for line in lines] == ["GENERATION", "2024", "2026"]
    assert [line.split("\t")[3] for line in lines] == ["TAKEN", "yes", "-"]
    assert lines[-1].endswith("\tspiffe/spire#6952 coder/coder#25418")


def test_walk_is_shown_without_beginning_one() -> None:
    assert json.loads(run("--show", "--json")) == WALK
    assert [method for method, *_ in CALLS] == ["GET"]


def test_ended_walk_is_confirmed() -> None:
    assert run("--end") == "the rehearsal has ended; the certificates stay\n"
    assert CALLS == [("DELETE", "/v1/certificates/rehearsal")]


@pytest.mark.parametrize(
    "arguments, where",
    [
        (["--show", "--every", "60"], "--show"),
        (["--end", "--last", "2026"], "--end"),
        (["--show", "--end"], "--show"),
        (["--every", "59"], "--every"),
        (["--first", "2020"], "--first"),
    ],
)
def test_options_that_do_not_fit_are_refused(arguments: list[str], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        run(*arguments)
    assert caught.value.where == where
    assert CALLS == []
