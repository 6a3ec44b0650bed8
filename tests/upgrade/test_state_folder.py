"""State folders of earlier releases: the server opens them and serves the same bodies.

`state-0.1.0/` comes from release 0.1.0: `fleet.sql` is its store as SQL text, `fleet.yaml` the
fleet file, `served/` the bodies that its guests got. The keys of tokens are left out; the server
makes new ones. `ca/` has the chain of its attested documents, with keys that nobody trusts, and
`document.json` one of these. Its virtual clock stood still, so events and faults are where they
were.
"""

import base64
import json
import shutil
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import load_der_pkcs7_certificates

from openimds.credentials.pki.extensions import addresses_in
from openimds.credentials.pki.verify import verify
from openimds.facts.generations import OID_CLIENT, OID_SERVER
from tests.system.process import Server, run, serving

FOLDERS = sorted(Path(__file__).parent.glob("state-*"))
CORRECTED = {
    "compute.publicKeys": 14,
    "compute.securityProfile.secureBootEnabled": 14,
    "compute.securityProfile.securityType": 14,
    "compute.securityProfile.virtualTpmEnabled": 14,
    "compute.isHostCompatibilityLayerVm": 60,
    "compute.storageProfile.imageReference.exactVersion": 6,
}
"""Defaults that later recordings have corrected, with the number in `facts.corrections`."""
ADDRESSES = {"web-1": "127.0.0.11", "db-1": "127.0.0.12", "api-1": "127.0.0.13"}

OPTIONS = ("--fleet", "fleet.yaml", "--state", "state", "--virtual-clock", "--no-rate-limit")
CLOCK_S = datetime(2026, 11, 1, 12, 2, tzinfo=UTC).timestamp()
"""The time at which the clock of the folder stands."""

pytestmark = pytest.mark.system


def a_copy(release: Path, at: Path) -> Path:
    """Return a copy of a release's folder with its store built from the SQL text."""
    copy = at / release.name
    shutil.copytree(release, copy)
    state = copy / "state"
    state.mkdir(mode=0o700)
    store = sqlite3.connect(state / "fleet.db")
    store.executescript((copy / "fleet.sql").read_text("utf-8"))
    store.close()
    (state / "fleet.db").chmod(0o600)
    shutil.copytree(copy / "ca", state / "ca")
    for path in (state / "ca").iterdir():
        path.chmod(0o600)
    return copy


@pytest.fixture(scope="module", params=FOLDERS, ids=lambda folder: folder.name)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_copy(request.param, tmp_path_factory.mktemp("upgrade"))


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Server]:
    with serving(*OPTIONS, "--public", "none", cwd=folder) as server:
        yield server


def get(url: str, path: str, *, source: str = "", **headers: str) -> bytes:
    parts = urlsplit(url)
    assert parts.hostname
    guest = HTTPConnection(
        parts.hostname, parts.port, timeout=10, source_address=(source, 0) if source else None
    )
    guest.request("GET", path, headers=headers)
    answer = guest.getresponse()
    body = answer.read()
    guest.close()
    assert answer.status == 200, body
    return body


def admin(served: Server, path: str) -> Any:
    token = Path(served.ready["token_file"]).read_text().strip()
    return json.loads(get(served.ready["admin"], path, Authorization=f"Bearer {token}"))


def test_every_guest_gets_the_same_bodies(folder: Path, served: Server) -> None:
    recorded = sorted((folder / "served").iterdir())
    assert len(recorded) == 5 * len(ADDRESSES)
    for file in recorded:
        vm, endpoint, version = file.name.removesuffix(".json").split(".")
        path = f"/metadata/{endpoint}?api-version={version}"
        body = get(served.url, path, source=ADDRESSES[vm], Metadata="true")
        changed = differences(json.loads(file.read_bytes()), json.loads(body))
        assert changed <= CORRECTED.keys(), file.name
        if not changed:
            assert body == file.read_bytes()


def differences(before: Any, after: Any, path: str = "") -> set[str]:
    """Return the paths of the values that differ, without numbers of array items."""
    if isinstance(before, dict) and isinstance(after, dict) and [*before] == [*after]:
        parts = ((before[key], after[key], f"{path}.{key}".lstrip(".")) for key in before)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        parts = ((one, other, path) for one, other in zip(before, after, strict=True))
    else:
        return set() if before == after else {path}
    return {found for part in parts for found in differences(*part)}


def test_vms_keep_origin_and_revision(served: Server) -> None:
    rows = admin(served, "/v1/vms")["items"]
    assert {(row["name"], row["origin"], row["revision"]) for row in rows} == {
        ("web-1", "file", 1),
        ("db-1", "file", 2),
        ("api-1", "api", 7),
    }


def test_audit_and_event_log_are_whole(served: Server) -> None:
    changes = admin(served, "/v1/audit?limit=100")["items"]
    assert sorted(change["revision"] for change in changes) == [1, 2, 3, 4, 5, 6, 7]
    log = admin(served, "/v1/events/log?limit=100")["items"]
    assert [(entry["number"], entry["trigger"]) for entry in log] == [
        (1, "declared"),
        (2, "declared"),
        (3, "declared"),
        (4, "cancel"),
        (5, "not-before"),
        (6, "approved"),
    ]


def test_events_scenarios_faults_and_clock_go_on(served: Server) -> None:
    events = admin(served, "/v1/events")["items"]
    assert {(event["type"], event["status"]) for event in events} == {
        ("Reboot", "Started"),
        ("Freeze", "Started"),
    }
    group = "c3a18333-25f1-45d8-86ba-25a65d78c979/lab"
    assert {event["scope"] for event in events} == {f"set:{group}/as-1", "vm:db-1"}
    (scenario,) = admin(served, "/v1/scenarios")["items"]
    assert scenario["name"] == "fleet"
    faults = {fault["id"]: fault for fault in admin(served, "/v1/faults")["items"]}
    assert faults["4"]["origin"] == "api"
    assert faults["4"]["status"] == 500
    assert admin(served, "/v1/clock")["now"].startswith("2026-11-01T12:02:00")


def test_a_guest_gets_a_token_from_new_keys(served: Server) -> None:
    path = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net"
    body = json.loads(get(served.url, path, source=ADDRESSES["web-1"], Metadata="true"))
    assert body["token_type"] == "Bearer"


# The chain of attested documents.


@pytest.fixture
def certified(folder: Path, tmp_path: Path) -> Iterator[Server]:
    """A server with a public listener, on a folder that a test may change."""
    copy = a_copy(Path(__file__).with_name(folder.name), tmp_path)
    with serving(*OPTIONS, "--public", "127.0.0.1:0", cwd=copy) as server:
        yield server


def command(server: Server, *arguments: str) -> str:
    got = run(*arguments, cwd=Path.cwd(), **server.variables)
    assert got.returncode == 0, got.stderr
    return got.stdout


def new_document(server: Server, nonce: str) -> bytes:
    path = f"/metadata/attested/document?api-version=2021-02-01&nonce={nonce}"
    return get(server.url, path, source=ADDRESSES["web-1"], Metadata="true")


def signer(document: bytes) -> x509.Certificate:
    (leaf,) = load_der_pkcs7_certificates(base64.b64decode(json.loads(document)["signature"]))
    return leaf


def holds(document: bytes, trust: str) -> bool:
    domain = "metadata.azure.com"
    return verify(document, trust=trust.encode(), nonce=None, at_s=CLOCK_S, domain=domain).holds


def form(leaf: x509.Certificate) -> tuple[int, set[str], bool]:
    """Return the days of a leaf, its purposes, and whether it names a list."""
    purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    days = (leaf.not_valid_after_utc - leaf.not_valid_before_utc).days
    return days, {oid.dotted_string for oid in purposes}, bool(addresses_in(leaf).crls)


def published(server: Server, url: str) -> x509.Certificate:
    """Return the certificate at the path of a URL on the public listener."""
    return x509.load_der_x509_certificate(get(server.ready["public"], urlsplit(url).path))


def test_chain_stays_until_it_is_replaced(folder: Path, certified: Server) -> None:
    bundle = command(certified, "attest", "ca")
    files = [(folder / "ca" / name).read_bytes() for name in ("intermediate.pem", "root.pem")]
    (intermediate, root) = map(x509.load_pem_x509_certificate, files)
    assert x509.load_pem_x509_certificates(bundle.encode()) == [root, intermediate]
    old, new = (folder / "document.json").read_bytes(), new_document(certified, "1")
    assert holds(old, bundle)
    assert holds(new, bundle)
    assert form(signer(new))[:2] == form(signer(old))[:2] == (339, {OID_SERVER, OID_CLIENT})
    # Its certificates name addresses below /pki, as 0.1.0 had them.
    (above,) = addresses_in(signer(old)).issuers
    assert above.startswith("http://pki.example/pki/")
    assert published(certified, above) == intermediate
    assert published(certified, addresses_in(intermediate).issuers[0]) == root


def test_rotation_brings_the_new_form_with_overlap(folder: Path, certified: Server) -> None:
    before = command(certified, "attest", "ca", "--root")
    documents = [(folder / "document.json").read_bytes(), new_document(certified, "1")]
    command(certified, "attest", "rotate", "intermediate")
    documents.append(new_document(certified, "2"))
    bundle = command(certified, "attest", "ca")
    assert [holds(document, bundle) for document in documents] == [True] * 3
    assert form(signer(documents[-1])) == (180, {OID_SERVER}, True)
    assert command(certified, "attest", "ca", "--root") == before
    (above,) = addresses_in(signer(documents[0])).issuers
    kept = published(certified, above)
    assert kept.public_bytes(Encoding.PEM) in bundle.encode()
    assert signer(documents[-1]).issuer != kept.subject


@pytest.mark.parametrize("release", FOLDERS, ids=lambda folder: folder.name)
def test_first_start_leaves_what_the_api_changed(release: Path, tmp_path: Path) -> None:
    """Release 0.1.0 made the VMs of the file as in the file again."""
    copy = a_copy(release, tmp_path)
    store = sqlite3.connect(copy / "state" / "fleet.db")
    with store:
        columns = "at, who, name, before, after, origin"
        for name, after in (("web-1", b'{"compute":{"zone":"3"}}'), ("db-1", None)):
            (before,) = store.execute("SELECT body FROM vm WHERE name = ?", (name,)).fetchone()
            change = ("now", "api 127.0.0.1", name, before, after, "file" if after else "api")
            store.execute(f"INSERT INTO change ({columns}) VALUES (?, ?, ?, ?, ?, ?)", change)
        store.execute("UPDATE vm SET body = ? WHERE name = 'web-1'", (b'{"compute":{"zone":"3"}}',))
        store.execute("DELETE FROM vm WHERE name = 'db-1'")
        as_it_was = [*store.iterdump()]
    store.close()
    kept = [("api-1", "2"), ("web-1", "3")]
    with serving(*OPTIONS, "--public", "none", cwd=copy) as server:
        assert zones(server) == kept
        notice = server.next_line()
    assert "rename the copy to fleet.db" in notice
    text = (copy / "fleet.yaml").read_text()
    (copy / "fleet.yaml").write_text(text.replace("availabilitySet: as-1", "availabilitySet: as-2"))
    with serving(*OPTIONS, "--public", "none", cwd=copy) as server:
        assert zones(server) == kept
        (web,) = [vm for vm in admin(server, "/v1/vms")["items"] if vm["name"] == "web-1"]
        assert web["availabilitySet"] == "as-2"
    # The way back: the store as 0.1.0 left it.
    store = sqlite3.connect(copy / "state" / "fleet-schema-2.db")
    assert [*store.iterdump()] == as_it_was
    store.close()


def zones(server: Server) -> list[tuple[str, str]]:
    items = admin(server, "/v1/vms")["items"]
    return [(vm["name"], vm.get("compute", {}).get("zone", "")) for vm in items]
