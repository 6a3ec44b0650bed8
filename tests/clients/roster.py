"""The clients, a row for each: what it is, what it needs, and what it proves here.

The README's table is written from these rows by `make docs`, and `make clients` prints them with
what came of each. A test says by its mark `client` which of them it is about.
"""

import re
from pathlib import Path

from msgspec import Struct

from tests.clients.pins import crate, debian, go, maven, npm, pypi

README = Path(__file__).parent / "README.md"
DEV = "requirements-dev.lock"
VARIABLE = "`AZURE_POD_IDENTITY_AUTHORITY_HOST`"
MACHINE = "of the machine"
_TABLE = re.compile(r"(<!-- begin:clients -->\n).*?(<!-- end -->)", re.DOTALL)


class Client(Struct, frozen=True):
    """A client that nobody here wrote.

    Attributes:
        kit: what has to be there (`kits.py`), or nothing if `make test` installs it anyway.
        redirected: what else it finds the server by than the real address.
    """

    name: str
    language: str
    version: str
    proves: str
    kit: str = ""
    redirected: str = ""

    @property
    def key(self) -> str:
        """What a test calls it by."""
        return f"{self.language} {self.name}"


_TOKENS = "tokens of each identity, each refusal as its own error"
_COMPUTE = "the attributes of a resource: region, id, size, name of the VM"

CLIENTS = (
    Client(
        "azure-identity",
        "Python",
        pypi("azure-identity", DEV),
        f"{_TOKENS}; the probe of a chain, and the chain going on",
        redirected=VARIABLE,
    ),
    Client("msal", "Python", pypi("msal", DEV), f"{_TOKENS}; a token is kept", redirected=VARIABLE),
    Client(
        "PyJWT",
        "Python",
        pypi("pyjwt", "requirements.lock"),
        "tokens verify by discovery and keys, every forgery is refused, keys change",
        redirected="the public listener",
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
        "an event is seen, approved by one `POST`, starts and goes; the node is back",
        "guests",
    ),
    Client(
        "cloud-init",
        "Python",
        debian("cloud-init", "guests"),
        "its data source: network configuration, keys, user, user data; what it does when refused",
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
        f"{_TOKENS}; the probe of a chain, and the chain going on",
        "JavaScript",
        VARIABLE,
    ),
    Client(
        "@azure/msal-node",
        "JavaScript",
        npm("@azure/msal-node"),
        f"{_TOKENS}; a token is kept",
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
        f"{_TOKENS}; the probe of a chain; a token is kept",
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
        "the whole program: the same, by the SDK of before",
        "Prometheus",
    ),
    Client(
        "azure_identity",
        "Rust",
        crate("azure_identity"),
        "tokens of each identity, refusals; throttled, it waits and has its token",
        "Rust",
    ),
    Client(
        "azure-identity",
        "Java",
        maven("azure-identity"),
        "tokens of each identity, refusals; throttled, it waits and has its token",
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
    Client("curl", "C", MACHINE, "every request of Microsoft's document, as it is written there"),
    Client(
        "openssl",
        "C",
        MACHINE,
        "the document's recipe: the attested document verifies to a root, link by link",
    ),
)
KNOWN = {client.key: client for client in CLIENTS}


def table() -> str:
    """Return the rows for the README."""
    head = ("client", "version", "language", "redirected by", "what it proved")
    rows = [
        (one.name, one.version, one.language, one.redirected or "-", one.proves) for one in CLIENTS
    ]
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def readme() -> str:
    """Return the README as it is to be."""
    return _TABLE.sub(lambda found: f"{found[1]}{table()}\n{found[2]}", README.read_text())


if __name__ == "__main__":
    README.write_text(readme())
