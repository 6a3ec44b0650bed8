"""Each row of docs/use/failures.md, played for azure-identity and msal."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from openimds.protocol.faults.input import read_fault
from tests.clients.fault_table import (
    ANSWERS,
    ARC,
    BLACKHOLE,
    STATUSES,
    Outcome,
    Row,
    outcome_of,
    tables,
)
from tests.clients.playbook_server import PlaybookServer, stopped_clock
from tests.clients.private_server import REAL, PrivateServer

PAGE = Path(__file__).parents[2] / "docs/use/failures.md"
AZURE = pytest.mark.client("Python azure-identity")
MSAL = pytest.mark.client("Python msal")
both = pytest.mark.parametrize(
    "client",
    [pytest.param("azure-identity", marks=AZURE), pytest.param("msal", marks=MSAL)],
)

ARC_VARIABLES = {
    "IDENTITY_ENDPOINT": f"http://{REAL}/arc/metadata/identity/oauth2/token",
    "IMDS_ENDPOINT": f"http://{REAL}",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    folder = tmp_path_factory.mktemp("table")
    with stopped_clock(folder, "--arc-folder", str(folder / "tokens")) as serving:
        yield serving


def members(line: str) -> dict[str, Any]:
    """Return the fault of a line that `openimds fault set` takes."""
    effect, *words = line.split()
    fault: dict[str, Any] = {"effect": effect}
    for word in words:
        key, _, value = word.partition("=")
        is_whole = value.removeprefix("-").isdecimal() and key != "retry_after"
        fault[key] = int(value) if is_whole else value
        if key in {"drop", "set"}:
            fault[key] = [value]
    assert read_fault(fault)
    return fault


def played(
    server: PrivateServer, client: str, rows: Sequence[Row], **variables: str
) -> dict[str, Outcome]:
    """Return the outcome of each row for a client, by its line."""
    cases = [{"client": client, "fault": members(row.line), "env": variables} for row in rows]
    results, _ = PlaybookServer(server).run_all(*cases)
    return {row.line: outcome_of(result) for row, result in zip(rows, results, strict=True)}


def expected(client: str, rows: Sequence[Row]) -> dict[str, Outcome]:
    return {row.line: row.azure if client == "azure-identity" else row.msal for row in rows}


@pytest.mark.system
@pytest.mark.netns
@both
def test_status_is_retried_by_its_retry_after(server: PrivateServer, client: str) -> None:
    rows = [row for rows in STATUSES.values() for row in rows]
    assert played(server, client, rows) == expected(client, rows)


@pytest.mark.system
@pytest.mark.netns
@both
def test_spoiled_answer_is_a_token_or_an_error(server: PrivateServer, client: str) -> None:
    assert played(server, client, ANSWERS) == expected(client, ANSWERS)


@pytest.mark.system
@pytest.mark.netns
@both
def test_swallowed_connection_is_given_up(server: PrivateServer, client: str) -> None:
    # Without a time-out of its own, msal waits for the system's: here three seconds, usually 130.
    retries = "/proc/sys/net/ipv4/tcp_syn_retries"
    server.run_text(["sh", "-c", f"echo 1 > {retries}"], [])
    assert played(server, client, [BLACKHOLE]) == expected(client, [BLACKHOLE])


PROBED = {"requests token 400": 1, "refusals header_missing": 1}
GOOD = {"requests token 200": 1}


@pytest.mark.system
@pytest.mark.netns
@AZURE
@pytest.mark.parametrize(
    "line, outcome, moved",
    [
        # The probe has its 400, and the request after it meets the fault.
        ("status status=429 first=1", Outcome(requests=2), PROBED | GOOD),
        # The front answers the probe too, which takes any refusal for IMDS.
        ("status status=410 first=1", Outcome(requests=2), GOOD),
        ("status status=503 header=absent", Outcome(requests=1), GOOD),
        # Without any response there is no IMDS for the chain, after one request.
        ("reset header=absent", Outcome("ClientAuthenticationError"), {}),
    ],
)
def test_probe_of_a_chain_meets_the_faults_of_its_header(
    server: PrivateServer, line: str, outcome: Outcome, moved: dict[str, int]
) -> None:
    case = {"client": "azure-chain", "fault": members(line)}
    (result,), counters = PlaybookServer(server).run_all(case)
    assert outcome_of(result) == outcome
    counters = {name: number for name, number in counters.items() if name in PROBED | GOOD}
    assert counters == moved


@pytest.mark.system
@pytest.mark.netns
@both
def test_missing_challenge_is_an_error(server: PrivateServer, client: str) -> None:
    assert played(server, client, [ARC], **ARC_VARIABLES) == expected(client, [ARC])


def test_page_has_the_table_of_these_tests() -> None:
    page = PAGE.read_text("utf-8")
    for table in tables():
        assert table in page, f"docs/use/failures.md lacks this table:\n{table}"
