"""The real process with a certificate at its admin port, called by commands."""

import json
import ssl
from pathlib import Path

import httpx2
import pytest

from tests.support.certificates import TestCa
from tests.system.process import run, serving

pytestmark = pytest.mark.system


@pytest.mark.parametrize("processes", ["1", "2"])
def test_commands_reach_a_server_by_https(tmp_path: Path, processes: str) -> None:
    ca = TestCa(tmp_path)
    certificate, key = ca.issue("server", "127.0.0.1")
    client, client_key = ca.issue("client")
    files = ("--admin-cert", str(certificate), "--admin-key", str(key))
    demand = ("--admin-client-ca", str(ca.path))
    with serving("--processes", processes, *files, *demand, cwd=tmp_path) as server:
        assert server.ready["admin"].startswith("https://127.0.0.1:")
        named = {
            "OPENIMDS_CA": str(ca.path),
            "OPENIMDS_CLIENT_CERT": str(client),
            "OPENIMDS_CLIENT_KEY": str(client_key),
        }
        listed = run("vm", "list", "--json", cwd=tmp_path, **server.variables, **named)
        assert listed.returncode == 0, listed.stderr
        assert [vm["name"] for vm in json.loads(listed.stdout)] == ["vm-1"]

        context = ssl.create_default_context(cafile=str(ca.path))
        context.load_cert_chain(client, client_key)
        described = httpx2.get(f"{server.ready['admin']}/openapi.json", verify=context).json()
        assert described["servers"] == [{"url": server.ready["admin"]}]

        unknown = run("vm", "list", cwd=tmp_path, **server.variables)
        assert unknown.returncode == 1
        assert "set OPENIMDS_CA to the file of this CA" in unknown.stderr

        anonymous = run("vm", "list", cwd=tmp_path, **server.variables, OPENIMDS_CA=str(ca.path))
        assert anonymous.returncode == 1
        assert "set OPENIMDS_CLIENT_CERT and OPENIMDS_CLIENT_KEY" in anonymous.stderr

        plain = {**server.variables, "OPENIMDS_ADMIN": server.ready["admin"].replace("s:", ":")}
        spoken = run("vm", "list", cwd=tmp_path, **plain)
        assert spoken.returncode == 1
        assert "write https:// in OPENIMDS_ADMIN" in spoken.stderr
        assert server.stop()[0] == 0


@pytest.mark.parametrize("processes", ["1", "2"])
def test_certificate_that_is_absent_ends_the_start(tmp_path: Path, processes: str) -> None:
    files = ("--admin-cert", "absent.pem", "--admin-key", "absent.key")
    started = run(
        "serve",
        "--processes",
        processes,
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        *files,
        cwd=tmp_path,
    )
    assert started.returncode == 2
    assert "admin_cert: saw absent.pem (no such file or directory), expected" in started.stderr
