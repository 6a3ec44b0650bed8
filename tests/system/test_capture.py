"""Capture, replay and compare, with the real server on loopback."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from openimds.facts.versions import GENERAL
from tests.golden.transcript import transcript
from tests.system.process import Serving, clean_environment, run, serving
from tests.system.test_real_address import PRIVATE, why_not

pytestmark = pytest.mark.system

HEAD = Path(__file__).parents[1] / "golden" / "head.json"
FAST = ("--per-s", "5000")
FLEET = """
vms:
  web-1:
    compute: {tags: {team: blue-whales}, userData: c2VjcmV0LXVzZXItZGF0YQ==}
    identities: {system: true}
    loadBalancer:
      inboundRules: [{frontendIpAddress: 20.1.2.3, frontendPort: 80, backendPort: 8080}]
    attested: {sku: another-sku}
"""
NO_HEADER = '{ "error": "Bad request: . Required metadata header not specified" }'
COUNTED = re.compile(r'^openimds_requests_total\{endpoint="(\w+)".*?\} (\S+)$', re.MULTILINE)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("captured")
    (folder / "fleet.yaml").write_text(FLEET)
    with serving("--fleet", "fleet.yaml", "--no-rate-limit", cwd=folder) as started:
        yield started


def counted(server: Serving) -> dict[str, int]:
    """Return how many requests each endpoint has had."""
    found: dict[str, int] = {}
    for endpoint, count in COUNTED.findall(httpx2.get(f"{server.ready['admin']}/metrics").text):
        found[endpoint] = found.get(endpoint, 0) + int(float(count))
    return found


def capture(url: str, cwd: Path, *arguments: str, file: str = "held.json") -> Any:
    """Capture a server and return what was written."""
    got = run("capture", "--url", url, "--output", file, *FAST, *arguments, cwd=cwd)
    assert (got.returncode, got.stdout) == (0, ""), got.stderr
    return json.loads((cwd / file).read_bytes())


def compare(one: str, other: str, cwd: Path, *arguments: str) -> tuple[int, str, str]:
    got = run("compare", one, other, *FAST, *arguments, cwd=cwd)
    return got.returncode, got.stdout, got.stderr


def test_everything_is_asked_and_no_token(server: Serving, tmp_path: Path) -> None:
    before = counted(server)
    held = capture(server.url, tmp_path, "--extended", "--events")
    moved = {key: count - before.get(key, 0) for key, count in counted(server).items()}
    exchanges = held["exchanges"]
    assert sum(moved.values()) == len(exchanges) > 280
    assert not {"token", "identity_info"} & {key for key, count in moved.items() if count}
    assert [one for one in exchanges if "answer" not in one] == []
    assert (tmp_path / "held.json").stat().st_mode & 0o777 == 0o600
    (document,) = [
        one for one in exchanges if (one["question"], one["version"]) == ("instance", "2021-02-01")
    ]
    with httpx2.Client(headers={"Metadata": "true"}) as guest:
        answer = guest.get(f"{server.url}{document['request']['target']}")
    assert document["answer"]["body"] == answer.text
    names = [line.partition(":")[0] for line in document["answer"]["headers"]]
    assert names == ["Content-Type", "Server", "x-ms-request-id", "Date", "Content-Length"]


def test_what_is_switched_on_by_asking_is_left_alone(server: Serving, tmp_path: Path) -> None:
    before = counted(server)
    got = run(
        "capture", "--url", server.url, "--output", "x.json", "--no-attested", *FAST, cwd=tmp_path
    )
    after = counted(server)
    assert {key for key in after if after[key] > before.get(key, 0)}.isdisjoint(
        {"scheduledevents", "attested", "token"}
    )
    assert got.stderr == (
        f"x.json: {sum(after.values()) - sum(before.values())} answers of {server.url}\n"
        "left out: tokens and everything else below /metadata/identity, which is never asked for\n"
        "left out: attested documents (--attested)\n"
        "left out: instance documents with extended=true (--extended)\n"
        "left out: scheduled events, which the first request switches on for a day (--events)\n"
    )


def test_a_limit_is_kept_to(tmp_path: Path) -> None:
    limit = ("--general-per-s", "150")
    with serving(*limit, cwd=tmp_path) as limited:
        held = capture(limited.url, tmp_path)
        text = httpx2.get(f"{limited.ready['admin']}/metrics").text
    statuses = {one["answer"]["line"].split()[1] for one in held["exchanges"]}
    assert "429" not in statuses
    away = [one["turnedAway"] for one in held["exchanges"] if "turnedAway" in one]
    assert {one["line"] for one in away} == {"HTTP/1.1 429 Too Many Requests"}
    assert f'openimds_throttled_total{{limit="general"}} {float(len(away))}' in text


def test_a_captured_vm_is_served_with_its_values(server: Serving, tmp_path: Path) -> None:
    held = capture(server.url, tmp_path)
    with serving("--document", "held.json", "--no-rate-limit", cwd=tmp_path) as replayed:
        code, out, said = compare(server.url, replayed.url, tmp_path, "--values")
        assert (code, out) == (0, "")
        assert said == f"{len(held['exchanges'])} requests compared: no difference\n"
        # A file knows what was asked, and the server is asked just that.
        code, out, said = compare("held.json", replayed.url, tmp_path, "--values")
        assert (code, out) == (0, "")
        assert said == f"{len(held['exchanges'])} requests compared: no difference\n"


def test_a_captured_vm_is_imported_with_its_load_balancer(server: Serving, tmp_path: Path) -> None:
    capture(server.url, tmp_path, "--versions", "newest")
    got = run("vm", "import", "held.json", "--dry-run", cwd=tmp_path)
    vm = json.loads(got.stdout)["vms"]["web-1"]
    assert (got.returncode, got.stderr) == (0, "")
    assert vm["compute"]["tags"] == {"team": "blue-whales"}
    assert vm["attested"] == {"sku": "another-sku"}
    (rule,) = vm["loadBalancer"]["inboundRules"]
    assert (rule["frontendPort"], rule["backendPort"]) == (80, 8080)


def test_a_redacted_capture_can_be_served_and_tells_nothing(
    server: Serving, tmp_path: Path
) -> None:
    capture(server.url, tmp_path, "--redact", "--extended", "--events")
    text = (tmp_path / "held.json").read_text()
    for secret in ("web-1", "blue-whales", "c2VjcmV0", "20.1.2.3", "MII"):
        assert secret not in text
    code, _, said = compare("held.json", server.url, tmp_path, "--events")
    assert code == 0, said
    with serving("--document", "held.json", "--no-rate-limit", cwd=tmp_path) as replayed:
        leaf = "/metadata/instance/compute/tags?api-version=2021-02-01&format=text"
        got = httpx2.get(f"{replayed.url}{leaf}", headers={"Metadata": "true"})
        assert got.text == "tag-1:value-1"
        code, out, said = compare("held.json", replayed.url, tmp_path, "--events")
        assert (code, out) == (0, ""), said
        _, said = replayed.stop()
    assert "held.json: its ids, names, keys and addresses are placeholders" in said


def test_a_server_is_like_itself(server: Serving, tmp_path: Path) -> None:
    options = ("--extended", "--events", "--values")
    code, out, said = compare(server.url, server.url, tmp_path, *options)
    assert (code, out) == (0, "")
    assert re.fullmatch(r"\d{3} requests compared: no difference\n", said)


def test_a_region_that_lags_differs_in_its_versions(server: Serving, tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text(FLEET)
    older = ("--fleet", "fleet.yaml", "--newest-version", "2025-07-24", "--no-rate-limit")
    with serving(*older, cwd=tmp_path) as lagging:
        code, out, _ = compare(server.url, lagging.url, tmp_path, "--json")
        found = json.loads(out)["differences"]
        assert code == 1
        versions = [one for one in found if one["kind"] == "api-version"]
        newer = [row.name for row in GENERAL if row.name > "2025-07-24"]
        assert [(one["subject"], one["left"], one["right"]) for one in versions] == [
            (version, "there", "not there") for version in newer
        ]
        assert versions[0]["about"]["name"] == "2025-11-11"
        assert versions[0]["about"]["evidence"]["mark"] == "client"
        (status,) = [
            one
            for one in found
            if one["kind"] == "status"
            and one["found"][0]["version"] == "2025-11-15"
            and one["found"][0]["question"] == "instance"
        ]
        assert status["left"] == "HTTP/1.1 200 OK"
        assert status["right"].startswith("HTTP/1.1 400 Bad Request {")
        # At a version that both know they are alike but for what names the newest.
        code, out, _ = compare(
            server.url, lagging.url, tmp_path, "--versions", "2021-02-01", "--json"
        )
        kinds = {one["kind"] for one in json.loads(out)["differences"]}
        assert (code, kinds) == (1, {"api-version", "body"})


def test_the_evidence_as_a_file_is_what_the_server_says(tmp_path: Path) -> None:
    golden = transcript()
    (tmp_path / "golden.json").write_text(json.dumps(golden))
    with serving("--document", str(HEAD), "--no-rate-limit", cwd=tmp_path) as served:
        code, out, said = compare("golden.json", served.url, tmp_path, "--values")
        assert (code, out) == (0, "")
        compared = int(said.split()[0])
        assert compared > 100
        alone = len(golden["exchanges"]) - compared
        assert said.endswith(f": no difference (not compared: {alone} of ONE alone)\n")
        for one in golden["exchanges"]:
            if one["question"] == "no-header":
                one["answer"]["body"] = one["answer"]["body"].replace("Bad", "bad")
        (tmp_path / "golden.json").write_text(json.dumps(golden))
        code, out, said = compare("golden.json", served.url, tmp_path)
        assert (code, said.split(": ")[1]) == (1, "1 difference (not compared")
        _, row = out.splitlines()
        assert row.startswith(
            "body\tGET /metadata/instance?api-version=2021-02-01 (no headers)\t\t"
        )
        assert row.endswith(f"\tRefusals: general, 400: {NO_HEADER}\tobserved")


class Odd(BaseHTTPRequestHandler):
    """A server that gets it wrong in ways of its own."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        version = parse_qs(asked.query).get("api-version", [""])[0]
        if asked.path == "/metadata/versions":
            return self.say({"apiVersions": ["2021-02-01"]})
        if asked.path == "/metadata/instance" and version == "2021-02-01":
            network = {"interface": [{"macAddress": 7, "speed": ""}]}
            return self.say({"network": network, "compute": {"osType": "", "name": ""}})
        return self.say({"error": "Not found"}, 404)

    def say(self, body: Any, status: int = 200) -> None:
        text = json.dumps(body).encode()
        self.send_response_only(status)
        self.send_header("date", self.date_time_string())
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        return


@contextmanager
def odd() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Odd)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_each_way_to_be_wrong_has_a_row_with_its_fact(server: Serving, tmp_path: Path) -> None:
    with odd() as url:
        code, out, _ = compare(
            server.url, url, tmp_path, "--versions", "2021-02-01", "--no-attested", "--json"
        )
    assert code == 1
    found = {
        (one["kind"], one["subject"]): one
        for one in json.loads(out)["differences"]
        if any(at["question"] == "instance" for at in one["found"])
    }
    expected = {
        ("header", "Content-Type"): ("application/json; charset=utf-8", "application/json"),
        ("header", "Server"): ("IMDS/150.870.65.1854", "not there"),
        ("header order", ""): (
            "Content-Type, Server, x-ms-request-id, Date, Content-Length",
            "date, Content-Type, Content-Length",
        ),
        ("spacing", ""): ("compact", "blanks between the tokens"),
        ("member order", ""): ("compute, network", "network, compute"),
        ("member order", "compute"): ("name, osType", "osType, name"),
        ("type", "network.interface[].macAddress"): ("string", "number"),
        ("field", "network.interface[].speed"): ("not there", "string"),
        ("field", "network.interface[].ipv4"): ("object", "not there"),
        ("field", "compute.vmId"): ("string", "not there"),
    }
    assert {key: (found[key]["left"], found[key]["right"]) for key in expected} == expected
    facts = {key: one["about"] and one["about"]["name"] for key, one in found.items()}
    assert facts["type", "network.interface[].macAddress"] == (
        "network.interface[].macAddress, since 2017-03-01"
    )
    assert facts["field", "network.interface[].speed"] is None
    assert facts["header order", ""].startswith("general: Content-Type, Server")


def test_an_issue_gets_a_table(server: Serving, tmp_path: Path) -> None:
    with odd() as url:
        _, out, said = compare(
            server.url, url, tmp_path, "--versions", "2021-02-01", "--no-attested", "--markdown"
        )
    head, rule, *rows = out.splitlines()
    assert head == "| WHAT | WHERE | SUBJECT | ONE | OTHER | FACT | EVIDENCE |"
    assert rule == "| --- | --- | --- | --- | --- | --- | --- |"
    assert len(rows) == int(said.split(": ")[1].split()[0]) > 50
    assert all(row.count(" | ") == 6 for row in rows)


def test_at_the_real_address_no_url_is_needed(tmp_path: Path) -> None:
    if reason := why_not():
        pytest.skip(reason)
    script = """
    ip link set lo up
    ip address add 169.254.169.254/32 dev lo
    "$PYTHON" -m openimds serve --listen 169.254.169.254:80 --no-rate-limit > ready &
    server=$!
    until [ -s ready ]; do kill -0 $server || exit 1; done
    "$PYTHON" -m openimds capture --output held.json --versions newest --per-s 5000
    "$PYTHON" -m openimds compare held.json http://169.254.169.254 --per-s 5000
    kill $server
    """
    got = subprocess.run(
        [*PRIVATE, "sh", "-ec", script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
        check=False,
        env=clean_environment({"PYTHON": sys.executable}),
    )
    assert got.returncode == 0, got.stderr
    held = json.loads((tmp_path / "held.json").read_bytes())
    assert held["url"] == "http://169.254.169.254"
    assert got.stderr.endswith(f"{len(held['exchanges'])} requests compared: no difference\n")
