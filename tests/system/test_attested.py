"""Attested documents of the real process, verified by openssl and by `attest verify`."""

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding

from openimds.credentials.pki.extensions import addresses_in
from openimds.facts.generations import GENERATIONS
from tests.system.process import Server, free_port, run, serving
from tests.unit.credentials.pki.openssl_verify import URL as OWN_URL
from tests.unit.credentials.pki.own_ca import DAY, OwnCa, write, write_chain

pytestmark = pytest.mark.system
DOCUMENT = "/metadata/attested/document?api-version=2021-02-01"


def document(server: Server, more: str = "") -> dict[str, Any]:
    asked = Request(server.url + DOCUMENT + more, headers={"Metadata": "true"})
    with urlopen(asked, timeout=30) as got:
        body: dict[str, Any] = json.load(got)
    return body


@pytest.fixture(scope="module")
def dated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve certificates of the time of Azure's recipe: a chain of three."""
    options = ("--no-rate-limit", "--attest-generation", "2023")
    with serving(*options, cwd=tmp_path_factory.mktemp("dated")) as server:
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for tests that do not change its certificates."""
    with serving("--no-rate-limit", cwd=tmp_path_factory.mktemp("attested")) as server:
        yield server


def openssl(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["openssl", *arguments], capture_output=True, text=True, cwd=cwd, timeout=30, check=False
    )


def unpack(cwd: Path, body: dict[str, Any]) -> None:
    (cwd / "signature.der").write_bytes(base64.b64decode(body["signature"], validate=True))
    got = openssl(
        *("pkcs7", "-inform", "DER", "-in", "signature.der", "-print_certs", "-out", "signer.pem"),
        cwd=cwd,
    )
    assert got.returncode == 0, got.stderr


def trusts(cwd: Path, trust: str, untrusted: str = "trust.pem") -> bool:
    """Tell whether openssl finds a path from the signer to a trusted certificate."""
    got = openssl(
        *("verify", "-x509_strict", "-CAfile", trust, "-untrusted", untrusted, "signer.pem"),
        cwd=cwd,
    )
    return got.returncode == 0


def test_openssl_verifies_through_every_rotation(tmp_path: Path) -> None:
    with serving(cwd=tmp_path) as server:
        variables = server.variables
        (tmp_path / "trust.pem").write_text(run("attest", "ca", cwd=tmp_path, **variables).stdout)
        first = run("attest", "ca", "--root", cwd=tmp_path, **variables).stdout
        (tmp_path / "root.pem").write_text(first)
        unpack(tmp_path, document(server, "&nonce=1234567890"))
        got = openssl(
            *("smime", "-verify", "-inform", "DER", "-in", "signature.der", "-noverify"),
            cwd=tmp_path,
        )
        assert got.returncode == 0, got.stderr
        assert json.loads(got.stdout)["nonce"] == "1234567890"
        assert trusts(tmp_path, "root.pem")
        before = (tmp_path / "signer.pem").read_text()
        for part in ("leaf", "intermediate", "root"):
            rotated = run("attest", "rotate", part, cwd=tmp_path, **variables)
            assert rotated.returncode == 0, rotated.stderr
            now = json.loads(run("attest", "ca", "--json", cwd=tmp_path, **variables).stdout)
            (tmp_path / "trust.pem").write_text(now["bundle"])
            below = "".join(row["pem"] for row in now["items"] if not row["isRoot"])
            (tmp_path / "below.pem").write_text(below)
            unpack(tmp_path, document(server, "&nonce=1"))
            assert (tmp_path / "signer.pem").read_text() != before
            assert trusts(tmp_path, "root.pem", "below.pem"), f"{part}: from the old root"
            (tmp_path / "signer.pem").write_text(before)
            assert trusts(tmp_path, "trust.pem"), f"{part}: a document signed before"
        assert run("attest", "ca", "--root", cwd=tmp_path, **variables).stdout != first
        assert server.stop()[0] == 0


RECIPE = r"""
base64 -d signature > decodedsignature
openssl pkcs7 -in decodedsignature -inform DER -out sign.pk7
openssl pkcs7 -in decodedsignature -inform DER  -print_certs -out signer.pem
curl -s -o intermediate.cer "$(openssl x509 -in signer.pem -text -noout | grep " CA Issuers -" | awk -FURI: '{print $2}')"
openssl x509 -inform der -in intermediate.cer -out intermediate.pem
openssl smime -verify -in sign.pk7 -inform pem -noverify
echo
openssl x509 -noout -subject -in signer.pem
openssl x509 -noout -issuer -in signer.pem
openssl x509 -noout -subject -in intermediate.pem
openssl x509 -noout -issuer -in intermediate.pem
openssl verify -verbose -CAfile root.pem -untrusted intermediate.pem signer.pem
"""  # noqa: E501 - the commands of S1, sample 1 of attested data, as they stand there
NEEDED = ("awk", "curl", "openssl")


@pytest.mark.skipif(not all(map(shutil.which, NEEDED)), reason=f"needs {', '.join(NEEDED)}")
@pytest.mark.parametrize("version", ["2018-10-01", "2020-09-01"])
def test_the_recipe_of_azures_document_works_as_it_is_written(
    dated: Server, tmp_path: Path, version: str
) -> None:
    server = dated
    root = run("attest", "ca", "--root", cwd=tmp_path, **server.variables).stdout
    (tmp_path / "root.pem").write_text(root)
    target = f"{server.url}/metadata/attested/document?api-version={version}"
    command = f"curl --silent -H Metadata:True --noproxy '*' '{target}' > answer.json"
    subprocess.run(["bash", "-ec", command], cwd=tmp_path, timeout=30, check=True)
    # In the place of jq -r '.["signature"]', as jq is not everywhere.
    body = json.loads((tmp_path / "answer.json").read_text())
    (tmp_path / "signature").write_text(body["signature"] + "\n")
    got = subprocess.run(
        ["bash", "-ec", RECIPE],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
        check=False,
    )
    assert got.returncode == 0, got.stderr
    assert "Verification successful" in got.stderr
    payload, *names, verdict = [line for line in got.stdout.splitlines() if line]
    assert json.loads(payload)["vmId"]
    assert verdict == "signer.pem: OK"
    assert "CN = metadata.azure.com" in names[0]
    assert names[1].removeprefix("issuer=") == names[2].removeprefix("subject=")
    assert "OpenIMDS Root CA" in names[3]


def test_an_issuer_that_cannot_sign_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "chain.pem").write_text("scribble")
    (tmp_path / "a.key").write_text("scribble")
    own = ("--attest-key", "a.key", "--attest-certificates", "chain.pem")
    got = run("serve", "--listen", "127.0.0.1:0", *own, cwd=tmp_path)
    assert (got.returncode, got.stdout) == (2, "")
    assert "attest_certificates: chain.pem: saw unable to load pem file" in got.stderr
    assert "http" not in got.stderr


def test_answers_of_an_own_ca_are_served_as_files(tmp_path: Path) -> None:
    root = OwnCa("Lab-Root")
    own = OwnCa("Lab-Own", root)
    write_chain(tmp_path, own, root)
    octets = root.crl(ends=2900 * DAY).public_bytes(Encoding.PEM)
    write(tmp_path, octets, "root.crl")
    write(tmp_path, root.response(own.certificate), "ended.ocsp")
    chosen = ("--attest-key", "own.key", "--attest-certificates", "chain.pem")
    public = ("--public", "127.0.0.1:0", "--public-url", OWN_URL, "--attest-crl", "root.crl")
    with serving(*chosen, *public, cwd=tmp_path, OPENIMDS_ATTEST_OCSP="ended.ocsp") as server:
        with urlopen(f"{server.ready['public']}/pkiops/crl/lab-root.crl", timeout=10) as got:
            crl = x509.load_der_x509_crl(got.read())
        status = run("attest", "status", cwd=tmp_path, **server.variables)
        code, errors = server.stop()
    assert crl.public_bytes(Encoding.PEM) == octets
    ended = "attest_ocsp: ended.ocsp: it has ended at 2023-08-23 12:00:00 UTC: bring a newer one"
    assert ended in errors
    assert ended in status.stderr
    assert "CN=Lab-Own\tyes\tgood" in status.stdout
    assert code == 0


def test_attest_verify_takes_the_url_of_the_server(server: Server, tmp_path: Path) -> None:
    trust = run("attest", "ca", cwd=tmp_path, **server.variables).stdout
    (tmp_path / "trust.pem").write_text(trust)
    url = f"{server.url}{DOCUMENT}&nonce=42"
    verify = ("attest", "verify", url, "--trust", "trust.pem", "--nonce")
    good = run(*verify, "42", cwd=tmp_path)
    assert (good.returncode, good.stderr) == (0, "the document holds\n")
    bad = run(*verify, "43", "--json", cwd=tmp_path)
    assert bad.returncode == 1
    failed = [row["name"] for row in json.loads(bad.stdout)["checks"] if not row["holds"]]
    assert failed == ["nonce"]


def test_the_chain_outlives_a_restart(tmp_path: Path) -> None:
    state = ("--state", "lab", "--public", "127.0.0.1:0", "--public-url", "http://pki.example")
    bundles = []
    for _ in range(2):
        with serving(*state, cwd=tmp_path) as server:
            unpack(tmp_path, document(server))
            bundles.append(run("attest", "ca", "--state", "lab", cwd=tmp_path, **server.variables))
            assert server.stop()[0] == 0
    assert bundles[0].stdout == bundles[1].stdout
    text = openssl("x509", "-in", "signer.pem", "-noout", "-text", cwd=tmp_path).stdout
    assert "CA Issuers - URI:http://pki.example/pkiops/certs/" in text
    modes = {oct(path.stat().st_mode)[-3:] for path in (tmp_path / "lab/ca").iterdir()}
    assert modes == {"600"}


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with the certificates that a server has made."""
    folder = tmp_path_factory.mktemp("state")
    with serving("--state", "lab", cwd=folder) as server:
        document(server)
        assert server.stop()[0] == 0
    return folder / "lab"


@pytest.mark.parametrize("name", ["root.key", "intermediate.key", "intermediate.pem"])
def test_a_broken_file_stops_the_start(state: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(state, tmp_path / "lab")
    (tmp_path / "lab/ca" / name).write_text("scribble")
    got = run("serve", "--state", "lab", "--listen", "127.0.0.1:0", cwd=tmp_path)
    assert (got.returncode, got.stdout) == (1, "")
    assert f"lab/ca/{name}: saw " in got.stderr
    assert "Traceback" not in got.stderr


def test_an_external_intermediate_signs_the_leaves(tmp_path: Path) -> None:
    with serving("--state", "other", cwd=tmp_path) as server:
        root = run("attest", "ca", "--root", cwd=tmp_path, **server.variables).stdout
        chain = run("attest", "ca", "--chain", cwd=tmp_path, **server.variables).stdout
    (tmp_path / "root.pem").write_text(root)
    (tmp_path / "chain.pem").write_text(chain)
    own = ("--attest-key", "other/ca/intermediate.key", "--attest-certificates", "chain.pem")
    with serving(*own, cwd=tmp_path) as server:
        unpack(tmp_path, document(server))
        assert trusts(tmp_path, "root.pem", "chain.pem")
        rotated = run("attest", "rotate", "intermediate", cwd=tmp_path, **server.variables)
        assert rotated.returncode == 1
        assert "Replace the files of --attest-key and --attest-certificates" in rotated.stderr
    alone = run("serve", *own[:2], cwd=tmp_path)
    assert alone.returncode == 2
    assert "saw no attest_certificates beside it" in alone.stderr


def follow(cwd: Path) -> None:
    """Fetch what the certificates name: issuers into above.pem, lists into lists.pem."""
    certificates, lists = [x509.load_pem_x509_certificate((cwd / "signer.pem").read_bytes())], b""
    while urls := addresses_in(certificates[-1]).issuers:
        lists += x509.load_der_x509_crl(fetch(addresses_in(certificates[-1]).crls[0])).public_bytes(
            Encoding.PEM
        )
        certificates.append(x509.load_der_x509_certificate(fetch(urls[0])))
    pem = b"".join(one.public_bytes(Encoding.PEM) for one in certificates[1:])
    (cwd / "above.pem").write_bytes(pem)
    (cwd / "issuer.pem").write_bytes(certificates[1].public_bytes(Encoding.PEM))
    (cwd / "lists.pem").write_bytes(lists)


def fetch(url: str) -> bytes:
    with urlopen(url, timeout=30) as got:
        body: bytes = got.read()
    return body


def strictly(cwd: Path) -> str:
    """Return OpenSSL's verdict with every list, and that of the OCSP responder."""
    files = ("-CAfile", "root.pem", "-untrusted", "above.pem", "-CRLfile", "lists.pem")
    got = openssl("verify", "-crl_check_all", *files, "signer.pem", cwd=cwd)
    url = openssl("x509", "-in", "signer.pem", "-noout", "-ocsp_uri", cwd=cwd).stdout.strip()
    asked = ("-issuer", "issuer.pem", "-cert", "signer.pem", "-url", url, "-no_nonce")
    trust = ("-CAfile", "root.pem", "-verify_other", "above.pem")
    status = openssl("ocsp", *asked, *trust, cwd=cwd)
    return got.stdout + got.stderr + status.stdout + status.stderr


def test_revoked_leaf_is_refused_and_the_next_document_verifies(tmp_path: Path) -> None:
    with serving("--public", "127.0.0.1:0", cwd=tmp_path) as server:
        variables = server.variables
        root = run("attest", "ca", "--root", cwd=tmp_path, **variables).stdout
        (tmp_path / "root.pem").write_text(root)
        unpack(tmp_path, document(server))
        follow(tmp_path)
        verdict = strictly(tmp_path)
        assert "signer.pem: OK" in verdict
        assert "signer.pem: good" in verdict
        got = run(
            "attest", "revoke", "leaf", "--reason", "keyCompromise", cwd=tmp_path, **variables
        )
        assert got.returncode == 0, got.stderr
        follow(tmp_path)
        verdict = strictly(tmp_path)
        assert "certificate revoked" in verdict
        assert "signer.pem: revoked" in verdict
        assert "Reason: keyCompromise" in verdict
        table = run("attest", "status", cwd=tmp_path, **variables).stdout
        assert len([line for line in table.splitlines() if "revoked" in line]) == 1
        # A document without a nonce may be repeated until its second is over.
        unpack(tmp_path, document(server, "&nonce=1"))
        follow(tmp_path)
        assert "signer.pem: good" in strictly(tmp_path)
        lists = run("attest", "crl", cwd=tmp_path, **variables).stdout
        assert lists.count("BEGIN X509 CRL") >= 4
        refused = run("attest", "revoke", "1234", cwd=tmp_path, **variables)
        assert refused.returncode == 1
        assert 'target "1234": saw no such certificate' in refused.stderr
        assert server.stop()[0] == 0


def first_lists(cwd: Path) -> list[tuple[x509.Certificate, str]]:
    """Return each certificate below the root with the first address of its only CRL point."""
    pem = (cwd / "signer.pem").read_bytes() + (cwd / "above.pem").read_bytes()
    *below, _root = x509.load_pem_x509_certificates(pem)
    found = []
    for certificate in below:
        extension = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints)
        (point,) = extension.value
        assert point.full_name
        found.append((certificate, str(point.full_name[0].value)))
    return found


def test_first_address_alone_leads_dotnet_to_every_list(tmp_path: Path) -> None:
    # .NET asks the first address of a point only, prefers lists to OCSP, and keeps a list until its
    # end, so that it notices a revocation only where the next leaf has an address of its own (S77).
    with serving("--public", "127.0.0.1:0", cwd=tmp_path) as server:
        unpack(tmp_path, document(server))
        follow(tmp_path)
        before = first_lists(tmp_path)
        issuers = x509.load_pem_x509_certificates((tmp_path / "above.pem").read_bytes())
        for (_, url), issuer in zip(before, issuers, strict=True):
            with urlopen(url, timeout=30) as got:
                assert got.headers["Content-Type"] == "application/pkix-crl"
                crl = x509.load_der_x509_crl(got.read())
            key = issuer.public_key()
            assert isinstance(key, RSAPublicKey)
            assert crl.is_signature_valid(key)
            assert len(crl) == 0
        run("attest", "revoke", "leaf", cwd=tmp_path, **server.variables)
        unpack(tmp_path, document(server, "&nonce=1"))
        follow(tmp_path)
        after = first_lists(tmp_path)
        assert after[0][1] != before[0][1]
        assert after[1:] == before[1:]
        serial = before[0][0].serial_number
        crl = x509.load_der_x509_crl(fetch(before[0][1]))
        assert crl.get_revoked_certificate_by_serial_number(serial)
        assert server.stop()[0] == 0


def test_walk_by_the_virtual_clock_verifies_at_every_step(tmp_path: Path) -> None:
    """A document and the one before it hold with the bundle of the time."""
    with serving("--virtual-clock", "--no-rate-limit", cwd=tmp_path) as server:
        variables = server.variables

        def cli(*arguments: str) -> str:
            got = run(*arguments, cwd=tmp_path, **variables)
            assert got.returncode == 0, got.stdout + got.stderr
            return got.stdout

        def look(name: str) -> None:
            (tmp_path / name).write_text(json.dumps(document(server, "&nonce=1")))
            (tmp_path / "trust.pem").write_text(cli("attest", "ca"))
            at = cli("clock").split(" ")[0]
            for text in dict.fromkeys(("before.json", name)):
                if (tmp_path / text).exists():
                    cli("attest", "verify", text, "--trust", "trust.pem", "--nonce", "1",
                        "--at", at, "--revocation", "hard")  # fmt: skip

        cli("attest", "rehearse", "--every", "28800", "--overlap", "7200")
        issuers: list[str] = []
        for _ in range(5):
            look("before.json")
            cli("clock", "--advance", "14400")  # The overlap is over, the document still valid.
            look("now.json")
            got = json.loads(cli("attest", "ca", "--json"))
            used = [row["subject"] for row in got["items"] if row["inUse"]]
            issuers.append(used[0].partition(",")[0])
            cli("clock", "--advance", "14400")
        assert [name[3:-3] for name in issuers] == [row.issuer for row in GENERATIONS.values()]
        code, errors = server.stop()
    assert code == 0
    sentences = [line for line in errors.splitlines() if "rehearsal: " in line]
    assert len(sentences) == 4


def blocks(bundle: str) -> set[x509.Certificate]:
    return {*x509.load_pem_x509_certificates(bundle.encode())}


def test_jump_of_years_renews_what_ends(tmp_path: Path) -> None:
    # Nineteen years ahead the root is in its last two years: the new one stands beside it.
    # Another public port after the restart would be another address in the tier.
    public = ("--public", f"127.0.0.1:{free_port()}")
    chosen = ("--virtual-clock", "--no-rate-limit", "--state", "lab", *public)
    with serving(*chosen, cwd=tmp_path) as server:
        variables = server.variables

        def cli(*arguments: str) -> str:
            got = run(*arguments, cwd=tmp_path, **variables)
            assert got.returncode == 0, got.stdout + got.stderr
            return got.stdout

        document(server)
        old = cli("attest", "ca", "--root")
        cli("clock", "--advance", str(19 * 365 * 86_400))
        (tmp_path / "trust.pem").write_text(cli("attest", "ca"))
        (tmp_path / "old.pem").write_text(old)
        (tmp_path / "now.json").write_text(json.dumps(document(server, "&nonce=1")))
        at = cli("clock").split(" ")[0]
        for trust in ("trust.pem", "old.pem"):
            cli("attest", "verify", "now.json", "--trust", trust, "--nonce", "1", "--at", at)
        bundle = (tmp_path / "trust.pem").read_text()
        asked = Request(variables["OPENIMDS_ADMIN"] + "/metrics", headers=server.authorization)
        with urlopen(asked, timeout=10) as got:
            metrics = got.read().decode()
        code, errors = server.stop()
    assert code == 0
    assert old in bundle
    assert len([one for one in blocks(bundle) if one.subject == one.issuer]) == 2
    assert 'openimds_certificates_replaced_total{cause="age",part="root"} 1.0' in metrics
    assert errors.count("was renewed by") == 1
    with serving(*chosen, cwd=tmp_path) as server:
        again = run("attest", "ca", cwd=tmp_path, **server.variables).stdout
        assert blocks(bundle) <= blocks(again)
