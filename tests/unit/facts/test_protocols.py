"""The other token protocols: every dialect is complete, every route leads to one."""

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
each_route = pytest.mark.parametrize("row", TOKEN_ROUTES.values(), ids=lambda row: row.key)
REFUSALS_OF_A_DIALECT = (
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


def test_dialects_are_unique() -> None:
    counted = Counter((row.endpoint, row.version) for row in DIALECTS)
    assert [pair for pair, n in counted.items() if n > 1] == []


@each
def test_dialect_belongs_to_an_endpoint_with_own_versions(row: Dialect) -> None:
    assert BY_KEY[row.endpoint].versions == ("own" if row.version else "")


@each
def test_selector_is_a_parameter_with_a_name_at_imds(row: Dialect) -> None:
    names = {parameter.name for parameter in BY_KEY[row.endpoint].parameters}
    assert {name for name, _ in row.selectors} <= names
    assert {meaning for _, meaning in row.selectors} <= set(SELECTORS)


@each
@pytest.mark.parametrize("key", REFUSALS_OF_A_DIALECT)
def test_every_failure_of_a_dialect_has_a_refusal(row: Dialect, key: str) -> None:
    category = BY_KEY[row.endpoint].category
    assert refusal_row(key, category).category in {category, ""}


@each
def test_wrong_secret_and_unread_challenge_have_refusals(row: Dialect) -> None:
    keys = {
        refusal.key for refusal in REFUSALS if refusal.category == BY_KEY[row.endpoint].category
    }
    assert ("secret_wrong" in keys) == (row.guard is not Guard.METADATA)
    assert ("challenge" in keys) == row.is_challenged


@each
def test_fallback_to_the_only_identity_refuses_two(row: Dialect) -> None:
    if row.falls_back:
        assert refusal_row("identity_ambiguous", BY_KEY[row.endpoint].category).status == 400


@each_route
def test_route_leads_to_an_endpoint_with_its_setting(row: TokenRoute) -> None:
    values = [value.removeprefix("{url}") for _, value in row.variables if "{url}/" in value]
    for value in values:
        settings = {one.setting for one in ENDPOINTS if f"{one.path}/".startswith(f"{value}/")}
        assert settings == {row.setting}
    assert bool(values) == (row.key != IMDS)


@each_route
def test_route_has_a_secret_where_its_dialect_needs_one(row: TokenRoute) -> None:
    variables = {
        Guard.IDENTITY: "IDENTITY_HEADER",
        Guard.SECRET: "MSI_SECRET",
    }
    named = {name for name, value in row.variables if value == "{secret}"}
    assert row.has_secret == bool(named)
    assert named <= set(variables.values())


@pytest.mark.parametrize("name", sorted({row.setting for row in ENDPOINTS if row.setting}))
def test_optional_endpoint_names_a_setting(name: str) -> None:
    assert not setting(name).default


def test_setting_of_arc_names_the_folder_of_libraries() -> None:
    assert ARC_FOLDER in setting("arc_folder").help


def test_every_cloud_has_an_mtls_entry() -> None:
    assert MTLS.keys() == CLOUDS.keys()
