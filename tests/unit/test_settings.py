"""Settings: one field each, read from the first source that has it."""

from collections import Counter
from typing import Any

import pytest
from msgspec import structs

from openimds.errors import ConfigError
from openimds.facts.limits import LIMITS
from openimds.facts.versions import GENERAL, NEWEST
from openimds.settings import FILE_NAME, SETTINGS, Setting, Settings, resolve, setting
from tests.unit.vm.refused import Refused, refused

DURATIONS = ": seconds, or a duration such as 90s, 10m or 2h30m"

each = pytest.mark.parametrize("row", SETTINGS, ids=lambda row: row.name)
PUBLIC_URLS = "http://HOST:PORT/PATH, or https, without a user, a query or a fragment"
NAMES = ", ".join(row.name for row in SETTINGS)


def _read(name: str, value: object) -> Any:
    return getattr(resolve({name: value}, {}, {}), name)


def test_rows_are_the_fields_in_their_order() -> None:
    assert [row.name for row in SETTINGS] == [field.name for field in structs.fields(Settings)]
    assert max(Counter(row.name for row in SETTINGS).values()) == 1


@each
def test_default_can_be_written(row: Setting) -> None:
    assert _read(row.name, row.default) == row.default
    assert _read(row.name, row.default_text) == row.default


@each
def test_default_has_the_type_of_its_field(row: Setting) -> None:
    assert type(row.default) is row.type


@each
def test_help_is_a_sentence(row: Setting) -> None:
    assert row.help.endswith(".")
    assert row.help[0].isupper()


@each
def test_all_but_booleans_have_a_metavar(row: Setting) -> None:
    assert bool(row.metavar) != isinstance(row.default, bool)


@each
def test_row_is_found_by_its_name(row: Setting) -> None:
    assert setting(row.name) is row


def test_unknown_row_is_not_found() -> None:
    with pytest.raises(KeyError, match="no_such_setting"):
        setting("no_such_setting")


def test_name_gives_the_flag_and_the_variable() -> None:
    row = setting("max_connections_per_vm")
    assert row.flag == "--max-connections-per-vm"
    assert row.variable == "OPENIMDS_MAX_CONNECTIONS_PER_VM"


@pytest.mark.parametrize(
    "name,text",
    [("listen", "127.0.0.1:8169"), ("token_life", "86400"), ("rate_limit", "true"), ("state", "")],
)
def test_default_text_is_that_of_a_file(name: str, text: str) -> None:
    assert setting(name).default_text == text


def test_default_text_of_a_list_has_commas() -> None:
    assert structs.replace(setting("admin_hosts"), default=("a", "b")).default_text == "a, b"


def test_settings_without_sources_are_the_defaults() -> None:
    assert resolve({}, {}, {}) == Settings()


def test_public_defaults() -> None:
    settings = Settings()
    assert settings.listen == "127.0.0.1:8169"
    assert settings.rate_limit is True
    assert settings.fleet == settings.document == ""


def test_defaults_come_from_the_facts() -> None:
    settings = Settings()
    assert settings.newest_version == NEWEST
    assert settings.general_per_s == LIMITS["general"].per_s
    assert settings.identity_per_s == LIMITS["identity"].per_s


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
def test_first_source_wins(
    flags: dict[str, object], environment: dict[str, str], file: dict[str, object], expected: int
) -> None:
    assert resolve(flags, environment, file).cache_mib == expected


def test_false_flag_wins_over_a_true_variable() -> None:
    settings = resolve({"rate_limit": False}, {"OPENIMDS_RATE_LIMIT": "true"}, {})
    assert settings.rate_limit is False


def test_empty_variable_wins_over_the_file() -> None:
    environment = {"OPENIMDS_FLEET": "", "OPENIMDS_ENTRA": "", "OPENIMDS_ADMIN_HOSTS": ""}
    settings = resolve({}, environment, {"fleet": "x", "entra": "az", "admin_hosts": "x"})
    assert (settings.fleet, settings.entra, settings.admin_hosts) == ("", "", ())


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
def test_boolean_has_several_words(word: object, expected: object) -> None:
    assert _read("rate_limit", word) is expected


@pytest.mark.parametrize("value", ["a:80", "http://a", "a,[::1]", "*"])
def test_host_names_of_listeners_have_no_port(value: str) -> None:
    with pytest.raises(ConfigError, match="expected host names, without a port"):
        _read("listen_hosts", value)
    assert _read("listen_hosts", "A.example, b_2") == ("a.example", "b_2")


@pytest.mark.parametrize("value", ["7", 7, "007"])
def test_number_may_be_text(value: object) -> None:
    assert _read("general_per_s", value) == 7


@pytest.mark.parametrize(
    "value", ["A.example, b.example/", "A.example b.example/", ["A.example", "b.example/"]]
)
def test_names_may_be_text_or_a_list(value: object) -> None:
    assert _read("admin_hosts", value) == ("a.example", "b.example")


@pytest.mark.parametrize(
    "name,value,expected",
    [
        ("admin", "http://127.0.0.1:1/", "127.0.0.1:1"),
        ("admin", "https://127.0.0.1:1", "127.0.0.1:1"),
        ("public_url", "https://pki.example/", "https://pki.example"),
        ("issuer", "public", "public"),
        ("issuer", "https://issuer.example/", "https://issuer.example"),
        ("entra", "az", "az"),
        ("newest_version", GENERAL[0].name, GENERAL[0].name),
    ],
)
def test_text_is_converted(name: str, value: str, expected: str) -> None:
    assert _read(name, value) == expected


@pytest.mark.parametrize(
    "name,value,seen,expected",
    [
        ("fleet", 1, "the number 1", "a string"),
        ("rate_limit", "maybe", '"maybe"', "true or false"),
        ("rate_limit", "", '""', "true or false"),
        ("rate_limit", 2, "the number 2", "true or false"),
        ("general_per_s", "0", '"0"', "a whole number of at least 1"),
        ("general_per_s", "-1", '"-1"', "a whole number of at least 1"),
        ("general_per_s", "5.0", '"5.0"', "a whole number of at least 1"),
        ("general_per_s", 5.0, "the number 5.0", "a whole number of at least 1"),
        ("general_per_s", "\u0665", '"\u0665"', "a whole number of at least 1"),
        ("general_per_s", True, "the boolean true", "a whole number of at least 1"),
        ("general_burst", "few", '"few"', "a whole number of at least 0"),
        ("token_life", 59, "the number 59", f"a whole number of at least 60{DURATIONS}"),
        ("loop", "trio", '"trio"', "one of auto, asyncio, uvloop"),
        ("loop", 1, "the number 1", "one of auto, asyncio, uvloop"),
        ("loop", "", '""', "one of auto, asyncio, uvloop"),
        ("entra", "x", '"x"', "one of federation, service-principal, az"),
        ("public_url", "pki.example", '"pki.example"', PUBLIC_URLS),
        ("public_url", "https://a/b?c", '"https://a/b?c"', PUBLIC_URLS),
        ("public_url", "https://a/b#c", '"https://a/b#c"', PUBLIC_URLS),
        ("public_url", "https://me@a", '"https://me@a"', PUBLIC_URLS),
        ("public_url", "https://a/{b}", '"https://a/{b}"', PUBLIC_URLS),
        ("public_url", "https://a/%2e", '"https://a/%2e"', PUBLIC_URLS),
        ("issuer", "https://a/b?c", '"https://a/b?c"', f"azure, public, or {PUBLIC_URLS}"),
        ("issuer", "contoso", '"contoso"', f"azure, public, or {PUBLIC_URLS}"),
    ],
)
def test_value_that_does_not_fit_is_refused(
    name: str, value: object, seen: str, expected: str
) -> None:
    assert refused(_read, name, value) == Refused(setting(name).flag, seen, expected)


def test_unknown_version_is_refused_with_the_nearest() -> None:
    error = refused(_read, "newest_version", NEWEST[:-1])
    assert error.where == "--newest-version"
    assert error.expected == "one of " + ", ".join(row.name for row in GENERAL)
    assert error.hint.startswith('Did you mean "')


@pytest.mark.parametrize(
    "flags,environment,file,where",
    [
        ({"cache_mib": "x"}, {"OPENIMDS_CACHE_MIB": "y"}, {"cache_mib": "z"}, "--cache-mib"),
        ({}, {"OPENIMDS_CACHE_MIB": "y"}, {"cache_mib": "z"}, "OPENIMDS_CACHE_MIB"),
        ({}, {}, {"cache_mib": "z"}, "openimds.toml: cache_mib"),
    ],
)
def test_error_names_the_source_of_the_value(
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
def test_unknown_key_of_the_file_is_refused(key: str, hint: str) -> None:
    expected = Refused(FILE_NAME, f'unknown key "{key}"', f"one of {NAMES}", hint)
    assert refused(resolve, {}, {}, {"listen": "127.0.0.1:1", key: 1}) == expected


def test_number_too_long_to_read_is_refused() -> None:
    assert refused(_read, "cache_mib", "9" * 5000).where == "--cache-mib"
