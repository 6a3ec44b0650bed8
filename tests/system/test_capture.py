"""Capture, replay and compare, with the real server on loopback."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from openimds.facts.versions import GENERAL
from tests.golden.transcript import transcript
from tests.system.machine import PRIVATE, why_unavailable
from tests.system.process import COMMAND, Server, clean_environment, run, serving

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
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("captured")
    (folder / "fleet.yaml").write_text(FLEET)
    with serving("--fleet", "fleet.yaml", "--no-rate-limit", cwd=folder) as started:
        yield started


def counted(server: Server) -> dict[str, int]:
    """Return the number of requests by endpoint."""
    requests: dict[str, int] = {}
    for endpoint, count in COUNTED.findall(httpx2.get(f"{server.ready['admin']}/metrics").text):
        requests[endpoint] = requests.get(endpoint, 0) + int(float(count))
    return requests


def capture(url: str, cwd: Path, *arguments: str, file: str = "captured.json") -> Any:
    """Capture a server and return the capture."""
    got = run("capture", "--url", url, "--output", file, *FAST, *arguments, cwd=cwd)
    assert (got.returncode, got.stdout) == (0, ""), got.stderr
    return json.loads((cwd / file).read_bytes())


def compare(first: str, second: str, cwd: Path, *arguments: str) -> tuple[int, str, str]:
    got = run("compare", first, second, *FAST, *arguments, cwd=cwd)
    return got.returncode, got.stdout, got.stderr


def test_capture_requests_every_document_and_no_token(server: Server, tmp_path: Path) -> None:
    before = counted(server)
    captured = capture(server.url, tmp_path, "--extended", "--events")
    moved = {key: count - before.get(key, 0) for key, count in counted(server).items()}
    exchanges = captured["exchanges"]
    assert sum(moved.values()) == len(exchanges) > 280
    assert not {"token", "identity_info"} & {key for key, count in moved.items() if count}
    assert [row for row in exchanges if "answer" not in row] == []
    assert (tmp_path / "captured.json").stat().st_mode & 0o777 == 0o600
    (document,) = [
        row for row in exchanges if (row["question"], row["version"]) == ("instance", "2021-02-01")
    ]
    with httpx2.Client(headers={"Metadata": "true"}) as guest:
        answer = guest.get(f"{server.url}{document['request']['target']}")
    assert document["answer"]["body"] == answer.text
    names = [line.partition(":")[0] for line in document["answer"]["headers"]]
    assert names == ["Content-Type", "Server", "x-ms-request-id", "Date", "Content-Length"]


def test_capture_by_default_switches_no_feature_on(server: Server, tmp_path: Path) -> None:
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


def test_capture_retries_throttled_requests(tmp_path: Path) -> None:
    limit = ("--general-per-s", "150")
    with serving(*limit, cwd=tmp_path) as limited:
        captured = capture(limited.url, tmp_path)
        text = httpx2.get(f"{limited.ready['admin']}/metrics").text
    statuses = {row["answer"]["line"].split()[1] for row in captured["exchanges"]}
    assert "429" not in statuses
    throttled = [row["turnedAway"] for row in captured["exchanges"] if "turnedAway" in row]
    assert {row["line"] for row in throttled} == {"HTTP/1.1 429  "}
    assert f'openimds_throttled_total{{limit="general"}} {float(len(throttled))}' in text


def test_a_captured_vm_is_served_with_its_values(server: Server, tmp_path: Path) -> None:
    captured = capture(server.url, tmp_path)
    count = len(captured["exchanges"])
    with serving("--document", "captured.json", "--no-rate-limit", cwd=tmp_path) as replayed:
        # The requests of a file are repeated at the server, and no others.
        for source in (server.url, "captured.json"):
            code, out, err = compare(source, replayed.url, tmp_path, "--values")
            assert (code, out) == (0, "")
            assert err == f"{count} requests compared: no difference\n"


def test_a_captured_vm_is_imported_with_its_load_balancer(server: Server, tmp_path: Path) -> None:
    capture(server.url, tmp_path, "--versions", "newest")
    got = run("vm", "import", "captured.json", "--dry-run", cwd=tmp_path)
    vm = json.loads(got.stdout)["vms"]["web-1"]
    assert (got.returncode, got.stderr) == (0, "")
    assert vm["compute"]["tags"] == {"team": "blue-whales"}
    assert vm["attested"] == {"sku": "another-sku"}
    (rule,) = vm["loadBalancer"]["inboundRules"]
    assert (rule["frontendPort"], rule["backendPort"]) == (80, 8080)


def test_a_redacted_capture_is_served_without_secrets(server: Server, tmp_path: Path) -> None:
    capture(server.url, tmp_path, "--redact", "--extended", "--events")
    text = (tmp_path / "captured.json").read_text()
    for secret in ("web-1", "blue-whales", "c2VjcmV0", "20.1.2.3", "MII"):
        assert secret not in text
    code, _, err = compare("captured.json", server.url, tmp_path, "--events")
    assert code == 0, err
    with serving("--document", "captured.json", "--no-rate-limit", cwd=tmp_path) as replayed:
        leaf = "/metadata/instance/compute/tags?api-version=2021-02-01&format=text"
        got = httpx2.get(f"{replayed.url}{leaf}", headers={"Metadata": "true"})
        assert got.text == "tag-1:value-1"
        code, out, err = compare("captured.json", replayed.url, tmp_path, "--events")
        assert (code, out) == (0, ""), err
        _, err = replayed.stop()
    assert "captured.json: its ids, names, keys and addresses are placeholders" in err


def test_a_server_does_not_differ_from_itself(server: Server, tmp_path: Path) -> None:
    options = ("--extended", "--events", "--values")
    code, out, err = compare(server.url, server.url, tmp_path, *options)
    assert (code, out) == (0, "")
    assert re.fullmatch(r"\d{3} requests compared: no difference\n", err)


def test_a_region_that_lags_differs_in_its_versions(server: Server, tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text(FLEET)
    older = ("--fleet", "fleet.yaml", "--newest-version", "2025-07-24", "--no-rate-limit")
    with serving(*older, cwd=tmp_path) as lagging:
        code, out, _ = compare(server.url, lagging.url, tmp_path, "--json")
        differences = json.loads(out)["differences"]
        assert code == 1
        versions = [row for row in differences if row["kind"] == "api-version"]
        newer = [row.name for row in GENERAL if row.name > "2025-07-24"]
        assert [(row["subject"], row["left"], row["right"]) for row in versions] == [
            (version, "there", "not there") for version in newer
        ]
        assert versions[0]["about"]["name"] == "2025-11-11"
        assert versions[0]["about"]["evidence"]["mark"] == "observed"
        (status,) = [
            row
            for row in differences
            if row["kind"] == "status"
            and row["found"][0]["version"] == "2025-11-15"
            and row["found"][0]["question"] == "instance"
        ]
        assert status["left"] == "HTTP/1.1 200 OK"
        assert status["right"].startswith("HTTP/1.1 400 Bad Request {")
        # At a version that both have, only the list of versions differs.
        code, out, _ = compare(
            server.url, lagging.url, tmp_path, "--versions", "2021-02-01", "--json"
        )
        kinds = {row["kind"] for row in json.loads(out)["differences"]}
        assert (code, kinds) == (1, {"api-version", "body"})


def test_the_golden_transcript_does_not_differ_from_the_server(tmp_path: Path) -> None:
    golden = transcript()
    (tmp_path / "golden.json").write_text(json.dumps(golden))
    with serving("--document", str(HEAD), "--no-rate-limit", cwd=tmp_path) as served:
        code, out, err = compare("golden.json", served.url, tmp_path, "--values")
        assert (code, out) == (0, "")
        compared = int(err.split()[0])
        assert compared > 100
        alone = len(golden["exchanges"]) - compared
        assert err.endswith(f": no difference (not compared: {alone} of ONE alone)\n")
        for row in golden["exchanges"]:
            if row["question"] == "no-header":
                row["answer"]["body"] = row["answer"]["body"].replace("Bad", "bad")
        (tmp_path / "golden.json").write_text(json.dumps(golden))
        code, out, err = compare("golden.json", served.url, tmp_path)
        assert (code, err.split(": ")[1]) == (1, "1 difference (not compared")
        _, line = out.splitlines()
        assert line.startswith(
            "body\tGET /metadata/instance?api-version=2021-02-01 (no headers)\t\t"
        )
        assert line.endswith(f"\tRefusals: general, 400: {NO_HEADER}\tobserved")


class OddHandler(BaseHTTPRequestHandler):
    """An IMDS whose responses are wrong in ways that no Azure has."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        target = urlsplit(self.path)
        version = parse_qs(target.query).get("api-version", [""])[0]
        if target.path == "/metadata/versions":
            return self.reply({"apiVersions": ["2021-02-01"]})
        if target.path == "/metadata/instance" and version == "2021-02-01":
            network = {"interface": [{"macAddress": 7, "speed": ""}]}
            return self.reply({"network": network, "compute": {"osType": "", "name": ""}})
        return self.reply({"error": "Not found"}, 404)

    def reply(self, body: Any, status: int = 200) -> None:
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
def odd_server(handler: type[BaseHTTPRequestHandler] = OddHandler) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_each_difference_has_a_row_with_its_fact(server: Server, tmp_path: Path) -> None:
    with odd_server() as url:
        code, out, _ = compare(
            server.url, url, tmp_path, "--versions", "2021-02-01", "--no-attested", "--json"
        )
    assert code == 1
    rows = {
        (row["kind"], row["subject"]): row
        for row in json.loads(out)["differences"]
        if any(at["question"] == "instance" for at in row["found"])
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
    assert {key: (rows[key]["left"], rows[key]["right"]) for key in expected} == expected
    facts = {key: row["about"] and row["about"]["name"] for key, row in rows.items()}
    assert facts["type", "network.interface[].macAddress"] == (
        "network.interface[].macAddress, since 2017-03-01"
    )
    assert facts["field", "network.interface[].speed"] is None
    assert facts["header order", ""].startswith("general: Content-Type, Server")


def test_markdown_is_a_table_for_an_issue(server: Server, tmp_path: Path) -> None:
    with odd_server() as url:
        _, out, err = compare(
            server.url, url, tmp_path, "--versions", "2021-02-01", "--no-attested", "--markdown"
        )
    head, rule, *rows = out.splitlines()
    assert head == "| WHAT | WHERE | SUBJECT | ONE | OTHER | FACT | EVIDENCE |"
    assert rule == "| --- | --- | --- | --- | --- | --- | --- |"
    assert len(rows) == int(err.split(": ")[1].split()[0]) > 50
    assert all(row.count(" | ") == 6 for row in rows)


def test_capture_without_a_url_uses_the_real_address(tmp_path: Path) -> None:
    if reason := why_unavailable(prefix=PRIVATE):
        pytest.skip(reason)
    script = """
    ip link set lo up
    ip address add 169.254.169.254/32 dev lo
    "$PYTHON" -m openimds serve --listen 169.254.169.254:80 --no-rate-limit > ready 2> log &
    server=$!
    until [ -s ready ]; do kill -0 $server || exit 1; done
    "$PYTHON" -m openimds capture --output captured.json --versions newest --per-s 5000
    "$PYTHON" -m openimds compare captured.json http://169.254.169.254 --per-s 5000
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
    captured = json.loads((tmp_path / "captured.json").read_bytes())
    assert captured["url"] == "http://169.254.169.254"
    assert got.stderr.endswith(f"{len(captured['exchanges'])} requests compared: no difference\n")


@pytest.mark.parametrize("interrupts, code", [(1, 130), (2, 1)])
def test_interrupt_keeps_the_answers_until_then(tmp_path: Path, interrupts: int, code: int) -> None:
    processes = Queue[subprocess.Popen[str]]()
    targets = []

    class Interrupting(OddHandler):
        """Interrupts the client at its sixth request, before it has the answer."""

        def do_GET(self) -> None:
            targets.append(self.path)
            if len(targets) == 6:
                process = processes.get(timeout=60)
                assert process.stderr
                process.send_signal(signal.SIGINT)
                assert "Ctrl-C again drops all answers" in process.stderr.readline()
                if interrupts > 1:
                    process.send_signal(signal.SIGINT)
                    process.wait(timeout=60)
            super().do_GET()

    with odd_server(Interrupting) as url:
        process = subprocess.Popen(
            [*COMMAND, "capture", "--url", url, "--output", "part.json", *FAST],
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=clean_environment({}),
        )
        processes.put(process)
        # The handler reads its line; two readers at once would share out the lines by chance.
        process.wait(timeout=60)
    assert process.stderr
    err = process.stderr.read()
    process.stderr.close()
    assert process.returncode == code, err
    file = tmp_path / "part.json"
    assert file.exists() == (interrupts == 1)
    assert len(targets) == 6
    if interrupts == 1:
        captured = json.loads(file.read_bytes())
        assert [row["request"]["target"] for row in captured["exchanges"]] == targets
        assert all("answer" in row for row in captured["exchanges"])
        assert re.search(r"left out: \d+ questions after Ctrl-C", err)
