"""Tokens with roles at the real process: made, used, kept over a restart, revoked."""

import json
from pathlib import Path

import httpx2
import pytest

from tests.system.process import run, serving

pytestmark = pytest.mark.system


@pytest.mark.parametrize("processes", ["1", "2"])
def test_made_token_survives_a_restart_until_it_is_revoked(tmp_path: Path, processes: str) -> None:
    arguments = ("--state", "kept", "--processes", processes)
    with serving(*arguments, cwd=tmp_path) as server:
        made = run("token", "add", "board", "--role", "read", cwd=tmp_path, **server.variables)
        assert made.returncode == 0, made.stderr
        assert server.stop()[0] == 0
    token = tmp_path / "board.token"
    token.write_text(made.stdout)
    with serving(*arguments, cwd=tmp_path) as server:
        mine = {**server.variables, "OPENIMDS_TOKEN_FILE": str(token)}
        (vm,) = json.loads(run("vm", "list", "--json", cwd=tmp_path, **mine).stdout)
        assert vm["redacted"] == ["identities"]
        refused = run("clock", "--offset", "5", cwd=tmp_path, **mine)
        assert refused.returncode == 1
        assert "set_clock needs a token of the role operate; that of this" in refused.stderr
        tokens = json.loads(run("token", "list", "--json", cwd=tmp_path, **server.variables).stdout)
        assert [(one["name"], one["role"]) for one in tokens] == [("board", "read")]
        metrics = f"{server.ready['admin']}/metrics"
        assert httpx2.get(metrics).status_code == 200
        proxied = {"X-Forwarded-For": "192.0.2.9"}
        assert httpx2.get(metrics, headers=proxied).status_code == 401
        headers = {"Authorization": f"Bearer {made.stdout.strip()}"}
        assert httpx2.get(metrics, headers=proxied | headers).status_code == 200
        url = f"{server.ready['admin']}/v1/changes?since=0"
        with httpx2.stream("GET", url, headers=headers, timeout=30) as feed:
            chunks = feed.iter_raw()
            assert b"vm-1" in next(chunks)
            revoked = run("token", "revoke", "board", cwd=tmp_path, **server.variables)
            assert revoked.returncode == 0, revoked.stderr
            with pytest.raises((httpx2.ReadError, httpx2.RemoteProtocolError)):
                list(chunks)
        assert run("vm", "list", cwd=tmp_path, **mine).returncode == 1
        assert server.stop()[0] == 0


@pytest.mark.parametrize("processes", ["1", "2"])
def test_servers_without_state_share_no_token(tmp_path: Path, processes: str) -> None:
    arguments = ("--processes", processes)
    with serving(*arguments, cwd=tmp_path) as one, serving(*arguments, cwd=tmp_path) as other:
        files = [Path(server.ready["token_file"]) for server in (one, other)]
        assert files[0].read_text() != files[1].read_text()
        vms = f"{other.ready['admin']}/v1/vms"
        assert httpx2.get(vms, headers=other.authorization).status_code == 200
        assert httpx2.get(vms, headers=one.authorization).status_code == 401
        # A command finds the token by the URL alone; the variable goes before it.
        url = {"OPENIMDS_ADMIN": other.ready["admin"]}
        listed = run("vm", "list", "--output", "name", cwd=tmp_path, **url)
        assert (listed.returncode, listed.stdout) == (0, "vm-1\n"), listed.stderr
        wrong = run("vm", "list", cwd=tmp_path, OPENIMDS_TOKEN_FILE=str(files[0]), **url)
        assert wrong.returncode == 1
        assert "token" in wrong.stderr
        assert run("token", "path", cwd=tmp_path, **url).stdout == f"{files[1]}\n"
        rotated = run("token", "rotate", cwd=tmp_path, OPENIMDS_ADMIN=one.ready["admin"])
        assert rotated.returncode == 0, rotated.stderr
        assert httpx2.get(vms, headers=other.authorization).status_code == 200
        for server, file in zip((one, other), files, strict=True):
            assert server.stop()[0] == 0
            assert not file.exists()
