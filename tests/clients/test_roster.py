"""The rows of clients, the README's table, and the table of `make clients`."""

import pytest

from tests.clients.kits import KITS
from tests.clients.roster import CLIENTS, KNOWN, README, Client, readme
from tests.clients.tally import FAILED, NOT_RUN, PASSED, Tally

ONE, OTHER = CLIENTS[0], CLIENTS[1]


def ended(
    outcome: str, *clients: Client, when: str = "call", reason: str = "", version: str = ""
) -> pytest.TestReport:
    """Return the report of a step of a test of these clients."""
    properties = [("client", client.key) for client in clients]
    return pytest.TestReport(
        nodeid="a test",
        location=("", 0, ""),
        keywords={},
        outcome=outcome,  # type: ignore[arg-type]
        longrepr=("", 0, f"Skipped: {reason}") if reason else None,
        when=when,  # type: ignore[arg-type]
        duration=0.25,
        user_properties=[*properties, *([("version", version)] if version else [])],
    )


def tallied(*reports: pytest.TestReport) -> Tally:
    tally = Tally()
    for report in reports:
        tally.pytest_runtest_logreport(report)
    return tally


def test_readme_follows_from_the_rows() -> None:
    assert README.read_text() == readme()


def test_every_client_has_one_row_and_a_known_kit() -> None:
    assert len(KNOWN) == len(CLIENTS)
    assert {client.kit for client in CLIENTS} == {"", *KITS}


def test_client_passes_when_its_tests_do() -> None:
    tally = tallied(
        ended("passed", ONE, when="setup"), ended("passed", ONE), ended("passed", ONE, OTHER)
    )
    assert tally.result(ONE) == (PASSED, ONE.proves)
    assert tally.result(OTHER) == (PASSED, OTHER.proves)
    assert tally.table().splitlines()[1].split()[3:6] == ["2", "0.8", "passed"]


@pytest.mark.parametrize("when", ["setup", "call", "teardown"])
def test_one_failure_fails_the_client(when: str) -> None:
    tally = tallied(ended("passed", ONE), ended("failed", ONE, when=when), ended("passed", OTHER))
    assert tally.result(ONE) == (FAILED, "1 of 2 tests")
    assert tally.result(OTHER)[0] == PASSED


def test_client_with_skipped_tests_is_not_run() -> None:
    tally = tallied(ended("skipped", ONE, when="setup", reason=f"{ONE.key}: go not installed"))
    assert tally.result(ONE) == (NOT_RUN, "go not installed")
    assert tally.result(OTHER) == (NOT_RUN, "no test of it was chosen")
    assert tally.untested() == [client.key for client in CLIENTS if client is not ONE]


def test_skipped_tests_of_a_passed_client_are_named() -> None:
    tally = tallied(ended("passed", ONE), ended("skipped", ONE, when="setup", reason="no jq"))
    assert tally.result(ONE) == (PASSED, f"{ONE.proves} (but 1 tests: no jq)")


def test_version_of_a_test_is_shown() -> None:
    assert tallied(ended("passed", ONE, version="7.88.1")).table().splitlines()[1].split()[1] == (
        "7.88.1"
    )
