"""References between endpoints, categories, limits and headers."""

from collections import Counter

import pytest

from openimds.facts.endpoints import (
    CATEGORIES,
    CREDENTIAL_VERSIONS,
    ENDPOINTS,
    REQUEST_CHECKS,
    Category,
    Endpoint,
)
from openimds.facts.headers import BARE, HEADER_ORDERS, INTERPOSED, SERVER, HeaderOrder
from openimds.facts.limits import LIMITS, Limit
from openimds.facts.protocols import DIALECTS
from openimds.facts.refusals import refusal_row
from openimds.facts.versions import GENERAL, SCHEDULED_EVENTS
from openimds.protocol.handle import HANDLERS

VERSION_LISTS = {
    "": {""},
    "general": {row.name for row in GENERAL},
    "events": {row.name for row in SCHEDULED_EVENTS},
    "own": {row.version for row in DIALECTS},
    "credential": {*CREDENTIAL_VERSIONS},
}
each_endpoint = pytest.mark.parametrize("row", ENDPOINTS, ids=lambda row: row.key)
each_category = pytest.mark.parametrize("row", CATEGORIES, ids=lambda row: row.key)


@pytest.mark.parametrize(
    "names",
    [
        [row.key for row in ENDPOINTS],
        [row.path for row in ENDPOINTS],
        [row.key for row in CATEGORIES],
        [row.prefix for row in CATEGORIES],
        list(REQUEST_CHECKS),
    ],
    ids=["endpoint keys", "endpoint paths", "category keys", "category prefixes", "checks"],
)
def test_names_are_unique(names: list[str]) -> None:
    assert [name for name, n in Counter(names).items() if n > 1] == []


def test_every_handler_name_is_bound_and_every_handler_named() -> None:
    assert {row.handler for row in ENDPOINTS} == HANDLERS.keys()


@each_endpoint
def test_path_is_in_lower_case_without_trailing_slash(row: Endpoint) -> None:
    assert row.path == row.path.lower().rstrip("/")
    assert row.path.startswith("/")


@each_endpoint
def test_endpoint_lies_in_its_category(row: Endpoint) -> None:
    prefixes = {category.key: category.prefix for category in CATEGORIES}
    longest = max(filter(row.path.startswith, prefixes.values()), key=len)
    assert prefixes[row.category] == longest


@each_endpoint
def test_endpoint_starts_with_a_version_of_its_list(row: Endpoint) -> None:
    assert row.since in VERSION_LISTS[row.versions]


@each_endpoint
def test_refusals_named_by_an_endpoint_have_rows(row: Endpoint) -> None:
    for key in [parameter.missing for parameter in row.parameters if parameter.missing]:
        assert refusal_row(key, row.category).key == key


@each_endpoint
def test_parameter_names_are_unique_in_lower_case(row: Endpoint) -> None:
    names = [parameter.name for parameter in row.parameters]
    assert sorted({name.lower() for name in names}) == sorted(names)


@each_endpoint
def test_endpoint_with_formats_takes_the_parameter(row: Endpoint) -> None:
    takes = "format" in {parameter.name for parameter in row.parameters}
    # Clients send format=json to the load balancer, without effect (S16).
    assert takes == (row.has_formats or row.key == "loadbalancer")


@each_endpoint
def test_first_verb_of_an_endpoint_reads_if_any_does(row: Endpoint) -> None:
    writes = row.key in {"credential", "issue_credential", "quote"}
    assert row.verbs[0] == ("POST" if writes else "GET")
    assert len(set(row.verbs)) == len(row.verbs)


@each_category
def test_category_names_a_limit_and_a_header_order(row: Category) -> None:
    assert row.limit in LIMITS
    assert row.headers in HEADER_ORDERS


def test_categories_are_sorted_by_prefix_length_down_to_root() -> None:
    prefixes = [row.prefix for row in CATEGORIES]
    assert prefixes[-1] == "/"
    for i, prefix in enumerate(prefixes):
        assert [later for later in prefixes[i + 1 :] if later.startswith(prefix)] == []


@pytest.mark.parametrize("key,row", LIMITS.items())
def test_limit_admits_requests(key: str, row: Limit) -> None:
    assert key == row.key
    assert row.per_s > 0
    assert row.concurrent >= 0


@pytest.mark.parametrize("family,row", HEADER_ORDERS.items())
def test_header_order_has_the_required_headers(family: str, row: HeaderOrder) -> None:
    assert family == row.family
    # A server between the client and IMDS brings its own Server, or none.
    server = set() if family == INTERPOSED else {"Server"}
    assert {"Date"} | server <= set(row.names)
    assert {"Content-Length", "Transfer-Encoding"} & set(row.names)
    assert "Content-Type" in row.names or family == BARE
    assert len(set(row.names)) == len(row.names)


def test_server_header_names_imds() -> None:
    assert "IMDS" in SERVER
