"""169.254.169.254:80 itself, in a network namespace of its own that ends with the test."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.machine import PRIVATE, why_unavailable
from tests.system.process import clean_environment

SCRIPT = """
ip link set lo up
ip address add 169.254.169.254/32 dev lo
"$PYTHON" -m openimds serve --listen 169.254.169.254:80 > ready 2> log &
server=$!
until [ -s ready ]; do kill -0 $server || exit 1; done
curl -sS -i -H Metadata:true "http://169.254.169.254/metadata/instance?api-version=2021-02-01"
kill $server
wait $server
"""


@pytest.mark.system
@pytest.mark.netns
def test_curl_gets_the_document_at_the_real_address(tmp_path: Path) -> None:
    if reason := why_unavailable(prefix=PRIVATE):
        pytest.skip(reason)
    got = subprocess.run(
        [*PRIVATE, "sh", "-ec", SCRIPT],
        capture_output=True,
        cwd=tmp_path,
        timeout=60,
        check=False,
        env=clean_environment({"PYTHON": sys.executable}),
    )
    assert got.returncode == 0, got.stderr
    head, _, body = got.stdout.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\n")
    assert json.loads(body)["compute"]["name"] == "vm-1"
    assert json.loads((tmp_path / "ready").read_text())["imds"] == "http://169.254.169.254:80"
