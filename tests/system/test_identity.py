"""Managed identities of the real process: bytes of tokens, secrecy of keys."""

import base64
import json
import re
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from openimds.admin.operations import OPERATIONS
from tests.support.talk import Reply, replies
from tests.system.process import Server, run, serving

pytestmark = pytest.mark.system

TENANT = "72f988bf-0000-4000-8000-000000000001"
CLIENT = "5e000000-0000-4000-8000-00000000000a"
PRINCIPAL = "5e000000-0000-4000-8000-00000000000b"
FLEET = f"""
vms:
  web-1:
    reach: {{address: [127.0.0.11]}}
    identities:
      system: true
      tenantId: {TENANT}
      details: {{system: {{clientId: {CLIENT}, principalId: {PRINCIPAL}}}}}
  plain:
    reach: {{address: [127.0.0.12]}}
"""
TOKEN = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource="
INFO = "/metadata/identity/info?api-version=2018-02-01"
VAULT = "https://vault.azure.net"
MEMBERS = [
    "access_token",
    "client_id",
    "expires_in",
    "expires_on",
    "ext_expires_in",
    "not_before",
    "resource",
    "token_type",
]
"""As recorded (S29): sorted, and no other."""


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    (tmp_path / "fleet.yaml").write_text(FLEET)
    return tmp_path


def vm(server: Server, source: str = "127.0.0.11") -> httpx2.Client:
    transport = httpx2.HTTPTransport(local_address=source)
    return httpx2.Client(base_url=server.url, headers={"Metadata": "true"}, transport=transport)


def count(server: Server, endpoint: str, status: int) -> float:
    """Return the number of responses of an endpoint with a status."""
    label = f'openimds_requests_total{{endpoint="{endpoint}",status="{status}"}} '
    text = httpx2.get(f"{server.ready['admin']}/metrics").text
    return sum(float(line[len(label) :]) for line in text.splitlines() if line.startswith(label))


def kid(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


def test_the_body_of_a_token_is_azures_to_the_byte(fleet: Path) -> None:
    with serving("--fleet", "fleet.yaml", cwd=fleet) as server, vm(server) as guest:
        before_s = int(time.time())
        got = guest.get(TOKEN + VAULT)
        after_s = int(time.time())
        assert (got.status_code, got.headers["content-type"]) == (
            200,
            "application/json; charset=utf-8",
        )
        assert count(server, "token", 200) == 1
    body = got.json()
    assert list(body) == MEMBERS
    assert all(isinstance(value, str) for value in body.values())
    # Compact, and written as JSON writes itself: no escapes, no spaces, no line end.
    assert got.content == json.dumps(body, separators=(",", ":")).encode()
    expected = {
        "client_id": CLIENT,
        "ext_expires_in": "86399",
        "resource": VAULT,
        "token_type": "Bearer",
    }
    assert {name: body[name] for name in expected} == expected
    expires_s, not_before_s = int(body["expires_on"]), int(body["not_before"])
    assert expires_s - not_before_s == 86_700
    assert before_s <= expires_s - 86_400 <= after_s
    claims = jwt.decode(body["access_token"], options={"verify_signature": False})
    assert (claims["exp"], claims["nbf"], claims["iat"]) == (expires_s, not_before_s, not_before_s)
    assert (claims["oid"], claims["tid"], claims["aud"]) == (PRINCIPAL, TENANT, VAULT)


def test_cached_token_counts_down_until_it_is_bypassed(fleet: Path) -> None:
    unlimited = ("--fleet", "fleet.yaml", "--no-rate-limit")
    with serving(*unlimited, cwd=fleet) as server, vm(server) as guest:
        first = guest.get(TOKEN + VAULT).json()
        before_s = int(time.time())
        again = guest.get(TOKEN + VAULT).json()
        after_s = int(time.time())
        fresh, bypassed = first, 0
        # Two tokens of the same second are equal.
        while fresh["access_token"] == first["access_token"]:
            fresh = guest.get(f"{TOKEN}{VAULT}&bypass_cache=true").json()
            bypassed += 1
        cached = guest.get(TOKEN + VAULT).json()
        assert count(server, "token", 200) == 3 + bypassed
    assert again["access_token"] == first["access_token"]
    # The rest ends when the token does. In its first second a token says its whole life; later the
    # last second is not counted.
    left_s = int(again["expires_in"])
    if left_s < 86_400:
        left_s += 1
    assert before_s <= int(again["expires_on"]) - left_s <= after_s
    assert int(again["expires_in"]) <= int(first["expires_in"]) <= 86_400
    assert cached["access_token"] == fresh["access_token"]


def test_info_names_the_tenant_or_the_missing_identity(fleet: Path) -> None:
    refusal = b'{"error":"invalid_request","error_description":"Identity not found"}'
    with serving("--fleet", "fleet.yaml", cwd=fleet) as server:
        with vm(server) as guest:
            got = guest.get(INFO)
        assert (got.status_code, got.content) == (200, f'{{"tenantId":"{TENANT}"}}'.encode())
        with vm(server, "127.0.0.12") as plain:
            for target in (INFO, TOKEN + VAULT):
                got = plain.get(target)
                assert (got.status_code, got.content) == (400, refusal)
        assert count(server, "identity_info", 200) == 1
        assert count(server, "identity_info", 400) == count(server, "token", 400) == 1


def pipelined(server: Server, targets: list[str]) -> list[Reply]:
    """Send all requests in one write and return the answers as they came."""
    head = "GET {} HTTP/1.1\r\nHost: 169.254.169.254\r\nMetadata: true\r\n{}\r\n"
    last = ["" for _ in targets[1:]] + ["Connection: close\r\n"]
    wanted = "".join(head.format(*pair) for pair in zip(targets, last, strict=True))
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 30, ("127.0.0.11", 0)) as connection:
        connection.sendall(wanted.encode())
        return replies(b"".join(iter(lambda: connection.recv(65536), b"")))


def test_pipelined_tokens_are_answered_in_order(fleet: Path) -> None:
    leaf = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
    targets, expected = [], []
    for number in range(6):
        resource = f"https://resource-{number}.example"
        targets += [TOKEN + resource, leaf, f"{TOKEN}{resource}&bypass_cache=true", INFO]
        expected += [resource, "web-1", resource, TENANT]
    with serving("--fleet", "fleet.yaml", "--no-rate-limit", cwd=fleet) as server:
        got = pipelined(server, targets)
        assert count(server, "token", 200) == 12
    assert [reply.status for reply in got] == [200] * len(targets)
    answers = []
    for reply in got:
        is_text = reply.headers["Content-Type"].startswith("text/")
        body = {} if is_text else json.loads(reply.body)
        answers.append(body.get("resource") or body.get("tenantId") or reply.body.decode())
    assert answers == expected


def secrets(key: RSAPrivateKey) -> Iterator[bytes]:
    """Yield the private numbers of a key in every printable form."""
    numbers = key.private_numbers()
    for number in (numbers.d, numbers.p, numbers.q, numbers.dmp1, numbers.dmq1, numbers.iqmp):
        form = number.to_bytes((number.bit_length() + 7) // 8, "big")
        yield str(number).encode()
        yield form.hex().encode()
        yield base64.b64encode(form).rstrip(b"=")[:-1]
        yield base64.urlsafe_b64encode(form).rstrip(b"=")
    for kind in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
        der = key.private_bytes(Encoding.DER, kind, NoEncryption())
        # The bytes before hold lengths and the public half.
        yield base64.b64encode(der)[-300:]


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of a JSON text, to the bottom."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, dict | list):
            yield from objects(item)


def published(server: Server) -> Iterator[tuple[str, bytes]]:
    """Yield each answer of the admin API, of key operations and of the public port."""
    headers = server.authorization
    for row in OPERATIONS:
        if row.method != "GET":
            continue
        url = server.ready["admin"] + re.sub(r"{\w+}", "web-1", row.path)
        # A feed is read from its first event on, so that there is one.
        params = {query.row.name: "0" for query in row.queries if query.row.name == "since"}
        params |= {
            query.row.name: str(query.example) for query in row.queries if query.row.required
        }
        with httpx2.stream("GET", url, headers=headers, params=params, timeout=20) as got:
            # 409: this server has one host.
            assert got.status_code in (200, 404, 409), (row.name, got.status_code)
            is_feed = got.headers["content-type"].startswith("text/event-stream")
            yield row.name, next(got.iter_bytes()) if is_feed else got.read()
    for target in ("/v1/keys", "/v1/certificates/rotate?part=root"):
        rotated = httpx2.post(server.ready["admin"] + target, headers=headers)
        assert rotated.status_code == 200
        yield f"POST {target}", rotated.content
    for path in ("", "v2.0/"):
        for target in (f"{path}.well-known/openid-configuration", f"discovery/{path}keys"):
            got = httpx2.get(f"{server.ready['public']}/{TENANT}/{target}")
            assert got.status_code == 200
            yield target, got.content


def key_files(folder: Path) -> list[Path]:
    """Return the files with a private key in a state directory."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if b"PRIVATE KEY-----" in path.read_bytes()]


def test_no_answer_of_a_listener_has_a_private_number(fleet: Path) -> None:
    kept = ("--fleet", "fleet.yaml", "--state", "kept", "--record", "9")
    with serving(*kept, cwd=fleet) as server:
        with vm(server) as guest:
            shown = [("token", guest.get(TOKEN + VAULT).content)]
        shown += published(server)
        keys = [load_pem_private_key(path.read_bytes(), None) for path in key_files(fleet / "kept")]
        assert server.stop() == (0, "")
    hidden = [form for key in keys if isinstance(key, RSAPrivateKey) for form in secrets(key)]
    assert hidden
    public = 0
    for name, body in shown:
        assert b"PRIVATE KEY" not in body, name
        assert not [form for form in hidden if form in body], name
        if not body.startswith((b"{", b"[")):
            continue
        for value in objects(json.loads(body)):
            if "kty" in value:
                public += 1
                allowed = {"kty", "use", "kid", "x5t", "n", "e", "issuer"}
                assert value.keys() <= allowed, name
    # Two keys in each of the two sets.
    assert public == 4


def test_keys_are_private_and_survive_a_restart(fleet: Path) -> None:
    kids, tokens = [], []
    for _ in range(2):
        with serving("--fleet", "fleet.yaml", "--state", "kept", cwd=fleet) as server:
            with vm(server) as guest:
                tokens.append(guest.get(TOKEN + VAULT).json()["access_token"])
            (key,) = jwt.PyJWKSet.from_dict(
                httpx2.get(f"{server.ready['public']}/{TENANT}/discovery/keys").json()
            ).keys
            # The second process vouches for the token of the first.
            for token in tokens:
                jwt.decode(token, key.key, algorithms=["RS256"], audience=VAULT)
            kids.append(key.key_id)
            assert server.stop() == (0, "")
    assert kids[0] == kids[1]
    folder = fleet / "kept" / "keys"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {f"{kids[0]}.pem": 0o600, "keyring.json": 0o600}


def test_server_without_state_makes_a_new_key(fleet: Path) -> None:
    kids = set()
    for _ in range(2):
        with serving("--fleet", "fleet.yaml", cwd=fleet) as server, vm(server) as guest:
            kids.add(kid(guest.get(TOKEN + VAULT).json()["access_token"]))
    assert len(kids) == 2
    assert not key_files(fleet)


def _scribble(key: Path) -> None:
    key.write_text("-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n")


def _cut(key: Path) -> None:
    key.write_bytes(key.read_bytes()[:700])


def _empty(key: Path) -> None:
    key.write_bytes(b"")


def _open(key: Path) -> None:
    key.chmod(0o644)


def _swap(key: Path) -> None:
    other = generate_private_key(65537, 2048)
    key.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _lose(key: Path) -> None:
    key.unlink()


def _scribble_on_list(key: Path) -> None:
    (key.parent / "keyring.json").write_text('{"keys": [')


HARM = [
    (_scribble, "expected an RSA private key in PEM"),
    (_cut, "expected an RSA private key in PEM"),
    (_empty, "expected an RSA private key in PEM"),
    (_open, "saw the mode 0644, expected 0600"),
    (_swap, "expected the key that the file is named after"),
    (_lose, "saw no file, expected the key that keyring.json names"),
    (_scribble_on_list, "expected a list of keys as OpenIMDS writes it"),
]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a keyring that a server has made."""
    folder = tmp_path_factory.mktemp("ring")
    (folder / "fleet.yaml").write_text(FLEET)
    with serving("--fleet", "fleet.yaml", "--state", "kept", cwd=folder) as server:
        httpx2.get(f"{server.ready['public']}/{TENANT}/discovery/keys").raise_for_status()
        assert server.stop() == (0, "")
    return {path.name: path.read_bytes() for path in (folder / "kept" / "keys").iterdir()}


@pytest.mark.parametrize("harm, message", HARM, ids=[harm.__name__ for harm, _ in HARM])
def test_bad_key_file_stops_the_start_with_one_line(
    tmp_path: Path, kept: dict[str, bytes], harm: Callable[[Path], None], message: str
) -> None:
    folder = tmp_path / "kept" / "keys"
    folder.mkdir(parents=True, mode=0o700)
    folder.parent.chmod(0o700)
    for name, text in kept.items():
        (folder / name).write_bytes(text)
        (folder / name).chmod(0o600)
    (key,) = folder.glob("*.pem")
    harm(key)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    got = run(
        "serve", "--listen", "127.0.0.1:0", "--admin", "none", "--state", "kept", cwd=tmp_path
    )
    assert (got.returncode, got.stdout, got.stderr.count("\n")) == (1, "", 1)
    named = folder / "keyring.json" if harm is _scribble_on_list else key
    assert got.stderr.startswith(f"openimds: {named}: saw ")
    assert message in got.stderr
    # A backup of the file can be put back: no new file is in its place.
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_first_token_comes_before_a_client_gives_up(fleet: Path) -> None:
    # A client's probe of IMDS waits for a second. Up to three tries, as the machine may be busy.
    waited_s: list[float] = []
    while len(waited_s) < 3 and min(waited_s, default=1) >= 1:
        with serving("--fleet", "fleet.yaml", cwd=fleet) as server, vm(server) as guest:
            began_s = time.monotonic()
            assert guest.get(TOKEN + VAULT).status_code == 200
            waited_s.append(time.monotonic() - began_s)
    assert min(waited_s) < 1
