"""Every refusal is one row with a sound body."""

import json
import re
from collections import Counter

import pytest

from openimds.facts.endpoints import CATEGORIES
from openimds.facts.headers import BARE, JSON_MEDIA, TEXT_MEDIA, XML_MEDIA
from openimds.facts.protocols import DIALECTS
from openimds.facts.refusal import RefusalRow, find_row
from openimds.facts.refusals import REFUSALS, refusal_row
from openimds.facts.refusals_elsewhere import WINDOWS

BLANK = re.compile(r"\{(\w+)\}")
BLANKS = {"newest": '["2025-11-15"]', "path": "/a", "method": "PUT", "value": 'say \\"no\\"'}
BLANKS |= {"supported": "2021-02-01 2020-06-01"}
BLANKS |= dict.fromkeys(("resource", "tenant", "trace", "correlation", "at", "login"), "x")
BLANKS |= dict.fromkeys(("error", "description"), "x")
each = pytest.mark.parametrize("row", REFUSALS, ids=lambda row: f"{row.category}-{row.key}")


def _filled(row: RefusalRow) -> str:
    return BLANK.sub(lambda match: BLANKS[match[1]], row.body)


def test_keys_of_a_category_are_unique() -> None:
    counted = Counter((row.category, row.key) for row in REFUSALS)
    assert [pair for pair, n in counted.items() if n > 1] == []


@each
def test_category_belongs_to_endpoints_or_plain_http(row: RefusalRow) -> None:
    category, _, dialect = row.category.partition(".")
    assert category in {"", "http", *(one.key for one in CATEGORIES)}
    versioned = row.category.replace(WINDOWS, "")  # A dialect of App Service, in any version.
    assert versioned == category or versioned in {one.speaker for one in DIALECTS}
    assert not dialect.startswith(WINDOWS[1:]) or category == "app_service"


@each
def test_status_is_that_of_an_error(row: RefusalRow) -> None:
    assert 400 <= row.status <= 599


@each
def test_json_body_parses_with_its_blanks_filled(row: RefusalRow) -> None:
    if row.family == BARE:
        assert row.body == ""
    elif row.media == JSON_MEDIA:
        body = json.loads(_filled(row))
        # App Service has a form of its own, else an object as Cloud Shell has.
        assert body.keys() & {"message", "Message", "error", "ErrorCode"}
    else:
        assert row.media in {TEXT_MEDIA, XML_MEDIA}
        assert BLANK.findall(row.body) == []


@each
def test_identity_refusal_has_error_and_description(row: RefusalRow) -> None:
    """Except for an unknown path, whose recorded body has the error alone (S25)."""
    if row.category == "identity" and row.key != "not_found":
        members = json.loads(_filled(row)).keys()
        more = {"error_codes", "timestamp", "trace_id", "correlation_id", "error_uri"}
        # Entra's own refusals have more members, and IMDS passes them on (S10).
        assert members - (more if row.key == "resource_unknown" else set()) == {
            "error",
            "error_description",
        }


@each
def test_refusal_of_a_verb_has_allow(row: RefusalRow) -> None:
    assert (row.status == 405) == ("Allow" in row.headers)


@each
def test_refusal_of_the_connection_closes_it(row: RefusalRow) -> None:
    assert (row.category == "http") == ("Connection" in row.headers)


def test_category_has_rows_of_its_own() -> None:
    assert refusal_row("header_missing", "identity").category == "identity"
    assert refusal_row("not_found", "loadbalancer").body.startswith('{"error":"API is not found')


def test_dialect_without_a_row_takes_that_of_its_category() -> None:
    old = refusal_row("header_missing", "app_service.2017-09-01")
    assert (old.status, refusal_row("header_missing", "app_service").status) == (401, 403)
    assert refusal_row("throttled", old.category) == refusal_row("throttled", "app_service")


def test_category_without_a_row_takes_the_general_one() -> None:
    assert refusal_row("header_missing", "loadbalancer") == refusal_row("header_missing", "general")
    assert refusal_row("version_unknown", "identity").category == ""


@pytest.mark.parametrize(
    "key,category",
    [("no_such_key", "general"), ("identity_not_found", "general"), ("malformed", "")],
)
def test_refusal_without_a_row_raises(key: str, category: str) -> None:
    with pytest.raises(KeyError, match=key):
        refusal_row(key, category)


def test_row_of_the_category_wins_in_any_order() -> None:
    general = refusal_row("throttled", "general")
    own = refusal_row("throttled", "identity")
    assert find_row((general, own), "throttled", "identity") is own
    assert find_row((own, general), "throttled", "identity") is own
    assert find_row((own, general), "throttled", "loadbalancer") is general
