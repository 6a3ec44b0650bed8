"""The commands of Microsoft's document, executed verbatim.

The document is Microsoft's and no part of this repository; `tests/swagger/files.py` has its place.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.clients.fleet import DESCRIBED
from tests.clients.kits import tool
from tests.clients.private_server import REAL, PrivateServer, private_server
from tests.swagger.files import DOCUMENT, NO_DOCUMENT

pytestmark = [
    pytest.mark.system,
    pytest.mark.netns,
    pytest.mark.skipif(not DOCUMENT.exists(), reason=NO_DOCUMENT),
]

_TEXT = DOCUMENT.read_text("utf-8") if DOCUMENT.exists() else ""
CURL = sorted(set(re.findall(r"^curl -H .*$", _TEXT, re.MULTILINE)))
_SHELL = re.findall(r"^```bash\n(.*?)^```$", _TEXT, re.MULTILINE | re.DOTALL)
ATTESTED = [block for block in _SHELL if "openssl" in block]
_ROOT = re.compile(r"/etc/ssl/certs/\S+\.pem")


def needs(*names: str) -> pytest.MarkDecorator:
    missing = [name for name in names if not tool(name)]
    return pytest.mark.skipif(bool(missing), reason=f"{' and '.join(missing)} not installed")


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    folder = tmp_path_factory.mktemp("described")
    fleet = {"vms": {"web-1": DESCRIBED}}
    # The recipe follows one issuer address to one intermediate, as certificates had it then.
    options = ("--no-rate-limit", "--attest-generation", "2023")
    with private_server(fleet, *options, at=REAL, cwd=folder) as server:
        yield server
        assert server.stop() == (0, "")


def at(node: Any, route: list[str]) -> Any:
    """Return the value of the VM at a route."""
    for name in route:
        node = node[int(name)] if isinstance(node, list) else node[name]
    return node


def compare(served: Any, configured: Any) -> int:
    """Compare each served value with the VM's configuration; return their number."""
    if isinstance(configured, dict) and isinstance(served, dict):
        names = served.keys() & configured.keys()
        return sum(compare(served[name], configured[name]) for name in names)
    if isinstance(configured, list):
        assert len(served) == len(configured)
        return sum(map(compare, served, configured))
    if isinstance(configured, dict):
        configured = ";".join(f"{name}:{value}" for name, value in configured.items())
    assert served == configured
    return 1


@pytest.mark.client("C curl")
@needs("curl")
@pytest.mark.parametrize("line", CURL, ids=range(len(CURL)))
def test_documented_request_gets_the_configured_values(
    described: PrivateServer, line: str, record_property: Any
) -> None:
    ran = described.run_text(["sh", "-ec", line], [])
    (url,) = re.findall(r"http://[^\"]+", line)
    target = urlsplit(url)
    configured = at(DESCRIBED, target.path.split("/")[3:])
    if parse_qs(target.query).get("format") != ["text"]:
        assert compare(json.loads(ran.text), configured) > 1
    elif isinstance(configured, str):
        assert ran.text == configured
    else:
        assert ran.text.split() == [f"{name}/" for name in sorted(configured)]
    assert ran.moved == {"requests instance 200": 1}
    record_property("version", version("curl", "--version"))


@pytest.mark.client("C openssl")
@needs("curl", "jq", "openssl")
def test_attested_document_verifies_link_by_link(
    described: PrivateServer, record_property: Any
) -> None:
    ours = '"$0" -m openimds attest ca --root > root.pem'
    described.run_text(["sh", "-ec", ours, sys.executable], [], **described.variables)
    verify, look = ATTESTED
    ran = described.run_text(["sh", "-ec", verify], [])
    assert json.loads(ran.text)["vmId"] == DESCRIBED["compute"]["vmId"]
    # The intermediate certificate comes from the URL in the leaf.
    assert ran.moved == {"requests attested 200": 1}
    # Only the root differs: ours is not among those of the system.
    look, number = _ROOT.subn("root.pem", look)
    assert number == 1
    leaf, issuer, subject, above, verdict = described.run_text(
        ["sh", "-ec", look], []
    ).text.splitlines()
    assert "metadata.azure.com" in leaf
    assert issuer.removeprefix("issuer=") == subject.removeprefix("subject=")
    assert above.removeprefix("issuer=") != subject.removeprefix("subject=")
    assert verdict == "signer.pem: OK"
    record_property("version", version("openssl", "version"))


def version(*command: str) -> str:
    """Return the version of a command of this machine."""
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return output.split()[1]
