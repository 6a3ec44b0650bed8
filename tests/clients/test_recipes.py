"""The commands of Microsoft's document, taken from it as they stand there, and run.

The document is Microsoft's and no part of this repository; `tests/swagger/files.py` says where it
is looked for.
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
from tests.clients.rig import REAL, Stage, stage
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
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("described")
    fleet = {"vms": {"web-1": DESCRIBED}}
    with stage(fleet, "--no-rate-limit", at=REAL, cwd=folder) as one:
        yield one
        assert one.stop() == (0, "")


def at(node: Any, route: list[str]) -> Any:
    """Return what is said of the VM at a route."""
    for name in route:
        node = node[int(name)] if isinstance(node, list) else node[name]
    return node


def compare(shown: Any, said: Any) -> int:
    """Hold every value that is shown against what was said of the VM; return how many there are."""
    if isinstance(said, dict) and isinstance(shown, dict):
        return sum(compare(shown[name], said[name]) for name in shown if name in said)
    if isinstance(said, list):
        assert len(shown) == len(said)
        return sum(map(compare, shown, said))
    if isinstance(said, dict):
        said = ";".join(f"{name}:{value}" for name, value in said.items())
    assert shown == said
    return 1


@pytest.mark.client("C curl")
@needs("curl")
@pytest.mark.parametrize("line", CURL, ids=range(len(CURL)))
def test_a_request_is_answered_with_what_is_said_of_the_vm(
    described: Stage, line: str, record_property: Any
) -> None:
    told = described.run_text(["sh", "-ec", line], [])
    (url,) = re.findall(r"http://[^\"]+", line)
    asked = urlsplit(url)
    said = at(DESCRIBED, asked.path.split("/")[3:])
    if parse_qs(asked.query).get("format") != ["text"]:
        assert compare(json.loads(told.text), said) > 1
    elif isinstance(said, str):
        assert told.text == said
    else:
        assert told.text.split() == [f"{name}/" for name in sorted(said)]
    assert told.moved == {"requests instance 200": 1}
    record_property("version", version("curl", "--version"))


@pytest.mark.client("C openssl")
@needs("curl", "jq", "openssl")
def test_the_attested_document_verifies_link_by_link(
    described: Stage, record_property: Any
) -> None:
    ready = described.ready
    variables = {"OPENIMDS_ADMIN": ready["admin"], "OPENIMDS_TOKEN_FILE": ready["token_file"]}
    ours = '"$0" -m openimds attest ca --root > root.pem'
    described.run_text(["sh", "-ec", ours, sys.executable], [], **variables)
    verify, look = ATTESTED
    told = described.run_text(["sh", "-ec", verify], [])
    assert json.loads(told.text)["vmId"] == DESCRIBED["compute"]["vmId"]
    # The intermediate certificate comes from where the leaf says that it is.
    assert told.moved == {"requests attested 200": 1}
    # The root alone is another one: nobody has ours among those of the system.
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
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return said.split()[1]
