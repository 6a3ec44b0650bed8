"""Verifiers that insist on Microsoft's hosts run unmodified under `openimds exec`."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from tests.clients.fleet import DESCRIBED
from tests.clients.node_verifiers import (
    CODER,
    KOPS,
    ROWS,
    SPIRE,
    SPIRE_PINNED,
    TRUST_BUNDLE,
    NodeVerifier,
)
from tests.system.machine import PRIVATE, why_unavailable
from tests.system.process import clean_environment

VM_ID = DESCRIBED["compute"]["vmId"]
PLAIN = '"$1"'
UNTRUSTED = 'SSL_CERT_FILE=/dev/null "$1"'
"""Without the file of roots that `openimds exec` sets."""
BUNDLED = (
    "curl -sS http://www.microsoft.com/pki/bundle.pem > bundle.pem; "
    f'cat "$SSL_CERT_FILE" >> bundle.pem; {TRUST_BUNDLE}=bundle.pem "$1"'
)
"""With the root and the CAs below it, for a verifier that fetches the issuer of the leaf alone."""
ROOT_ALONE = f'{TRUST_BUNDLE}="$SSL_CERT_FILE" "$1"'
ONE_CA = "2024"
"""The last generation with one address of an issuer, and one CA below the root."""
THREE_TIERS = "2026"

NEEDS_SANDBOX = [pytest.mark.system, pytest.mark.netns]


class Verdict(Struct, frozen=True):
    """The verdict of a program: the VM of an accepted document, or an error."""

    vm_id: str
    error: str
    version: str


def verdict(
    verifier: NodeVerifier, folder: Path, line: str = PLAIN, generation: str = THREE_TIERS
) -> Verdict:
    if reason := verifier.why_not() or why_unavailable(prefix=PRIVATE):
        pytest.skip(reason)
    (folder / "fleet.json").write_text(json.dumps({"vms": {"web-1": DESCRIBED}}))
    serve = ("--fleet", "fleet.json", "--pki-names", "azure", "--attest-generation", generation)
    shell = ("sh", "-ec", line, "sh", verifier.command)
    got = subprocess.run(
        [sys.executable, "-m", "openimds", "exec", *serve, "--", *shell],
        cwd=folder,
        env=clean_environment({"HOME": str(folder)}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert got.returncode == 0, got.stderr
    printed = json.loads(got.stdout)
    return Verdict(printed["vmId"], printed["error"], printed["version"])


def of(verifier: NodeVerifier, *values: str) -> Any:
    mark = pytest.mark.client(verifier.client)
    return pytest.param(
        verifier, *values, marks=[mark, *NEEDS_SANDBOX], id=f"{verifier.name} {values}"
    )


@pytest.mark.parametrize(
    "verifier, line, generation",
    [
        of(KOPS, PLAIN, THREE_TIERS),
        of(CODER, PLAIN, ONE_CA),
        of(SPIRE, BUNDLED, THREE_TIERS),
        of(SPIRE, ROOT_ALONE, ONE_CA),
    ],
)
def test_document_is_accepted_by_the_hosts_of_azure(
    verifier: NodeVerifier, line: str, generation: str, tmp_path: Path, record_property: Any
) -> None:
    got = verdict(verifier, tmp_path, line, generation)
    record_property("version", got.version)
    assert (got.vm_id, got.error) == (VM_ID, "")


@pytest.mark.parametrize(
    "verifier, generation, error",
    [
        of(KOPS, THREE_TIERS, "x509: certificate signed by unknown authority"),
        of(CODER, ONE_CA, "signature verification failed after fetching issuing certificates"),
    ],
)
def test_without_the_root_the_document_is_refused(
    verifier: NodeVerifier, generation: str, error: str, tmp_path: Path
) -> None:
    got = verdict(verifier, tmp_path, UNTRUSTED, generation)
    assert not got.vm_id
    assert got.error.endswith(error)


@pytest.mark.parametrize("verifier", [of(CODER)])
def test_second_host_of_issuers_is_refused(verifier: NodeVerifier, tmp_path: Path) -> None:
    # It does not know caissuers.microsoft.com, which Azure's leaves name since 2026.
    assert verdict(verifier, tmp_path).error == "issuing certificate URL not on allowlist"


@pytest.mark.parametrize(
    "verifier, generation, issuer",
    [
        of(SPIRE_PINNED, THREE_TIERS, "OpenIMDS TLS G2 RSA CA OCSP 01"),
        of(SPIRE_PINNED, ONE_CA, "OpenIMDS RSA TLS Issuing CA 01"),
    ],
)
def test_pinned_name_of_the_issuer_is_the_reason_to_refuse(
    verifier: NodeVerifier, generation: str, issuer: str, tmp_path: Path, record_property: Any
) -> None:
    got = verdict(verifier, tmp_path, generation=generation)
    record_property("version", got.version)
    assert got.error == (
        "azure certificate validation failed: signing certificate issuer validation failed: "
        f'certificate issuer "{issuer}" does not match expected pattern '
        r'"^Microsoft Azure RSA TLS Issuing CA \\d{2}$"'
    )


@pytest.mark.parametrize("verifier", [of(SPIRE)])
def test_built_in_roots_are_the_reason_to_refuse(verifier: NodeVerifier, tmp_path: Path) -> None:
    assert verdict(verifier, tmp_path).error == (
        "certificate chain validation failed: unable to verify signing certificate against root "
        "CAs: x509: certificate signed by unknown authority"
    )


def test_missing_program_is_named_with_its_origin(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tests.clients.node_verifiers.VERIFIERS", tmp_path)
    assert SPIRE_PINNED.why_not() == (
        "no program spire-1.15.1 in .venv/clients/verifiers; its code is at "
        "github.com/spiffe/spire/pkg/server/plugin/nodeattestor/azureimds"
    )
    for row in ROWS:
        Path(row.command).touch(mode=0o700)
        assert row.why_not() == ""
