"""The rehearsal of certificates over the admin API."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from openimds.facts.generations import STEPS
from tests.unit.admin.setup import JSON, AdminServer

PATH = "/v1/certificates/rehearsal"


def play(folder: Path, *calls: tuple[str, str, bytes], later_s: float = 0) -> list[Any]:
    async def work() -> list[Any]:
        server = AdminServer(folder)
        answers = []
        for method, path, body in calls:
            headers = JSON if body else {}
            answers.append(await server.api.request(method, path, content=body, headers=headers))
            server.now_s += later_s
        return answers

    return asyncio.run(work())


def test_walk_begins_goes_on_and_ends(tmp_path: Path) -> None:
    begun, later, listed, ended, shown = play(
        tmp_path,
        ("POST", PATH, b'{"everyS": 100, "first": "2024"}'),
        ("GET", PATH, b""),
        ("GET", "/v1/certificates", b""),
        ("DELETE", PATH, b""),
        ("GET", PATH, b""),
        later_s=100,
    )
    assert begun.status_code == 200
    assert [step["taken"] for step in begun.json()["steps"]] == [True, False]
    assert [step["taken"] for step in later.json()["steps"]] == [True, True]
    assert later.json()["steps"][1]["reports"] == [*STEPS["2026"].reports]
    assert later.json()["overlapS"] == 25
    assert any("OCSP" in one["subject"] for one in listed.json()["items"] if one["inUse"])
    assert ended.status_code == 204
    assert shown.json() == {"everyS": 0, "overlapS": 0, "steps": []}


@pytest.mark.parametrize(
    "body, detail",
    [
        (b'{"everyS": 1}', "everyS"),
        (b'{"overlapS": 86401}', "overlap_s"),
        (b'{"first": "2026", "last": "2019"}', "last"),
        (b'{"first": "2020"}', "first"),
        (b'{"pace": 1}', "pace"),
        (b"[]", "body"),
    ],
)
def test_walk_that_does_not_fit_is_refused(tmp_path: Path, body: bytes, detail: str) -> None:
    refused, shown = play(tmp_path, ("POST", PATH, body), ("GET", PATH, b""))
    assert refused.status_code == 422
    assert detail in refused.json()["detail"]
    assert shown.json()["steps"] == []
