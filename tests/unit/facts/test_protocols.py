"""The other ways to a token: every dialect can be spoken to its end, every way leads to one."""

from collections import Counter

import pytest

from openimds.facts.clouds import CLOUDS
from openimds.facts.endpoints import ENDPOINTS
from openimds.facts.protocols import (
    ARC_FOLDER,
    DIALECTS,
    IMDS,
    MTLS,
    TOKEN_ROUTES,
    Dialect,
    Guard,
    TokenRoute,
)
from openimds.facts.refusals import REFUSALS, refusal_row
from openimds.protocol.access_token import SELECTORS
from openimds.settings import setting

BY_KEY = {row.key: row for row in ENDPOINTS}
each = pytest.mark.parametrize("row", DIALECTS, ids=lambda row: f"{row.endpoint}-{row.version}")
each_way = pytest.mark.parametrize("row", TOKEN_ROUTES.values(), ids=lambda row: row.key)
SAID_ON_THE_WAY = (
    "header_missing",
    "forwarded",
    "duplicate_parameter",
    "resource_missing",
    "identity_not_found",
    "selectors_exclude",
    "resource_unknown",
    "entra_refused",
    "throttled",
    "server_error",
    "verb_not_allowed",
    "version_missing",
    "version_unknown",
)


def test_a_dialect_stands_once() -> None:
    counted = Counter((row.endpoint, row.version) for row in DIALECTS)
    assert [pair for pair, n in counted.items() if n > 1] == []


@each
def test_a_dialect_is_spoken_at_an_endpoint_with_versions_of_its_own(row: Dialect) -> None:
    assert BY_KEY[row.endpoint].versions == ("own" if row.version else "")


@each
def test_a_selector_is_a_parameter_that_imds_has_a_name_for(row: Dialect) -> None:
    names = {one.name for one in BY_KEY[row.endpoint].parameters}
    assert {name for name, _ in row.selectors} <= names
    assert {meaning for _, meaning in row.selectors} <= set(SELECTORS)


@each
@pytest.mark.parametrize("key", SAID_ON_THE_WAY)
def test_whatever_can_go_wrong_has_words(row: Dialect, key: str) -> None:
    category = BY_KEY[row.endpoint].category
    assert refusal_row(key, category).category in {category, ""}


@each
def test_a_secret_that_is_wrong_and_a_file_that_was_not_read_have_words(row: Dialect) -> None:
    keys = {one.key for one in REFUSALS if one.category == BY_KEY[row.endpoint].category}
    assert ("secret_wrong" in keys) == (row.guard is not Guard.METADATA)
    assert ("challenge" in keys) == row.is_challenged


@each
def test_where_the_only_identity_serves_two_are_ambiguous(row: Dialect) -> None:
    if row.falls_back:
        assert refusal_row("identity_ambiguous", BY_KEY[row.endpoint].category).status == 400


@each_way
def test_a_way_leads_to_an_endpoint_that_has_the_same_setting(row: TokenRoute) -> None:
    paths = {one.path: one for one in ENDPOINTS}
    values = [value.removeprefix("{url}") for _, value in row.variables if "{url}/" in value]
    assert [paths[path].setting for path in values] == ([] if row.key == IMDS else [row.setting])


@each_way
def test_a_way_has_a_secret_where_a_dialect_asks_for_one(row: TokenRoute) -> None:
    wants = {
        Guard.IDENTITY: "IDENTITY_HEADER",
        Guard.SECRET: "MSI_SECRET",
    }
    named = {name for name, value in row.variables if value == "{secret}"}
    assert row.has_secret == bool(named)
    assert named <= set(wants.values())


@pytest.mark.parametrize("name", sorted({row.setting for row in ENDPOINTS if row.setting}))
def test_an_endpoint_that_is_not_always_there_names_a_setting(name: str) -> None:
    assert not setting(name).default


def test_the_setting_says_where_libraries_look() -> None:
    assert ARC_FOLDER in setting("arc_folder").help


def test_every_cloud_says_where_a_certificate_buys_a_token() -> None:
    assert MTLS.keys() == CLOUDS.keys()
