"""The rows of client libraries fit together, and name the versions that the tests run."""

import re

import pytest

from openimds.facts.clients import CHAIN_PINS, CLIENT_FAULTS, LIBRARIES, VERIFIERS, ClientLibrary
from tests.clients.pins import crate, go, maven, npm, pypi

DEV = "requirements-dev.lock"
NEWEST = {
    "python": pypi("azure-identity", DEV),
    "msal": pypi("msal", DEV),
    "javascript": npm("@azure/identity"),
    "msal-node": npm("@azure/msal-node"),
    "java": maven("azure-identity"),
    "go": go("github.com/Azure/azure-sdk-for-go/sdk/azidentity"),
    "rust": crate("azure_identity"),
}
VERSION = re.compile(r"\d+(\.\d+)+")


def test_newest_versions_are_those_that_the_tests_run() -> None:
    assert {key: row.newest for key, row in LIBRARIES.items() if row.is_run} == NEWEST


@pytest.mark.parametrize("row", LIBRARIES.values(), ids=LIBRARIES)
def test_library_names_its_versions_and_tries(row: ClientLibrary) -> None:
    assert VERSION.fullmatch(row.newest)
    for text in (row.variable, row.app_service):
        assert not text or VERSION.match(text)
    statuses = [status for tries in row.tries for status in tries.statuses]
    assert sorted(statuses) == ([404, 410, 429, 500] if row.is_run else [])
    assert row.is_run or row.evidence.note


def test_pins_and_faults_belong_to_a_library() -> None:
    pinned = [row.library for row in CHAIN_PINS]
    assert len(pinned) == len({*pinned})
    assert {*pinned, *(row.library for row in CLIENT_FAULTS)} <= LIBRARIES.keys()


def test_refused_pins_have_an_error_and_were_run() -> None:
    for row in CHAIN_PINS:
        assert bool(row.refused) == bool(row.error)
        if LIBRARIES[row.library].is_run:
            seen = set(row.seen.split())
            assert row.known in seen
            assert seen & set(VERSION_IN.findall(row.refused))


def test_row_of_node_forge_names_the_run_versions() -> None:
    (row,) = [row for row in VERIFIERS if "node-forge" in row.name]
    assert VERSION_IN.findall(row.name) == ["1.3.1", npm("node-forge")]
    assert npm("node-forge-1.3.1") == "npm:node-forge@1.3.1"


VERSION_IN = re.compile(r"\d+\.\d+\.\d+")
