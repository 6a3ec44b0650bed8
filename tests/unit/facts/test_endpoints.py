"""Endpoints, categories, limits and headers name each other rightly."""

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
from openimds.facts.headers import HEADER_ORDERS, SERVER, HeaderOrder
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
    ids=["endpoint keys", "endpoint paths", "category keys", "category prefixes", "gates"],
)
def test_a_name_stands_once(names: list[str]) -> None:
    assert [name for name, n in Counter(names).items() if n > 1] == []


def test_every_handler_name_is_bound_and_every_handler_named() -> None:
    assert {row.handler for row in ENDPOINTS} == HANDLERS.keys()


@each_endpoint
def test_a_path_is_written_as_it_is_looked_up(row: Endpoint) -> None:
    assert row.path == row.path.lower().rstrip("/")
    assert row.path.startswith("/")


@each_endpoint
def test_an_endpoint_lies_in_its_category(row: Endpoint) -> None:
    prefixes = {one.key: one.prefix for one in CATEGORIES}
    longest = max((one.prefix for one in CATEGORIES if row.path.startswith(one.prefix)), key=len)
    assert prefixes[row.category] == longest


@each_endpoint
def test_an_endpoint_starts_with_a_version_of_its_list(row: Endpoint) -> None:
    assert row.since in VERSION_LISTS[row.versions]


@each_endpoint
def test_every_refusal_that_an_endpoint_names_is_a_row(row: Endpoint) -> None:
    for key in [one.missing for one in row.parameters if one.missing]:
        assert refusal_row(key, row.category).key == key


@each_endpoint
def test_a_parameter_stands_once_in_lower_case(row: Endpoint) -> None:
    names = [one.name for one in row.parameters]
    assert sorted({name.lower() for name in names}) == sorted(names)


@each_endpoint
def test_what_has_formats_takes_the_parameter(row: Endpoint) -> None:
    takes = "format" in {one.name for one in row.parameters}
    # Clients send format=json to the load balancer, and nothing comes of it (S16).
    assert takes == (row.has_formats or row.key == "loadbalancer")


@each_endpoint
def test_an_endpoint_can_be_read_unless_it_only_takes(row: Endpoint) -> None:
    assert row.verbs[0] == ("POST" if row.key == "issue_credential" else "GET")
    assert len(set(row.verbs)) == len(row.verbs)


@each_category
def test_a_category_names_a_limit_and_a_header_order(row: Category) -> None:
    assert row.limit in LIMITS
    assert row.headers in HEADER_ORDERS


def test_categories_stand_longest_prefix_first_and_the_last_takes_everything() -> None:
    prefixes = [row.prefix for row in CATEGORIES]
    assert prefixes[-1] == "/"
    for i, prefix in enumerate(prefixes):
        assert [one for one in prefixes[i + 1 :] if one.startswith(prefix)] == []


@pytest.mark.parametrize("key,row", LIMITS.items())
def test_a_limit_lets_something_through(key: str, row: Limit) -> None:
    assert key == row.key
    assert row.per_s > 0
    assert row.concurrent >= 0


@pytest.mark.parametrize("family,row", HEADER_ORDERS.items())
def test_a_header_order_has_what_every_answer_needs(family: str, row: HeaderOrder) -> None:
    assert family == row.family
    assert {"Content-Type", "Server", "Date", "Content-Length"} <= set(row.names)
    assert len(set(row.names)) == len(row.names)


def test_clients_find_the_word_that_they_look_for_in_server() -> None:
    assert "IMDS" in SERVER
