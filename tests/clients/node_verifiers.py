"""Verifiers of nodes that fetch issuers from Microsoft's hosts only: kops, coder and SPIRE.

No package index has their modules, and their code is no part of this repository. `make clients`
runs those programs that lie in the folder `VERIFIERS`, which git ignores, under `openimds exec
--pki-names azure`. A program has the name of its row, and is the unmodified verifier behind an
entry of its own: it requests an attested document at 169.254.169.254, verifies it, and prints one
line of JSON with the strings `version`, `vmId` and `error`, which is empty if it accepts.
"""

import os

from msgspec import Struct

from tests.clients.kits import MADE

VERIFIERS = MADE / "verifiers"
TRUST_BUNDLE = "TRUST_BUNDLE"
"""The variable with a file of roots for a verifier whose own settings accept more roots."""


class NodeVerifier(Struct, frozen=True):
    """One program.

    Attributes:
        origin: the package with its code.
        proves: the proof that its tests give.
    """

    name: str
    origin: str
    proves: str

    @property
    def client(self) -> str:
        """The key of its client."""
        return f"Go {self.name}"

    @property
    def command(self) -> str:
        """The path of its program."""
        return str(VERIFIERS / self.name.lower().replace(" ", "-"))

    def why_not(self) -> str:
        """Return the reason why it cannot be run here, or nothing."""
        if os.access(self.command, os.X_OK):
            return ""
        name = self.name.lower().replace(" ", "-")
        return f"no program {name} in .venv/clients/verifiers; its code is at {self.origin}"


KOPS = NodeVerifier(
    "kops",
    "k8s.io/kops/upup/pkg/fi/cloudup/azure",
    "the chain is walked by https at www.microsoft.com; only the root is another",
)
CODER = NodeVerifier(
    "coder",
    "github.com/coder/coder/v2/coderd/azureidentity",
    "issuers at www.microsoft.com, whose address is public; only the root is another",
)
SPIRE_PINNED = NodeVerifier(
    "SPIRE 1.15.1",
    "github.com/spiffe/spire/pkg/server/plugin/nodeattestor/azureimds",
    "it refuses at the pinned name of the issuer, which is ours, and at nothing before",
)
SPIRE = NodeVerifier(
    "SPIRE",
    SPIRE_PINNED.origin,
    "it refuses at its built-in roots; by `trust_bundle_path` it accepts the document",
)
ROWS = (KOPS, CODER, SPIRE_PINNED, SPIRE)
