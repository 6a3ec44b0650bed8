"""Faults of the public listener, played for verifiers that others wrote and for our own.

The table of docs/use/failures.md has these rows to the letter.
"""

import json
import re
import shutil
import subprocess
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from msgspec import Struct

from openimds.credentials.pki.certificate_info import is_root, pem
from openimds.credentials.pki.extensions import addresses_in
from tests.system.process import Server, run, serving

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/use/failures.md"
DOCUMENT = "/metadata/attested/document?api-version=2021-02-01"
JDK = ROOT / "tests/clients/jdk/PkixVerifier.java"
_ERROR = re.compile(r"error \d+ at \d+ depth lookup: (.+)")
_STATUS = re.compile(r"leaf\.pem: (good|revoked|unknown)|Responder Error: (\w+)")
_TIMEOUT_S = 60


class Row(Struct, frozen=True):
    """One fault: the verifier's view in words, the line to type, the verdicts.

    `openssl` is that of `openssl verify`, for OCSP of `openssl ocsp`; an empty one is not asked.
    Both it and the JDK are given issuers, which `has_new_issuers` fetches again under the fault.
    """

    about: str
    line: str
    attest: str
    openssl: str = ""
    jdk: str = "accepts"
    has_new_issuers: bool = False


LISTS, OCSP, NO_PATH = "holds by its lists", "holds by OCSP", "refuses: chain"
NO_ISSUER = "unable to get local issuer certificate"
NO_LIST, NO_STATUS = "unable to get certificate CRL", "refuses: status unknown"
ROWS = (
    Row("a list is missing at the first address", "revocation-list address=first", LISTS, NO_LIST),
    Row("lists are missing", "revocation-list answer=missing", OCSP, NO_LIST),
    Row("lists are refused", "revocation-list answer=forbidden", OCSP, NO_LIST),
    Row("a page instead of a list", "revocation-list answer=html", OCSP, NO_LIST),
    Row("a broken signature", "revocation-list answer=damaged", OCSP, "CRL signature failure"),
    Row("lists that have ended", "revocation-list answer=stale", OCSP, "CRL has expired"),
    Row("lists that hang", "revocation-list answer=hang hang_s=0.2", OCSP, NO_LIST),
    Row("late lists", "revocation-list answer=late delay_s=0.2", LISTS, "accepts"),
    Row("OCSP: try later", "ocsp-response answer=try-later", LISTS, "trylater"),
    Row("OCSP: unauthorized", "ocsp-response answer=unauthorized", LISTS, "unauthorized"),
    Row("OCSP is missing", "ocsp-response answer=missing", LISTS, "no response"),
    Row("a page instead of OCSP", "ocsp-response answer=html", LISTS, "no response"),
    Row("OCSP that hangs", "ocsp-response answer=hang hang_s=0.2", LISTS, "no response"),
    Row("late OCSP", "ocsp-response answer=late delay_s=0.2", LISTS, "good"),
    Row("OCSP: revoked", "ocsp-response answer=revoked", LISTS, "revoked", "REVOKED"),
    Row("OCSP: signed unknown", "ocsp-response answer=unknown", LISTS, "unknown"),
    Row("OCSP with the nonce", "ocsp-response answer=nonce", LISTS, "good"),
    Row(
        "neither lists nor OCSP",
        "revocation-outage",
        NO_STATUS,
        NO_LIST,
        "UNDETERMINED_REVOCATION_STATUS",
    ),
    Row("ended lists, no OCSP", "stale-lists", NO_STATUS, "CRL has expired", "UNSPECIFIED"),
    Row("the first issuer address refuses", "issuer-fails-over", LISTS, jdk=""),
    Row("both issuer addresses refuse", "issuers-unreachable", NO_PATH, jdk=""),
    Row("a broken issuer", "issuer-certificate answer=damaged", NO_PATH, jdk=""),
    Row("a page instead of an issuer", "issuer-certificate answer=html", NO_PATH, jdk=""),
    Row(
        "issuers that hang",
        "issuer-certificate answer=hang hang_s=0.2 address=first",
        LISTS,
        jdk="",
    ),
    Row("late issuers", "issuer-certificate answer=late delay_s=0.2", LISTS, jdk=""),
    Row(
        "an expired tier",
        "expired-tier",
        NO_PATH,
        "certificate has expired",
        "EXPIRED",
        has_new_issuers=True,
    ),
    Row(
        "a CA by another root at the first address",
        "cross-signed",
        LISTS,
        NO_ISSUER,
        "NO_TRUST_ANCHOR",
        has_new_issuers=True,
    ),
    Row(
        "a root that nobody knows yet",
        "unknown-root",
        NO_PATH,
        NO_ISSUER,
        "NO_TRUST_ANCHOR",
        has_new_issuers=True,
    ),
)


def table() -> str:
    """Return the table of the page, in Markdown."""
    head = ("the verifier meets", "`openimds fault set`", "`attest verify`", "OpenSSL", "JDK")
    rows = [
        (row.about, f"`{row.line}`", row.attest, row.openssl or "-", row.jdk or "-") for row in ROWS
    ]
    lines = [f"| {' | '.join(line)} |\n" for line in (head, *rows)]
    return f"{lines[0]}|{'---|' * len(head)}\n{''.join(lines[1:])}"


def test_page_has_the_table_of_these_tests() -> None:
    assert table() in PAGE.read_text("utf-8"), f"docs/use/failures.md lacks this table:\n{table()}"


class Stage:
    """A server, and the files of a document and its chain from before any fault."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server, self.folder = server, folder
        asked = Request(server.url + DOCUMENT, headers={"Metadata": "true"})
        with urlopen(asked, timeout=30) as got:
            document = got.read()
        (folder / "document.json").write_bytes(document)
        der = b64decode(json.loads(document)["signature"])
        (self.leaf,) = pkcs7.load_der_pkcs7_certificates(der)
        (folder / "root.pem").write_text(self.openimds("attest", "ca", "--root"))
        self.write("leaf", self.leaf)
        self.fetch_above()
        crl = x509.load_der_x509_crl(self.get(addresses_in(self.above[1]).crls[0]))
        (folder / "roots-list.pem").write_bytes(crl.public_bytes(Encoding.PEM))
        if shutil.which("javac"):
            compiler = ["javac", "-d", str(folder), str(JDK)]
            subprocess.run(compiler, check=True, timeout=_TIMEOUT_S)

    def write(self, name: str, *certificates: x509.Certificate) -> None:
        (self.folder / f"{name}.pem").write_bytes(pem([*certificates]))

    @staticmethod
    def get(url: str) -> bytes:
        with urlopen(url, timeout=30) as got:
            body: bytes = got.read()
        return body

    def fetch_above(self) -> None:
        """Write the issuers of the leaf, each from its first address, without the root."""
        chain = [self.leaf]
        while urls := addresses_in(chain[-1]).issuers:
            chain.append(x509.load_der_x509_certificate(self.get(urls[0])))
        self.above = [one for one in chain[1:] if not is_root(one)]
        self.write("above", *self.above)

    def openimds(self, *arguments: str) -> str:
        done = run(*arguments, cwd=self.folder, **self.server.variables)
        assert done.returncode in {0, 1}, done.stderr
        return done.stdout

    def text(self, *command: str) -> str:
        """Return the output of a program, whose exit code does not matter."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        return done.stdout + done.stderr

    def attest(self) -> str:
        """Return the verdict of `attest verify --revocation hard`."""
        options = ("--trust", "root.pem", "--revocation", "hard", "--json")
        report = json.loads(self.openimds("attest", "verify", "document.json", *options))
        checks = {one["name"]: one for one in report["checks"]}
        if not checks["chain"]["holds"]:
            return NO_PATH
        detail = checks["revocation"]["detail"]
        if report["holds"]:
            return OCSP if "by OCSP" in detail else LISTS
        return NO_STATUS if ": unknown: " in detail else f"refuses: {detail}"

    def openssl_verify(self) -> str:
        """Return the verdict of OpenSSL, which fetches each list from its first address."""
        files = ("-CAfile", "root.pem", "-untrusted", "above.pem", "-CRLfile", "roots-list.pem")
        text = self.text("openssl", "verify", "-crl_check_all", "-crl_download", *files, "leaf.pem")
        if "leaf.pem: OK" in text:
            return "accepts"
        found = _ERROR.search(text)
        assert found, text
        return found[1]

    def openssl_ocsp(self) -> str:
        """Return the status of the leaf by OpenSSL."""
        url = addresses_in(self.leaf).ocsp
        files = ("-issuer", "above.pem", "-cert", "leaf.pem", "-CAfile", "root.pem")
        text = self.text("openssl", "ocsp", *files, "-verify_other", "above.pem", "-url", url)
        if "Error querying OCSP responder" in text:
            return "no response"
        found = _STATUS.search(text)
        assert found, text
        assert ("Response verify OK" in text) is bool(found[1])
        return found[1] or found[2]

    def jdk(self) -> str:
        """Return the verdict of the JDK's PKIXRevocationChecker: OCSP, then lists."""
        files = ("leaf.pem", "above.pem", "root.pem")
        text = self.text("java", "-cp", ".", "PkixVerifier", "checker", "server", *files, "0")
        return "accepts" if text.strip() == "accepted" else text.partition(":")[0]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("verifiers")
    with serving("--no-rate-limit", "--public", "127.0.0.1:0", cwd=folder) as server:
        yield Stage(server, folder)
        assert server.stop() == (0, "")


@pytest.fixture
def stage(shared: Stage) -> Iterator[Stage]:
    shared.fetch_above()
    yield shared
    httpx2.delete(f"{shared.server.ready['admin']}/v1/faults", headers=shared.server.authorization)


each = pytest.mark.parametrize("row", ROWS, ids=[row.line for row in ROWS])


@pytest.mark.system
def test_verifiers_accept_without_a_fault(stage: Stage) -> None:
    assert stage.attest() == LISTS
    if shutil.which("openssl"):
        assert (stage.openssl_verify(), stage.openssl_ocsp()) == ("accepts", "good")
    if shutil.which("javac"):
        assert stage.jdk() == "accepts"


@pytest.mark.system
@each
def test_attest_verify_decides_as_the_table_has_it(stage: Stage, row: Row) -> None:
    stage.openimds("fault", "set", *row.line.split())
    assert stage.attest() == row.attest
    played = json.loads(stage.openimds("fault", "list", "--json"))
    is_asked = "ocsp" not in row.line
    assert any(fault["played"] for fault in played) is is_asked


@pytest.mark.system
@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
@pytest.mark.parametrize("row", [row for row in ROWS if row.openssl])
def test_openssl_decides_as_the_table_has_it(stage: Stage, row: Row) -> None:
    stage.openimds("fault", "set", *row.line.split())
    if "ocsp" in row.line:
        assert stage.openssl_ocsp() == row.openssl
    else:
        if row.has_new_issuers:
            stage.fetch_above()
        assert stage.openssl_verify() == row.openssl


@pytest.mark.system
@pytest.mark.skipif(not shutil.which("javac"), reason="no JDK is installed")
@pytest.mark.parametrize("row", [row for row in ROWS if row.jdk])
def test_jdk_decides_as_the_table_has_it(stage: Stage, row: Row) -> None:
    stage.openimds("fault", "set", *row.line.split())
    if row.has_new_issuers:
        stage.fetch_above()
    assert stage.jdk() == row.jdk
