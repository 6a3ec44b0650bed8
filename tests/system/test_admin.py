"""The real process, called by a client, and by schemathesis from its OpenAPI document."""

import json
import os
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

from openimds.admin.operations import OPERATIONS
from tests.system.process import Server, free_port, run, serving

pytestmark = pytest.mark.system

DOCUMENT = "/metadata/instance?api-version=2021-02-01"
SIZE = "/metadata/instance/compute/vmSize?api-version=2021-02-01&format=text"
NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"


def admin(server: Server) -> httpx2.Client:
    return httpx2.Client(base_url=server.ready["admin"], headers=server.authorization)


def guest(url: str, source: str | None = None) -> httpx2.Client:
    transport = httpx2.HTTPTransport(local_address=source)
    return httpx2.Client(base_url=url, headers={"Metadata": "true"}, transport=transport)


def vm(size: str, *addresses: str, listen: tuple[str, ...] = ()) -> dict[str, Any]:
    reach = {"address": [*addresses], "listen": [*listen]}
    return {"compute": {"vmSize": size}, "reach": reach}


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_guest_sees_a_put_with_its_next_request(tmp_path: Path) -> None:
    with (
        serving("--no-rate-limit", cwd=tmp_path) as server,
        admin(server) as api,
        guest(server.url, "127.0.0.21") as one,
        guest(server.url, "127.0.0.22") as two,
    ):
        for number in range(20):
            for caller, name in ((one, "one"), (two, "two")):
                size = f"Standard_{name}_{number}"
                address = {"one": "127.0.0.21", "two": "127.0.0.22"}[name]
                put = api.put(f"/v1/vms/{name}", json=vm(size, address))
                assert put.status_code == (200 if number else 201)
                got = caller.get(SIZE)
                assert (got.status_code, got.text) == (200, size)
        assert api.delete("/v1/vms/one").status_code == 204
        # One is left, and its reach names another address.
        assert one.get(SIZE).status_code == 404
        assert two.get(SIZE).text == "Standard_two_19"
        status, messages = server.stop()
        assert status == 0
        assert messages.startswith("openimds: unknown caller 127.0.0.21")


def test_restart_keeps_vms_and_revisions(tmp_path: Path) -> None:
    with serving("--state", "kept", cwd=tmp_path) as server, admin(server) as api:
        assert server.ready["token_file"] == str(tmp_path / "kept" / "admin-token")
        api.put("/v1/vms/web_1", json=vm("Standard_A", "127.0.0.21")).raise_for_status()
        before = api.get("/v1/vms").json(), api.get("/v1/audit").json()
        assert server.stop()[0] == 0
    assert [item["name"] for item in before[0]["items"]] == ["web_1"]
    with serving("--state", "kept", cwd=tmp_path) as server, admin(server) as api:
        assert (api.get("/v1/vms").json(), api.get("/v1/audit").json()) == before
        with guest(server.url, "127.0.0.21") as caller:
            assert caller.get(SIZE).text == "Standard_A"
        got = api.put("/v1/vms/web_1", json={}, headers={"If-None-Match": "*"})
        assert got.status_code == 412


def test_state_folder_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    with serving("--state", "kept", cwd=tmp_path) as server, admin(server) as api:
        api.put("/v1/vms/a", json={}).raise_for_status()
        api.post("/v1/token").raise_for_status()
        kept = tmp_path / "kept"
        files = {path.name: path for path in kept.rglob("*") if path.is_file()}
        folders = [kept, *(path for path in kept.rglob("*") if path.is_dir())]
        assert {"admin-token", "fleet.db", "lock"} <= files.keys()
        assert {path.stat().st_mode & 0o777 for path in files.values()} == {0o600}
        assert {path.stat().st_mode & 0o777 for path in folders} == {0o700}


def test_second_server_on_a_state_folder_names_the_first(tmp_path: Path) -> None:
    with serving("--state", "kept", cwd=tmp_path) as server:
        got = run(
            *("serve", "--state", "kept", "--listen", "127.0.0.1:0", "--admin", "none"),
            cwd=tmp_path,
        )
        assert (got.returncode, got.stdout) == (1, "")
        assert got.stderr == (
            f"openimds: {tmp_path / 'kept'}: in use by the process with pid {server.process.pid}; "
            "stop it first, or choose another --state\n"
        )
        assert server.stop() == (0, "")
    with serving("--state", "kept", cwd=tmp_path) as server:
        assert server.stop() == (0, "")


def test_broken_store_stops_the_start_with_a_message(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    store = tmp_path / "kept" / "fleet.db"
    store.write_bytes(b"This is no database at all. " * 100)
    store.chmod(0o600)
    got = run("serve", "--state", "kept", "--listen", "127.0.0.1:0", cwd=tmp_path)
    assert got.returncode == 1
    assert got.stderr == (
        f"openimds: {store} is damaged (file is not a database). Restore it: openimds state "
        f"restore FILE --state {store.parent}. Or go on with what is left: openimds serve "
        "--state-recover\n"
    )


def test_guests_are_served_while_the_store_fails(tmp_path: Path) -> None:
    with (
        serving("--state", "kept", "--no-rate-limit", cwd=tmp_path) as server,
        admin(server) as api,
        guest(server.url) as caller,
        closing(sqlite3.connect(tmp_path / "kept" / "fleet.db", isolation_level=None)) as other,
    ):
        api.put("/v1/vms/a", json=vm("Standard_A", "127.0.0.1")).raise_for_status()
        other.execute("ALTER TABLE vm RENAME TO hidden")
        got = api.put("/v1/vms/a", json=vm("Standard_B", "127.0.0.1"))
        assert (got.status_code, got.headers["content-type"]) == (503, "application/problem+json")
        assert got.json()["detail"].startswith(str(tmp_path / "kept" / "fleet.db"))
        assert api.get("/v1/vms").status_code == 503
        got = caller.get(SIZE)
        assert (got.status_code, got.text) == (200, "Standard_A")
        assert api.get("/healthz").status_code == 200
        assert "openimds_vms 1.0\n" in api.get("/metrics").text
        other.execute("ALTER TABLE hidden RENAME TO vm")
        assert api.put("/v1/vms/a", json=vm("Standard_B", "127.0.0.1")).status_code == 200
        assert caller.get(SIZE).text == "Standard_B"
        code, messages = server.stop()
        assert code == 0
        refused, taken = messages.splitlines()
        assert refused.startswith("openimds: the store takes no change: ")
        assert taken.startswith("openimds: the store takes changes again, after ")


def test_listeners_of_a_vm_open_move_and_close_with_it(tmp_path: Path) -> None:
    first, second, path = free_port(), free_port(), tmp_path / "a.sock"
    with serving("--no-rate-limit", cwd=tmp_path) as server, admin(server) as api:
        api.put("/v1/vms/other", json={}).raise_for_status()
        listen = (f"127.0.0.1:{first}", f"unix:{path}")
        api.put("/v1/vms/a", json=vm("Standard_A", listen=listen)).raise_for_status()
        with guest(f"http://127.0.0.1:{first}") as caller:
            assert caller.get(NAME).text == "a"
        with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(path))) as caller:
            assert caller.get(f"http://x{NAME}", headers={"Metadata": "true"}).text == "a"
        change = {"reach": {"listen": [f"127.0.0.1:{second}"]}}
        api.patch("/v1/vms/a", json=change).raise_for_status()
        assert not is_open(first)
        assert not path.exists()
        with guest(f"http://127.0.0.1:{second}") as caller:
            assert caller.get(NAME).text == "a"
        assert api.delete("/v1/vms/a").status_code == 204
        assert not is_open(second)
        assert server.stop() == (0, "")


def test_change_opens_all_its_listeners_or_none(tmp_path: Path) -> None:
    ports = [free_port() for _ in range(8)]
    with (
        serving(cwd=tmp_path) as server,
        admin(server) as api,
        socket.create_server(("127.0.0.1", 0)) as taken,
    ):
        busy = taken.getsockname()[1]
        listen = tuple(f"127.0.0.1:{port}" for port in (*ports, busy))
        got = api.put("/v1/vms/a", json=vm("Standard_A", listen=listen))
        assert got.status_code == 422
        assert (got.json()["where"], got.json()["expected"]) == (
            "vms.a.reach.listen",
            "an address that is free here",
        )
        assert api.get("/v1/vms/a").status_code == 404
        assert not [port for port in ports if is_open(port)]


def test_wrong_token_or_host_changes_nothing(tmp_path: Path) -> None:
    with serving(cwd=tmp_path) as server, admin(server) as api:
        before = api.get("/v1/audit").json()
        for status, headers in (
            (401, {"Authorization": "Bearer x"}),
            (401, {"Authorization": ""}),
            (421, {"Host": "rebound.example"}),
        ):
            assert api.put("/v1/vms/a", json={}, headers=headers).status_code == status
        assert api.get("/v1/audit").json() == before


def test_rotated_token_survives_a_restart(tmp_path: Path) -> None:
    with serving("--state", "kept", cwd=tmp_path) as server, admin(server) as old:
        assert old.post("/v1/token").json() == {"tokenFile": server.ready["token_file"]}
        assert old.get("/v1/vms").status_code == 401
        with admin(server) as new:
            assert new.get("/v1/vms").status_code == 200
    with serving("--state", "kept", cwd=tmp_path) as server:
        for caller, status in ((old, 401), (new, 200)):
            headers = {"Authorization": caller.headers["Authorization"]}
            got = httpx2.get(f"{server.ready['admin']}/v1/vms", headers=headers)
            assert got.status_code == status


def events(lines: Iterator[str], number: int) -> list[dict[str, Any]]:
    """Return the next events of a feed, each with its id and data."""
    found: list[dict[str, Any]] = []
    event: dict[str, Any] = {}
    while len(found) < number:
        key, _, value = next(lines).partition(": ")
        if key == "data":
            event["data"] = json.loads(value)
        elif key in ("id", "event"):
            event[key] = value
        elif not key and event:
            found.append(event)
            event = {}
    return found


def test_changes_are_followed_live_and_resumed(tmp_path: Path) -> None:
    with serving("--state", "kept", cwd=tmp_path) as server, admin(server) as api:
        with api.stream("GET", "/v1/changes", timeout=20) as feed:
            lines = feed.iter_lines()
            api.put("/v1/vms/a", json={}).raise_for_status()
            # The default VM is removed when the first VM is made.
            put, gone = events(lines, 2)
        assert (put["event"], put["data"]["name"], put["data"]["kind"]) == ("change", "a", "put")
        assert (gone["data"]["name"], gone["data"]["kind"]) == ("vm-1", "remove")
        api.delete("/v1/vms/a").raise_for_status()
        assert server.stop() == (0, "")
    with serving("--state", "kept", cwd=tmp_path) as server, admin(server) as api:
        headers = {"Last-Event-ID": put["id"]}
        with api.stream("GET", "/v1/changes", headers=headers, timeout=20) as feed:
            again, removed = events(feed.iter_lines(), 2)
        assert again == gone
        assert (removed["data"]["name"], removed["data"]["kind"]) == ("a", "remove")


def test_server_stops_silently_while_a_client_follows(tmp_path: Path) -> None:
    with (
        serving(cwd=tmp_path) as server,
        admin(server) as api,
        api.stream("GET", "/v1/changes?since=0", timeout=20) as feed,
    ):
        assert events(feed.iter_lines(), 1)[0]["data"]["name"] == "vm-1"
        assert server.stop() == (0, "")


def test_rude_clients_leave_no_trace(tmp_path: Path) -> None:
    with serving(cwd=tmp_path) as server, admin(server) as api:
        host, port = server.ready["admin"].removeprefix("http://").split(":")
        head = f"PUT /v1/vms/a HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100\r\n"
        head += f"Authorization: {api.headers['Authorization']}\r\n\r\n"
        for rude in (head.encode() + b"{", b"\x00garbage\r\n\r\n"):
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall(rude)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):
                    pass
        assert api.get("/v1/vms/a").status_code == 404
        assert server.stop() == (0, "")


POISON = [
    b'{"loadBalancer": {"inboundRules": [{"frontendPort": 1%s}]}}' % (b"0" * 30),
    b'{"loadBalancer": {"inboundRules": [{"frontendPort": -1%s}]}}' % (b"0" * 30),
    b'{"compute": {"tags": {"\\ud800": "x"}}}',
    b'{"\\ud800": 1}',
    b'{"\\ud800": 1, "\\ud800": 2}',
    b'{"name": "\\ud800"}',
    b'{"compute": {"zone": {"\\ud800": 1}}}',
    b'{"compute": {"zone": NaN}}',
    b"\xff",
    b"[" * 100_000,
    b'{"compute":' * 50_000,
]


def test_body_that_cannot_be_served_is_not_stored(tmp_path: Path) -> None:
    headers = {"Content-Type": "application/json"}
    with serving("--state", "kept", cwd=tmp_path) as server, admin(server) as api:
        api.put("/v1/vms/a", json={}).raise_for_status()
        for number, body in enumerate(POISON):
            for name, verb in (("a", "PATCH"), ("b", "PUT")):
                got = api.request(verb, f"/v1/vms/{name}", content=body, headers=headers)
                assert got.status_code == 422, number
                assert got.headers["content-type"] == "application/problem+json", number
            assert [item["name"] for item in api.get("/v1/vms").json()["items"]] == ["a"], number
        assert server.stop() == (0, "")
    # A stored body that cannot be read would stop the next start.
    with serving("--state", "kept", cwd=tmp_path) as server:
        assert server.stop() == (0, "")


ENDLESS = ("follow_changes", "follow_requests")
"""Feeds without an end."""


BOUNDED = settings(
    max_examples=int(os.environ.get("OPENIMDS_SCHEMA_EXAMPLES", "20")),
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
CHECKS = {
    # Each operation is asked without a token in unit/admin/test_auth; here the answers would be
    # slowed, as those to any address that has no right token.
    "ignored_auth": {"enabled": False},
    # A well-formed value may still be no cursor, api-version or current ETag; and a server with the
    # wall clock refuses to set it (409).
    "positive_data_acceptance": {
        "expected-statuses": ["2xx", "304", "400", "404", "409", "412", "422"],
    },
    "negative_data_rejection": {
        "expected-statuses": ["400", "401", "404", "405", "412", "413", "415", "422"],
    },
}


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The schema of a running server, as it describes itself."""
    folder = tmp_path_factory.mktemp("described")
    recording = ("--state", "kept", "--record", "50")
    with serving(*recording, cwd=folder) as server, admin(server) as api:
        for name in ("a", "web_1", "10.x"):
            api.put(f"/v1/vms/{name}", json={}).raise_for_status()
        url = f"{server.ready['admin']}/openapi.json"
        schema = schemathesis.openapi.from_url(
            url, config=schemathesis.Config.from_dict({"checks": CHECKS})
        )

        @schema.auth(refresh_interval=None)
        class Bearer:
            def get(self, case: Any, context: Any) -> str:
                return Path(server.ready["token_file"]).read_text().strip()

            def set(self, case: Any, data: str, context: Any) -> None:
                case.headers["Authorization"] = f"Bearer {data}"

        yield schema.exclude(operation_id=[*ENDLESS])
        code, messages = server.stop()
        # The checks send wrong tokens, too, which are reported once a minute.
        lines = [line for line in messages.splitlines() if "openimds: admin API: " not in line]
        assert (code, lines) == (0, [])


FRAMING = ("Connection", "Content-Length", "Expect", "Host", "Transfer-Encoding", "Upgrade")
"""Headers of the HTTP client and not of an operation; unit tests ask with wrong ones."""

FUZZED = [
    (row.name, mode)
    for row in OPERATIONS
    for mode in schemathesis.GenerationMode
    if row.name not in ENDLESS and (mode.is_positive or row.takes or row.queries)
]


@pytest.mark.parametrize("name, mode", FUZZED)
def test_operation_does_as_it_is_described(
    described: Any, name: str, mode: schemathesis.GenerationMode
) -> None:
    operation = described.find_operation_by_id(name)

    @BOUNDED
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        for header in FRAMING:
            case.headers.pop(header, None)
        case.call_and_validate()

    check()
