"""The viewer of the API's description."""

import re
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

from openimds.admin.handlers.viewer import POLICY
from openimds.admin.operations import OPERATIONS
from openimds.admin.roles import Role
from tests.unit.admin.setup import AdminServer, with_server

NOTICE = Path(__file__).parents[4] / "NOTICE"
VIEWER = files("openimds.admin.viewer")


def test_viewer_is_a_page_with_a_strict_policy(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        page = await server.api.get("/docs")
        assert page.status_code == 200
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.headers["content-security-policy"] == POLICY
        assert page.headers["x-content-type-options"] == "nosniff"
        for address in re.findall(r'(?:src|href|spec-url)="([^"]*)"', page.text):
            assert (await server.api.get(address)).status_code == 200
        assert "://" not in page.text
        script = await server.api.get("/docs/rapidoc-min.js")
        assert script.headers["content-type"] == "text/javascript; charset=utf-8"
        assert script.content == (VIEWER / "rapidoc-min.js").read_bytes()

    with_server(tmp_path, work)


def test_policy_runs_no_inline_script_and_calls_nobody_else() -> None:
    rules = dict(rule.split(" ", 1) for rule in POLICY.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["connect-src"] == "'self'"
    assert "<script>" not in (VIEWER / "index.html").read_text("utf-8")
    assert not re.search(r"\son\w+=", (VIEWER / "index.html").read_text("utf-8"))


def test_viewer_needs_what_the_description_needs() -> None:
    rows = {row.path: row for row in OPERATIONS}
    for path in ("/docs", "/docs/rapidoc-min.js", "/openapi.json"):
        assert (rows[path].role, rows[path].is_open_on_loopback) == (Role.READ, True)


def test_notice_names_version_licence_and_digest_of_the_viewer() -> None:
    script = (VIEWER / "rapidoc-min.js").read_bytes()
    version = re.match(rb"/\*! RapiDoc ([0-9.]+) ", script)
    assert version
    notice = NOTICE.read_text("utf-8")
    assert f"RapiDoc {version[1].decode()}, MIT" in notice
    assert sha256(script).hexdigest() in notice
    assert "MIT License" in (VIEWER / "rapidoc.LICENSE.txt").read_text("utf-8")
