"""Verifiers of certificates at their default settings, before and after a revocation.

They verify the chain of an attested document whose certificates name addresses of the public
listener: the issuers and lists that they are given were fetched there. A check for clients refuses
as it does on Azure's own leaf.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Struct

from tests.clients.kits import KITS, tool
from tests.clients.private_server import (
    JS,
    PROGRAMS,
    REDIRECTED,
    PrivateServer,
    private_server,
)

pytestmark = [pytest.mark.system, pytest.mark.netns]

DOCUMENT = f"http://{REDIRECTED}/metadata/attested/document?api-version=2021-02-01&nonce="
AZURE = Path(__file__).parents[1] / "unit/credentials/pki/azure"
AZURES_TIME_S = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp())
"""A time at which Azure's leaf was valid."""
POLICY = "2.23.140.1.2.2"
_RUBY = KITS["Ruby"].place / "usr/bin/ruby3.1"
_ACCEPTED = re.compile(r"accepted|\S+: OK")


class Chain(Struct, frozen=True):
    """The files of a chain; Azure's has no `lists`, and held at `at_s`."""

    leaf: str
    above: str
    root: str
    lists: str = ""
    at_s: int = 0


def chain_in(folder: str) -> Chain:
    return Chain(f"{folder}/leaf.pem", f"{folder}/above.pem", "root.pem", f"{folder}/lists.pem")


AZURES = Chain("azure/leaf.pem", "azure/above.pem", "azure/root.pem", at_s=AZURES_TIME_S)


class Verifier(Struct, frozen=True):
    """A verifier: its command for a chain and a purpose, and its words.

    `revoked` is its verdict about a revoked leaf, None if it looks no revocation up; `client` its
    verdict about a leaf for servers as that of a client, None if it checks no purpose.
    """

    client: str
    name: str
    command: Callable[[Chain, str], list[str]]
    revoked: str | None = None
    no_client: str | None = None


def jdk(revocation: str, *options: str) -> Callable[[Chain, str], list[str]]:
    def command(chain: Chain, purpose: str) -> list[str]:
        # Azure's addresses cannot be reached from here.
        way = revocation if chain.lists else "off"
        program = ("java", *options, "-cp", str(KITS["JDK"].place), "PkixVerifier", way, purpose)
        return [*program, chain.leaf, chain.above, chain.root, str(chain.at_s)]

    return command


def openssl(chain: Chain, purpose: str) -> list[str]:
    options = ["-policy", POLICY, "-explicit_policy", "-purpose", f"ssl{purpose}"]
    options += ["-CAfile", chain.root, "-untrusted", chain.above]
    if chain.lists:
        options += ["-crl_check_all", "-CRLfile", chain.lists]
    else:
        options += ["-partial_chain", "-attime", str(chain.at_s)]
    verify = ["openssl", "verify", *options, chain.leaf]
    # Its exit status is that of the verdict.
    return ["sh", "-c", '"$@" 2>&1 || true', "sh", *verify]


def ruby(chain: Chain, purpose: str) -> list[str]:
    program = [str(_RUBY), str(PROGRAMS / "store_verifier.rb"), purpose]
    return [*program, chain.leaf, chain.above, chain.root, chain.lists, str(chain.at_s)]


def go(chain: Chain, purpose: str) -> list[str]:
    program = [str(KITS["Go"].place / "x509verifier"), purpose]
    return [*program, chain.leaf, chain.above, chain.root, str(chain.at_s)]


def cryptography(chain: Chain, purpose: str) -> list[str]:
    program = [sys.executable, "-P", str(PROGRAMS / "server_verifier.py"), purpose]
    return [*program, chain.leaf, chain.above, chain.root, str(chain.at_s)]


def forge(package: str) -> Callable[[Chain, str], list[str]]:
    def command(chain: Chain, _purpose: str) -> list[str]:
        program = [tool("node"), str(JS / "node-forge.mjs"), package]
        return [*program, chain.leaf, chain.above, chain.root]

    return command


DOTNET = "C# X509Chain"
JDK, OPENSSL, RUBY = "Java PKIX of the JDK", "C openssl verify", "Ruby OpenSSL::X509::Store"
NO_TARGET = "target certificate constraints check failed"
NO_CLIENT = "unsuitable certificate purpose"
VERIFIERS = (
    Verifier(JDK, "PKIXRevocationChecker", jdk("checker"), "REVOKED", NO_TARGET),
    Verifier(
        JDK,
        "enableCRLDP",
        jdk("bare", "-Dcom.sun.security.enableCRLDP=true"),
        "REVOKED",
        NO_TARGET,
    ),
    Verifier(OPENSSL, "openssl", openssl, "certificate revoked", NO_CLIENT),
    Verifier(RUBY, "ruby", ruby, "certificate revoked", NO_CLIENT),
    Verifier("Go crypto/x509", "go", go, no_client="incompatible key usage"),
    Verifier("Python cryptography", "cryptography", cryptography, no_client="required EKU"),
    Verifier("JavaScript node-forge", "node-forge", forge("node-forge")),
    Verifier("JavaScript node-forge-1.3.1", "node-forge-1.3.1", forge("node-forge-1.3.1")),
)


def each(*verifiers: Verifier) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "verifier",
        [pytest.param(row, marks=pytest.mark.client(row.client), id=row.name) for row in verifiers],
    )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """A server whose leaf was revoked and replaced.

    `revoked` has the chain of a document before, with the lists of afterwards, `good` that of the
    next document, `azure` Azure's own.
    """
    folder = tmp_path_factory.mktemp("verifiers")
    write_azures(folder / "azure")
    public = ("--no-rate-limit", "--public", "127.0.0.1:8171")
    with private_server({"vms": {"web-1": {}}}, *public, at=REDIRECTED, cwd=folder) as server:
        root = '"$0" -m openimds attest ca --root > root.pem'
        revoke = '"$0" -m openimds attest revoke leaf'
        parts(server, {"folder": "revoked", "url": f"{DOCUMENT}1"})
        for line in (root, revoke):
            server.run_text(["sh", "-ec", line, sys.executable], [], **server.variables)
        parts(server, {"folder": "revoked"}, {"folder": "good", "url": f"{DOCUMENT}2"})
        yield server
        assert server.stop() == (0, "")


def parts(server: PrivateServer, *cases: dict[str, str]) -> None:
    server.python("attested_parts.py", cases)


def write_azures(folder: Path) -> None:
    """Write Azure's leaf and the CA certificates above it; the upper one is trusted."""
    folder.mkdir()
    shutil.copy(AZURE / "leaf-2026-05.pem", folder / "leaf.pem")
    root, above = x509.load_pem_x509_certificates((AZURE / "tiers-2026.pem").read_bytes())
    (folder / "root.pem").write_bytes(root.public_bytes(Encoding.PEM))
    (folder / "above.pem").write_bytes(above.public_bytes(Encoding.PEM))


def verdict(server: PrivateServer, verifier: Verifier, chain: Chain, purpose: str) -> str:
    if verifier.client == OPENSSL and not tool("openssl"):
        pytest.skip("openssl not installed")
    variables = KITS["Ruby"].variables() if verifier.client == RUBY else {}
    return server.run_text(verifier.command(chain, purpose), [], **variables).text.strip()


@each(*VERIFIERS)
def test_default_verifier_accepts_the_chain_of_a_document(
    served: PrivateServer, verifier: Verifier, record_property: Any
) -> None:
    text = verdict(served, verifier, chain_in("good"), "server")
    assert _ACCEPTED.fullmatch(text), text
    if version := version_of(verifier.client):
        record_property("version", version)


@each(*VERIFIERS)
def test_revoked_leaf_is_refused_where_revocation_is_looked_up(
    served: PrivateServer, verifier: Verifier
) -> None:
    text = verdict(served, verifier, chain_in("revoked"), "server")
    if verifier.revoked is None:
        assert _ACCEPTED.fullmatch(text), text
    else:
        assert verifier.revoked in text
        assert not _ACCEPTED.search(text)


@each(*(row for row in VERIFIERS if row.no_client))
def test_check_for_clients_refuses_as_on_azures_leaf(
    served: PrivateServer, verifier: Verifier
) -> None:
    assert _ACCEPTED.fullmatch(verdict(served, verifier, AZURES, "server"))
    for chain in (chain_in("good"), AZURES):
        text = verdict(served, verifier, chain, "client")
        assert verifier.no_client
        assert verifier.no_client in text
        assert not _ACCEPTED.search(text)


@pytest.mark.client(JDK)
def test_bare_parameters_of_the_jdk_fetch_nothing_and_refuse(served: PrivateServer) -> None:
    command = jdk("bare")(chain_in("good"), "server")
    text = served.run_text(command, []).text
    assert text.startswith("UNDETERMINED_REVOCATION_STATUS: ")


@pytest.mark.client(DOTNET)
@pytest.mark.skip(reason="no index of packages here has .NET; test_attested.py has its conditions")
def test_dotnet_finds_the_first_list() -> None:
    """Stands for the row of .NET: no test runs it."""


def version_of(client: str) -> str:
    """Return the version of a program of this machine, or ""."""
    commands = {
        JDK: ("java", "--version"),
        OPENSSL: ("openssl", "version"),
        "Go crypto/x509": ("go", "version"),
    }
    if client not in commands:
        return ""
    output = subprocess.run(commands[client], capture_output=True, text=True, check=True).stdout
    found = re.search(r"\d+(\.\d+)+", output)
    return found[0] if found else ""
