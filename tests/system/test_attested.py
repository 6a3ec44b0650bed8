"""Attested documents of the real process, judged by openssl and by our own verifier."""

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.system.process import Serving, run, serving

pytestmark = pytest.mark.system
DOCUMENT = "/metadata/attested/document?api-version=2021-02-01"


def document(server: Serving, more: str = "") -> dict[str, Any]:
    asked = Request(server.url + DOCUMENT + more, headers={"Metadata": "true"})
    with urlopen(asked, timeout=30) as got:
        body: dict[str, Any] = json.load(got)
    return body


def admin(server: Serving) -> dict[str, str]:
    token_file = str(server.ready["token_file"])
    return {"OPENIMDS_ADMIN": server.ready["admin"], "OPENIMDS_TOKEN_FILE": token_file}


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
    """Tell whether openssl finds a path from the signer to what it trusts."""
    got = openssl(
        *("verify", "-x509_strict", "-CAfile", trust, "-untrusted", untrusted, "signer.pem"),
        cwd=cwd,
    )
    return got.returncode == 0


def test_openssl_verifies_through_every_rotation(tmp_path: Path) -> None:
    with serving(cwd=tmp_path) as server:
        variables = admin(server)
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
            below = "".join(item["pem"] for item in now["items"] if not item["isRoot"])
            (tmp_path / "below.pem").write_text(below)
            unpack(tmp_path, document(server, "&nonce=1"))
            assert (tmp_path / "signer.pem").read_text() != before
            assert trusts(tmp_path, "root.pem", "below.pem"), f"{part}: from the old root"
            (tmp_path / "signer.pem").write_text(before)
            assert trusts(tmp_path, "trust.pem"), f"{part}: the earlier signature still verifies"
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
def test_documented_recipe_of_azure_works(tmp_path: Path, version: str) -> None:
    with serving(cwd=tmp_path) as server:
        root = run("attest", "ca", "--root", cwd=tmp_path, **admin(server)).stdout
        (tmp_path / "root.pem").write_text(root)
        target = f"{server.url}/metadata/attested/document?api-version={version}"
        asked = f"curl --silent -H Metadata:True --noproxy '*' '{target}' > answer.json"
        subprocess.run(["bash", "-ec", asked], cwd=tmp_path, timeout=30, check=True)
        # Where the document has jq -r '.["signature"]': jq is not everywhere.
        body = json.loads((tmp_path / "answer.json").read_text())
        (tmp_path / "signature").write_text(body["signature"] + "\n")
        got = subprocess.run(
            ["bash", "-ec", RECIPE],
            capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False,
        )  # fmt: skip
    assert got.returncode == 0, got.stderr
    assert "Verification successful" in got.stderr
    payload, *names, verdict = [line for line in got.stdout.splitlines() if line]
    assert json.loads(payload)["vmId"]
    assert verdict == "signer.pem: OK"
    assert "CN = metadata.azure.com" in names[0]
    assert names[1].removeprefix("issuer=") == names[2].removeprefix("subject=")
    assert "OpenIMDS Root CA" in names[3]


def test_unusable_external_ca_is_refused_at_start(tmp_path: Path) -> None:
    (tmp_path / "chain.pem").write_text("scribble")
    (tmp_path / "a.key").write_text("scribble")
    own = ("--attest-key", "a.key", "--attest-certificates", "chain.pem")
    refused = run("serve", "--listen", "127.0.0.1:0", *own, cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "attest_certificates: chain.pem: saw unable to load pem file" in refused.stderr
    assert "http" not in refused.stderr


def test_attest_verify_accepts_the_servers_url(tmp_path: Path) -> None:
    with serving(cwd=tmp_path) as server:
        trust = run("attest", "ca", cwd=tmp_path, **admin(server)).stdout
        (tmp_path / "trust.pem").write_text(trust)
        url = f"{server.url}{DOCUMENT}&nonce=42"
        good = run("attest", "verify", url, "--trust", "trust.pem", "--nonce", "42", cwd=tmp_path)
        assert (good.returncode, good.stderr) == (0, "the document holds\n")
        bad = run(
            *("attest", "verify", url, "--trust", "trust.pem", "--nonce", "43", "--json"),
            cwd=tmp_path,
        )
        assert bad.returncode == 1
        failed = [item["name"] for item in json.loads(bad.stdout)["checks"] if not item["holds"]]
        assert failed == ["nonce"]


def test_chain_survives_a_restart(tmp_path: Path) -> None:
    state = ("--state", "lab", "--public", "127.0.0.1:0", "--public-url", "http://pki.example")
    bundles = []
    for _ in range(2):
        with serving(*state, cwd=tmp_path) as server:
            unpack(tmp_path, document(server))
            bundles.append(run("attest", "ca", "--state", "lab", cwd=tmp_path, **admin(server)))
            assert server.stop()[0] == 0
    assert bundles[0].stdout == bundles[1].stdout
    text = openssl("x509", "-in", "signer.pem", "-noout", "-text", cwd=tmp_path).stdout
    assert "CA Issuers - URI:http://pki.example/pki/" in text
    modes = {path.name: oct(path.stat().st_mode)[-3:] for path in (tmp_path / "lab/ca").iterdir()}
    assert set(modes.values()) == {"600"}


@pytest.mark.parametrize("name", ["root.key", "intermediate.key", "intermediate.pem"])
def test_broken_ca_file_is_refused_at_start(tmp_path: Path, name: str) -> None:
    with serving("--state", "lab", cwd=tmp_path) as server:
        document(server)
    (tmp_path / "lab/ca" / name).write_text("scribble")
    refused = run("serve", "--state", "lab", "--listen", "127.0.0.1:0", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"lab/ca/{name}: saw " in refused.stderr
    assert "Traceback" not in refused.stderr


def test_external_ca_signs_the_leaves(tmp_path: Path) -> None:
    with serving("--state", "theirs", cwd=tmp_path) as server:
        root = run("attest", "ca", "--root", cwd=tmp_path, **admin(server)).stdout
        chain = run("attest", "ca", "--chain", cwd=tmp_path, **admin(server)).stdout
    (tmp_path / "root.pem").write_text(root)
    (tmp_path / "chain.pem").write_text(chain)
    own = ("--attest-key", "theirs/ca/intermediate.key", "--attest-certificates", "chain.pem")
    with serving(*own, cwd=tmp_path) as server:
        unpack(tmp_path, document(server))
        assert trusts(tmp_path, "root.pem", "chain.pem")
        theirs = run("attest", "rotate", "intermediate", cwd=tmp_path, **admin(server))
        assert theirs.returncode == 1
        assert "Replace the files of --attest-key and --attest-certificates" in theirs.stderr
    alone = run("serve", *own[:2], cwd=tmp_path)
    assert alone.returncode == 2
    assert "saw no attest_certificates beside it" in alone.stderr
