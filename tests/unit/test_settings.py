"""Settings: one row each, from the first place that has a value."""

from collections import Counter
from typing import Any

import pytest

from openimds.facts.limits import LIMITS
from openimds.facts.versions import NEWEST
from openimds.settings import FILE_NAME, SETTINGS, Setting, resolve, setting
from tests.unit.vm.refused import Refused, refused

each = pytest.mark.parametrize("row", SETTINGS, ids=lambda row: row.name)
NAMES = ", ".join(row.name for row in SETTINGS)


def _one(name: str, value: object) -> Any:
    return resolve({name: value}, {}, {})[name]


def test_a_name_stands_once() -> None:
    assert [name for name, n in Counter(row.name for row in SETTINGS).items() if n > 1] == []


@each
def test_a_default_is_a_value_that_could_be_said(row: Setting) -> None:
    assert row.read(row.default) == row.default


@each
def test_help_is_a_sentence(row: Setting) -> None:
    assert row.help.endswith(".")
    assert row.help[0].isupper()


@each
def test_what_is_shown_as_a_value_is_none_of_a_boolean(row: Setting) -> None:
    assert bool(row.metavar) != isinstance(row.default, bool)


@each
def test_a_row_is_found_by_its_name(row: Setting) -> None:
    assert setting(row.name) is row


def test_no_other_name_is_found() -> None:
    with pytest.raises(KeyError, match="no_such_setting"):
        setting("no_such_setting")


def test_one_name_makes_the_flag_and_the_variable() -> None:
    row = setting("max_connections_per_vm")
    assert row.flag == "--max-connections-per-vm"
    assert row.variable == "OPENIMDS_MAX_CONNECTIONS_PER_VM"


def test_without_a_word_every_setting_has_its_default() -> None:
    assert resolve({}, {}, {}) == {row.name: row.default for row in SETTINGS}


def test_the_public_defaults() -> None:
    values = resolve({}, {}, {})
    assert values["listen"] == "127.0.0.1:8169"
    assert values["rate_limit"] is True
    assert values["fleet"] == values["document"] == ""


def test_defaults_say_what_the_rows_of_azure_say() -> None:
    """Settings know no room, so the numbers stand in two places."""
    values = resolve({}, {}, {})
    assert values["newest_version"] == NEWEST
    assert values["general_per_s"] == LIMITS["general"].per_s
    assert values["identity_per_s"] == LIMITS["identity"].per_s


@pytest.mark.parametrize(
    "flags,environment,file,expected",
    [
        ({"cache_mib": 1}, {"OPENIMDS_CACHE_MIB": "2"}, {"cache_mib": 3}, 1),
        ({"cache_mib": None}, {"OPENIMDS_CACHE_MIB": "2"}, {"cache_mib": 3}, 2),
        ({}, {"OPENIMDS_CACHE_MIB": "2"}, {"cache_mib": 3}, 2),
        ({}, {}, {"cache_mib": 3}, 3),
        ({"loop": "uvloop"}, {"CACHE_MIB": "2"}, {}, 256),
    ],
)
def test_the_first_place_wins(
    flags: dict[str, object], environment: dict[str, str], file: dict[str, object], expected: int
) -> None:
    assert resolve(flags, environment, file)["cache_mib"] == expected


def test_a_flag_that_says_no_is_said() -> None:
    values = resolve({"rate_limit": False}, {"OPENIMDS_RATE_LIMIT": "true"}, {})
    assert values["rate_limit"] is False


def test_an_empty_variable_is_said() -> None:
    assert resolve({}, {"OPENIMDS_FLEET": ""}, {"fleet": "x"})["fleet"] == ""


@pytest.mark.parametrize(
    "word,expected",
    [
        ("true", True),
        ("True", True),
        ("1", True),
        ("YES", True),
        (True, True),
        ("false", False),
        ("0", False),
        ("No", False),
        (False, False),
        (0, False),
    ],
)
def test_words_for_true_and_false(word: object, expected: object) -> None:
    assert _one("rate_limit", word) is expected


@pytest.mark.parametrize("value", ["7", 7, "007"])
def test_a_number_may_be_text(value: object) -> None:
    assert _one("general_per_s", value) == 7


@pytest.mark.parametrize(
    "name,value,seen,expected",
    [
        ("fleet", 1, '"1"', "a string"),
        ("rate_limit", "maybe", '"maybe"', "true or false"),
        ("rate_limit", "", '""', "true or false"),
        ("rate_limit", 2, '"2"', "true or false"),
        ("general_per_s", "0", '"0"', "a whole number of at least 1"),
        ("general_per_s", "-1", '"-1"', "a whole number of at least 1"),
        ("general_per_s", "5.0", '"5.0"', "a whole number of at least 1"),
        ("general_per_s", 5.0, '"5.0"', "a whole number of at least 1"),
        ("general_per_s", "\u0665", '"\u0665"', "a whole number of at least 1"),
        ("general_per_s", True, '"True"', "a whole number of at least 1"),
        ("general_burst", "few", '"few"', "a whole number of at least 0"),
        ("loop", "trio", '"trio"', "one of auto, asyncio, uvloop"),
        ("loop", 1, '"1"', "one of auto, asyncio, uvloop"),
    ],
)
def test_a_value_that_cannot_be_read_is_refused(
    name: str, value: object, seen: str, expected: str
) -> None:
    assert refused(_one, name, value) == Refused(setting(name).flag, seen, expected)


@pytest.mark.parametrize(
    "flags,environment,file,where",
    [
        ({"cache_mib": "x"}, {"OPENIMDS_CACHE_MIB": "y"}, {"cache_mib": "z"}, "--cache-mib"),
        ({}, {"OPENIMDS_CACHE_MIB": "y"}, {"cache_mib": "z"}, "OPENIMDS_CACHE_MIB"),
        ({}, {}, {"cache_mib": "z"}, "openimds.toml: cache_mib"),
    ],
)
def test_an_error_says_where_the_value_was_written(
    flags: dict[str, object], environment: dict[str, str], file: dict[str, object], where: str
) -> None:
    assert refused(resolve, flags, environment, file).where == where


@pytest.mark.parametrize(
    "key,hint",
    [
        ("listn", 'Did you mean "listen"?'),
        ("rate-limit", 'Did you mean "rate_limit"?'),
        ("qqq", ""),
    ],
)
def test_a_key_of_the_file_that_is_no_setting_is_refused(key: str, hint: str) -> None:
    expected = Refused(FILE_NAME, f'unknown key "{key}"', f"one of {NAMES}", hint)
    assert refused(resolve, {}, {}, {"listen": "127.0.0.1:1", key: 1}) == expected


def test_a_number_too_long_to_read_is_refused() -> None:
    assert refused(_one, "cache_mib", "9" * 5000).where == "--cache-mib"
