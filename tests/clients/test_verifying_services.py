"""The verifying services of the page on attested documents, each with its platform's defaults."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from openimds.credentials.pki.invalid_documents import SCENARIOS
from scripts.generate_docs import ROOT
from tests.clients.kits import KITS, tool
from tests.clients.private_server import REDIRECTED, PrivateServer, private_server
from tests.docs.story import blocks

PAGE = ROOT / "docs/use/attested.md"
PYTHON, GO, JAVA = "Python cryptography", "Go smallstep/pkcs7", "Java bcpkix-jdk18on"
_JAVA = KITS["Java"].place
COMMANDS = {
    PYTHON: [sys.executable, "-P", "service.py"],
    GO: [str(KITS["Go"].place / "verifyingservice")],
    JAVA: [
        tool("java"),
        "-cp",
        f"{_JAVA / 'classes'}:{_JAVA / 'lib'}/*",
        "VerifyingService",
    ],
}
PORTS = {"valid": 9001, **{name: 9002 + number for number, name in enumerate(SCENARIOS)}}
ID = "6277b885-0000-4000-8000-00000000{}".format
NONCE = "2468013579"
EACH = pytest.mark.parametrize(
    "service",
    [
        pytest.param(name, marks=pytest.mark.client(name), id=name.partition(" ")[0])
        for name in COMMANDS
    ],
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """A server with a VM for each invalid document, and the trust bundle beside it."""
    folder = tmp_path_factory.mktemp("services")
    (service,) = [block.text for block in blocks(PAGE) if block.text.startswith("# service.py\n")]
    (folder / "service.py").write_text(service)
    fleet = {
        name: {
            "compute": {"vmId": ID(port)},
            "reach": {"listen": [f"127.0.0.1:{port}"]},
            **({"attested": {"scenario": name}} if name != "valid" else {}),
        }
        for name, port in PORTS.items()
    }
    public = ("--no-rate-limit", "--public", "127.0.0.1:8171")
    with private_server({"vms": fleet}, *public, at=REDIRECTED, cwd=folder) as server:
        bundle = '"$0" -m openimds attest ca > trust.pem'
        server.run_text(["sh", "-ec", bundle, sys.executable], [], **server.variables)
        yield server
        assert server.stop() == (0, "")


def ask(server: PrivateServer, service: str, *cases: dict[str, Any]) -> list[dict[str, Any]]:
    if service == PYTHON and not tool("openssl"):
        pytest.skip("openssl not installed")
    variables = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    command = {"command": COMMANDS[service]}
    return server.python("ask_service.py", [command, *cases], **variables).results


def case(name: str, **changes: str) -> dict[str, str]:
    """Return the question about a VM's document."""
    asked = {"imds": f"http://127.0.0.1:{PORTS[name]}", "nonce": NONCE}
    return {**asked, "expected_nonce": NONCE, "expected_vm": ID(PORTS[name]), **changes}


@EACH
def test_valid_document_is_accepted_for_its_nonce_and_vm(
    served: PrivateServer, service: str
) -> None:
    good, other_nonce, other_vm = ask(
        served,
        service,
        case("valid"),
        case("valid", expected_nonce="1"),
        case("valid", expected_vm=ID("9999")),
    )
    assert good["status"] == 200, good
    assert (good["payload"]["vmId"], good["payload"]["nonce"]) == (ID("9001"), NONCE)
    for refused in (other_nonce, other_vm):
        assert refused["status"] == 403
        assert "another nonce, another VM, or expired" in refused["reason"]


@EACH
def test_invalid_document_is_refused(served: PrivateServer, service: str) -> None:
    # A document has a stale nonce only after another request.
    earlier = case("stale-nonce", nonce="1")
    _, *results = ask(served, service, earlier, *(case(name) for name in SCENARIOS))
    accepted = {name for name, got in zip(SCENARIOS, results, strict=True) if got["status"] == 200}
    assert accepted == (set() if service == JAVA else {"revoked-leaf"})


@EACH
def test_unreadable_documents_are_refused(served: PrivateServer, service: str) -> None:
    good = case("valid")
    bodies = ("", "[]", "{}", '{"signature": "MAA="}', "x" * 70_000)
    results = ask(served, service, *({**good, "body": body} for body in bodies), good)
    assert [got["status"] for got in results] == [403] * len(bodies) + [200]
