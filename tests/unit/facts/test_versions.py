"""The api-versions, and the catalog of a region."""

from datetime import date
from itertools import pairwise

import pytest

from openimds.facts.versions import GENERAL, NEWEST, SCHEDULED_EVENTS, ApiVersion, catalog
from tests.golden.additions import VERSIONS as GOLDEN_VERSIONS

NAMES = [row.name for row in GENERAL]


def test_general_versions_are_those_of_the_golden_tables() -> None:
    assert NAMES == GOLDEN_VERSIONS


@pytest.mark.parametrize("rows", [GENERAL, SCHEDULED_EVENTS], ids=["general", "events"])
def test_versions_ascend(rows: tuple[ApiVersion, ...]) -> None:
    assert all(earlier.name < later.name for earlier, later in pairwise(rows))


@pytest.mark.parametrize("row", [*GENERAL, *SCHEDULED_EVENTS], ids=lambda row: row.name)
def test_version_is_a_date_so_that_its_text_sorts(row: ApiVersion) -> None:
    assert date.fromisoformat(row.name).isoformat() == row.name


def test_scheduled_events_has_versions_of_its_own() -> None:
    alone = {row.name for row in SCHEDULED_EVENTS} - set(NAMES)
    assert alone >= {"2017-11-01", "2019-01-01", "2019-04-01", "2020-07-01", "2024-07-09"}


def test_catalog_of_the_newest_region_has_all_versions() -> None:
    assert NAMES[-1] == NEWEST
    assert catalog().general == tuple(NAMES)
    assert catalog() == catalog(NEWEST)


@pytest.mark.parametrize("newest", NAMES)
def test_catalog_ends_at_its_newest(newest: str) -> None:
    region = catalog(newest)
    assert region.general == tuple(name for name in NAMES if name <= newest)
    assert region.known == set(region.general)


@pytest.mark.parametrize(
    "newest,expected",
    [
        ("2025-04-07", ("2025-04-07", "2024-07-17", "2024-03-15")),  # Recorded 2025-07-29 (S30).
        ("2020-10-01", ("2020-10-01", "2020-09-01", "2020-07-15")),  # In the document (S1).
        ("2017-08-01", ("2017-08-01", "2017-04-02", "2017-03-01")),
        ("2017-04-02", ("2017-04-02", "2017-03-01")),
        ("2017-03-01", ("2017-03-01",)),
    ],
)
def test_newest_three_come_newest_first(newest: str, expected: tuple[str, ...]) -> None:
    assert catalog(newest).newest_first == expected


@pytest.mark.parametrize("name", ["", "latest", "2019-07-15", "2020-07-01", "2025-11-16"])
def test_region_cannot_end_at_an_unlisted_version(name: str) -> None:
    with pytest.raises(KeyError, match=f"'{name}'"):
        catalog(name)
