"""Commands that ask on a terminal, and that watch, in processes of their own."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.process import COMMAND, Server, clean_environment, next_line, run, serving

pytestmark = pytest.mark.system

FLEET = {
    "vms": {
        name: {"compute": {"tags": {"env": "prod"}}}
        for name in ("web-1", "web-2", "web-3", "web-4")
    }
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "fleet.json").write_text(json.dumps(FLEET))
    with serving("--fleet", "fleet.json", "--state", "lab", cwd=tmp_path) as started:
        yield started


def names(server: Server, cwd: Path) -> list[str]:
    got = run("vm", "list", "--output", "name", cwd=cwd, **server.variables)
    return got.stdout.split()


@pytest.mark.parametrize("answer, code, left", [(b"n\n", 1, 4), (b"y\n", 0, 0)])
def test_terminal_asks_before_many_vms_are_removed(
    server: Server, tmp_path: Path, answer: bytes, code: int, left: int
) -> None:
    terminal, inner = os.openpty()
    process = subprocess.Popen(
        [*COMMAND, "vm", "remove", "--select", "tag=env:prod"],
        stdin=inner,
        stdout=inner,
        stderr=inner,
        cwd=tmp_path,
        env=clean_environment(server.variables),
    )
    os.close(inner)
    shown = b""
    while b"[y/N]" not in shown:
        shown += os.read(terminal, 4096)
    assert b"Remove 4 VMs (web-1, web-2, web-3 and 1 more)?" in shown
    os.write(terminal, answer)
    assert process.wait(30) == code
    os.close(terminal)
    assert len(names(server, tmp_path)) == left


def test_watch_in_a_pipe_prints_changes_and_ends_clean(server: Server, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "vm", "list", "web-*", "--fields", "zone", "--watch"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env=clean_environment(server.variables),
    )
    assert process.stdout is not None
    output = process.stdout.fileno()
    first = [next_line(output) for _ in range(5)]
    assert first == ["NAME\tZONE\n", "web-1\t\n", "web-2\t\n", "web-3\t\n", "web-4\t\n"]
    (tmp_path / "patch.json").write_text('{"compute": {"zone": "2"}}')
    run("vm", "patch", "web-2", "patch.json", cwd=tmp_path, **server.variables)
    assert next_line(output) == "web-2\t2\n"
    run("vm", "remove", "web-[34]", cwd=tmp_path, **server.variables)
    assert [next_line(output), next_line(output)] == ["web-3\tgone\n", "web-4\tgone\n"]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, b"")


def test_empty_selection_of_a_script_removes_nothing(server: Server, tmp_path: Path) -> None:
    for option in ("--select", "--vm"):
        got = run("vm", "remove", option, "", "--yes", cwd=tmp_path, **server.variables)
        assert got.returncode == 2
        assert f'{option} "" is an empty text; is a variable of the shell unset?' in got.stderr
    assert len(names(server, tmp_path)) == 4


def test_long_names_are_changed_in_parts(server: Server, tmp_path: Path) -> None:
    long = [f"{'n' * 120}-{number:03}" for number in range(600)]
    (tmp_path / "more.json").write_text(json.dumps({"vms": {name: {} for name in long}}))
    (tmp_path / "patch.json").write_text('{"compute": {"zone": "2"}}')
    run("vm", "put", "more.json", cwd=tmp_path, **server.variables)
    got = run("vm", "patch", "n*", "patch.json", cwd=tmp_path, **server.variables)
    assert (got.returncode, len(got.stderr.splitlines())) == (0, 600)
    got = run("vm", "remove", "n*", "--yes", cwd=tmp_path, **server.variables)
    assert (got.returncode, len(got.stderr.splitlines())) == (0, 600)
    assert len(names(server, tmp_path)) == 4
