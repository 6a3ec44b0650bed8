"""The clients, a row for each: name, version, kit, and what its tests prove.

`make docs` writes the README's table from these rows, and `make clients` prints them with their
results. A test names its clients by the mark `client`.
"""

import re
from pathlib import Path

from msgspec import Struct

from tests.clients.node_verifiers import ROWS as NODE_VERIFIERS
from tests.clients.pins import crate, debian, go, maven, npm, pypi
from tests.clients.samples import ROWS as SAMPLES_OF_DOCUMENT

README = Path(__file__).parent / "README.md"
DEV = "requirements-dev.lock"
VARIABLE = "`AZURE_POD_IDENTITY_AUTHORITY_HOST`"
MACHINE = "of the machine"
PROGRAM = "of its program"
_TABLE = re.compile(r"(<!-- begin:clients -->\n).*?(<!-- end -->)", re.DOTALL)


class Client(Struct, frozen=True):
    """An unmodified client of other authors.

    Attributes:
        kit: its kit (`kits.py`), or empty if `make setup` installs it anyway.
        redirected: the other way to the server beside the real address.
    """

    name: str
    language: str
    version: str
    proves: str
    kit: str = ""
    redirected: str = ""

    @property
    def key(self) -> str:
        """The name in a test's mark."""
        return f"{self.language} {self.name}"


_TOKENS = "tokens of each identity, each refusal as its own error"
_COMPUTE = "the attributes of a resource: region, id, size, name of the VM"
_VERIFIES = "the chain of a document holds, and for clients fails as Azure's does"
_REFUSES = "a revoked leaf is refused"
_NEVER_LOOKS = "it never looks revocation up, and accepts a revoked leaf"
_SERVICE = "a verifying service accepts a valid document and refuses each invalid one"

CLIENTS = (
    Client(
        "azure-identity",
        "Python",
        pypi("azure-identity", DEV),
        f"{_TOKENS}; a chain's probe, and its next credential",
        redirected=VARIABLE,
    ),
    Client(
        "msal", "Python", pypi("msal", DEV), f"{_TOKENS}; a token is cached", redirected=VARIABLE
    ),
    Client(
        "PyJWT",
        "Python",
        pypi("pyjwt", "requirements.lock"),
        "tokens verify by discovery and keys, every forgery is refused, also after key rotation",
        redirected="the public listener",
    ),
    Client(
        "Authlib",
        "Python",
        pypi("authlib"),
        "the discovery document is valid, and a token verifies by it",
        "Python",
        "the public listener",
    ),
    Client(
        "opentelemetry-resource-detector-azure",
        "Python",
        pypi("opentelemetry-resource-detector-azure"),
        _COMPUTE,
        "Python",
    ),
    Client(
        "cloud-detect",
        "Python",
        pypi("cloud-detect"),
        "this is Azure, and no other cloud that uses the same address",
        "Python",
    ),
    Client(
        "azure-events-az, azure-events",
        "Python",
        debian("resource-agents", "guests"),
        "an event is seen, approved by one `POST`, started and completed; the node is back",
        "guests",
    ),
    Client(
        "cloud-init",
        "Python",
        debian("cloud-init", "guests"),
        "its data source: network configuration, keys, user, user data; retries; a poll in a pool",
        "guests",
    ),
    Client(
        "WALinuxAgent",
        "Python",
        debian("waagent", "guests"),
        "its IMDS client: its validation, the image's origin; throttled, it waits",
        "guests",
    ),
    Client(
        "@azure/identity",
        "JavaScript",
        npm("@azure/identity"),
        f"{_TOKENS}; a chain's probe, and its next credential",
        "JavaScript",
        VARIABLE,
    ),
    Client(
        "@azure/msal-node",
        "JavaScript",
        npm("@azure/msal-node"),
        f"{_TOKENS}; a token is cached",
        "JavaScript",
        VARIABLE,
    ),
    Client(
        "jsonwebtoken",
        "JavaScript",
        npm("jsonwebtoken"),
        "tokens verify by discovery and keys, every forgery is refused",
        "JavaScript",
        "the public listener",
    ),
    Client(
        "openid-client",
        "JavaScript",
        npm("openid-client"),
        "the issuer of a token is discovered, and the token verifies by it",
        "JavaScript",
        "the public listener",
    ),
    Client(
        "@opentelemetry/resource-detector-azure",
        "JavaScript",
        npm("@opentelemetry/resource-detector-azure"),
        _COMPUTE,
        "JavaScript",
    ),
    Client(
        "azidentity",
        "Go",
        go("github.com/Azure/azure-sdk-for-go/sdk/azidentity"),
        f"{_TOKENS}; a chain's probe; a token is cached",
        "Go",
    ),
    Client(
        "OpenTelemetry's azurevm",
        "Go",
        go("go.opentelemetry.io/contrib/detectors/azure/azurevm"),
        f"{_COMPUTE}, its tags",
        "Go",
    ),
    Client(
        "go-sev-guest",
        "Go",
        go("github.com/google/go-sev-guest"),
        "the certificates of an AMD processor hold under our root, and not under AMD's",
        "Go",
    ),
    Client(
        "go-tdx-guest",
        "Go",
        go("github.com/google/go-tdx-guest"),
        "a TD quote of Intel's form holds under our root, and not without it",
        "Go",
    ),
    Client(
        "prometheus/discovery/azure",
        "Go",
        go("github.com/prometheus/prometheus"),
        "machines are discovered: a token for Resource Manager, which verifies it",
        "Go",
    ),
    Client(
        "Prometheus",
        "Go",
        debian("prometheus", "prometheus"),
        "the whole program: the same, by the previous SDK",
        "Prometheus",
    ),
    Client(
        "azure_identity",
        "Rust",
        crate("azure_identity"),
        "tokens of each identity, refusals; throttled, it waits and gets its token",
        "Rust",
    ),
    Client(
        "azure-identity",
        "Java",
        maven("azure-identity"),
        "tokens of each identity, refusals; throttled, it waits and gets its token",
        "Java",
        VARIABLE,
    ),
    Client(
        "facter", "Ruby", debian("facter", "ruby"), "`facter az_metadata`: the whole VM", "Ruby"
    ),
    Client(
        "ohai",
        "Ruby",
        debian("ohai", "ruby"),
        "`ohai azure`: versions from the refusal, the VM, its addresses",
        "Ruby",
    ),
    Client("curl", "C", MACHINE, "every request of Microsoft's document, verbatim"),
    Client(
        "openssl",
        "C",
        MACHINE,
        "the document's recipe: the attested document verifies to a root, link by link",
    ),
    Client("PKIX of the JDK", "Java", MACHINE, f"{_VERIFIES}; {_REFUSES} by OCSP", "JDK"),
    Client("openssl verify", "C", MACHINE, f"{_VERIFIES}; {_REFUSES} by the fetched lists"),
    Client("OpenSSL::X509::Store", "Ruby", "3.1", f"{_VERIFIES}; {_REFUSES} by the lists", "Ruby"),
    Client("crypto/x509", "Go", MACHINE, f"{_VERIFIES}; {_NEVER_LOOKS}", "Go"),
    Client(
        "cryptography",
        "Python",
        pypi("cryptography", "requirements.lock"),
        f"{_VERIFIES}; {_NEVER_LOOKS}; {_SERVICE}, but a revoked one",
    ),
    *(
        Client(
            name,
            "JavaScript",
            npm(name).rpartition("@")[2],
            f"the chain of a document holds; {_NEVER_LOOKS}; it checks no purpose",
            "JavaScript",
        )
        for name in ("node-forge", "node-forge-1.3.1")
    ),
    Client(
        "smallstep/pkcs7",
        "Go",
        go("github.com/smallstep/pkcs7"),
        f"{_SERVICE}, but a revoked one",
        "Go",
    ),
    Client(
        "bcpkix-jdk18on",
        "Java",
        maven("bcpkix-jdk18on"),
        f"{_SERVICE}, a revoked one too",
        "Java",
    ),
    Client("X509Chain", "C#", "-", "not run: no index of packages here has .NET"),
    *(Client(row.name, "Go", PROGRAM, row.proves) for row in NODE_VERIFIERS),
    *(
        Client(row.name, row.language, f"SHA-256 {row.sha256[:12]}…", row.proves)
        for row in SAMPLES_OF_DOCUMENT
    ),
)
KNOWN = {client.key: client for client in CLIENTS}


def table() -> str:
    """Return the rows for the README."""
    head = ("client", "version", "language", "redirected by", "proof")
    rows = [
        (row.name, row.version, row.language, row.redirected or "-", row.proves) for row in CLIENTS
    ]
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def readme() -> str:
    """Return the README with its table from the rows."""
    return _TABLE.sub(lambda match: f"{match[1]}{table()}\n{match[2]}", README.read_text())


if __name__ == "__main__":
    README.write_text(readme())
