"""The sample programs that Microsoft's document names: rows, and the ways to run them.

The texts are of other authors and no part of this repository. `make clients` runs those that lie
in the folder `SAMPLES`, which git ignores, under `openimds exec`; each text has to be that of its
row. A program is changed in one place at most: the root certificate that it trusts is ours.
"""

import hashlib
import re

from msgspec import Struct

from tests.clients.kits import MADE, tool

SAMPLES = MADE / "samples"
AZUREIMDS = "github.com/microsoft/azureimds"
_ROOT = re.compile(r"/etc/ssl/certs/DigiCert_Global_Root\.pem")
_RUBY = "Ruby 3.0 and newer open no URL by open(), as it does"


class Sample(Struct, frozen=True):
    """One program.

    Attributes:
        origin: the repository with its text.
        tools: the commands that it needs.
        command: the line of the shell that runs it as `$1`; empty if it cannot be run at all.
        verifies: whether it verifies the attested document too.
        fault: the reason why its text cannot be run anywhere.
    """

    name: str
    language: str
    sha256: str
    command: str = ""
    tools: tuple[str, ...] = ()
    origin: str = AZUREIMDS
    verifies: bool = False
    fault: str = ""

    @property
    def proves(self) -> str:
        """The proof that its test gives, or the reason why it cannot be run."""
        return self.fault or "a sample of Microsoft's document prints the VM" + (
            ", and verifies the attested document" if self.verifies else ""
        )

    def text(self) -> str:
        """Return its text with our root, `root.pem`, in place of that of Azure."""
        return _ROOT.sub("root.pem", (SAMPLES / self.name).read_text("utf-8"))

    def why_not(self) -> str:
        """Return the reason why it cannot be run here, or nothing."""
        path = SAMPLES / self.name
        if not path.is_file():
            return f"no text in .venv/clients/samples; it is at {self.origin}"
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != self.sha256:
            return f"another text, whose SHA-256 is {digest[:12]}…, expected {self.sha256[:12]}…"
        missing = [name for name in self.tools if not tool(name)]
        if missing:
            return f"{' and '.join(missing)} not installed"
        return self.fault


ROWS: tuple[Sample, ...] = (
    Sample(
        "IMDSSample.sh",
        "Bash",
        "b8d716a69b14af49c6599da09748f8fb355bd4e5b49ea222f2828478b64407e3",
        'bash "$1"',
        ("bash", "curl", "jq", "openssl", "awk"),
        verifies=True,
    ),
    Sample(
        "IMDSSample.cs",
        "C#",
        "21b64124ea6672be2c17c03080a28ea7fc6014326966ac0e5cb5c058aa4cac67",
        tools=("dotnet",),
        fault="no project builds it here",
    ),
    Sample(
        "imdssample.go",
        "Go",
        "ec17841e7d2cf28f3e1cb88fae06cce2251b4b57c9d05ba25d8a099c5e6cdb9f",
        'GO111MODULE=off GOTOOLCHAIN=local go run "$1"',
        ("go",),
    ),
    Sample(
        "imdssample.java",
        "Java",
        "3bc51970a5f07a8c7cf431db863309e8fa1dcde86e4cad828fc760983fdd5393",
        tools=("javac",),
        fault="it does not compile: java.net.Proxy is not imported",
    ),
    Sample(
        "IMDSSample.js",
        "NodeJS",
        "7a3d105372ceaa70152d870f03f2e4036b97815b248f7ae8ea81a22ff25208fc",
        'node "$1"',
        ("node",),
    ),
    Sample(
        "IMDSSample.pl",
        "Perl",
        "1510eb856864b141d1f0cfbf44a84239402afbff32ac38754b114d94a0d2096e",
        'perl "$1"',
        ("perl",),
    ),
    Sample(
        "IMDSSample.ps1",
        "PowerShell",
        "504c1d875e8629a86180cf05276fa1cc783852df27bf69b0322ae730d590167c",
        'pwsh -NoProfile -File "$1"',
        ("pwsh",),
    ),
    Sample(
        "azure_metadata.rb",
        "Puppet",
        "60cfc5944062ede709f001ffe262e783aea9165116147c27d7790ee13fe936ae",
        origin="github.com/keirans/azuremetadata",
        fault=_RUBY,
    ),
    Sample(
        "IMDSSample.py",
        "Python",
        "28f72f1ef1a6407d69b6f375ef640b1dd20b36cc770d26189b30030505d111af",
        '"$0" "$1"',
        ("openssl",),
        verifies=True,
    ),
    Sample(
        "IMDSSample.rb",
        "Ruby",
        "8da28e680b4474e5570d8d95ae72d172dbb0f68d03227754724fba38e60dccee",
        fault=_RUBY,
    ),
)
"""In the order of the document."""
