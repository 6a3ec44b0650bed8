"""Settings that exclude each other, and notices about settings that hardly can be meant."""

from typing import Any

import pytest

from openimds.admin import host_rule
from openimds.errors import ConfigError
from openimds.server.settings_check import (
    LOOPBACK_NAMES,
    admin_notices,
    check,
    check_pki_names,
    notices,
)
from openimds.settings import Settings
from tests.unit.vm.refused import Refused, refused

UNREACHABLE = (
    "certificates and discovery documents name http://{public}, which guests cannot reach. "
    "Set --public-url to the URL by which guests reach this machine"
)
FETCHABLE = "an issuer whose discovery document and keys Entra can fetch by https"
WRITE_ISSUER = "Write --issuer public --public-url https://..., or --issuer https://..."


@pytest.mark.parametrize("public", ["0.0.0.0:8171", "[::]:8171"])
def test_unspecified_public_address_is_noticed_without_a_url(public: str) -> None:
    assert notices(Settings(public=public)) == [UNREACHABLE.format(public=public)]
    assert notices(Settings(public=public, public_url="http://pki.example")) == []


@pytest.mark.parametrize("public", ["auto", "none", "127.0.0.1:0", "[::1]:8171", "host:8171"])
def test_specific_public_address_is_not_noticed(public: str) -> None:
    assert notices(Settings(public=public)) == []


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"general_burst": 10_000, "identity_per_s": 10_000},
        {"admin_cert": "c", "admin_key": "k", "admin_client_ca": "a"},
        {"attest_key": "k", "attest_certificates": "c"},
        {"attest_key": "k", "attest_certificates": "c", "attest_crl": ("l",)},
        {"state": "s", "attest_ocsp": ("o",)},
        {"issuer": "public"},
        {"issuer": "public", "public": "none", "public_url": "https://pki.example"},
        {"entra": "az"},
        {"entra": "az", "issuer": "public", "public": "none"},
        {"entra": "federation", "issuer": "https://issuer.example"},
    ],
)
def test_settings_that_go_together_pass(values: dict[str, Any]) -> None:
    check(Settings(**values))


@pytest.mark.parametrize(
    "values, where, seen, expected, hint",
    [
        (
            {"admin_cert": "c"},
            "admin_cert",
            "no admin_key beside it",
            "both or neither",
            "Set admin_key",
        ),
        (
            {"admin_key": "k"},
            "admin_key",
            "no admin_cert beside it",
            "both or neither",
            "Set admin_cert",
        ),
        (
            {"admin_client_ca": "a"},
            "admin_client_ca",
            "a without admin_cert",
            "a certificate of the server: only https has client certificates",
            "Set admin_cert and admin_key",
        ),
        (
            {"fleet": "f", "document": "d"},
            "--document",
            "both f and d",
            "a fleet or a document, not both",
            "",
        ),
        (
            {"general_burst": 10_001},
            "general_burst",
            "10001",
            "at most 10000: each VM stores the times of so many requests",
            "Write --no-rate-limit, or a smaller burst",
        ),
        (
            {"identity_per_s": 10_001},
            "identity_burst",
            "10001",
            "at most 10000: each VM stores the times of so many requests",
            "Write --no-rate-limit, or a smaller burst",
        ),
        (
            {"attest_key": "k"},
            "attest_key",
            "no attest_certificates beside it",
            "both or neither",
            "Set attest_certificates",
        ),
        (
            {"attest_certificates": "c"},
            "attest_certificates",
            "no attest_key beside it",
            "both or neither",
            "Set attest_key",
        ),
        (
            {"attest_crl": ("l",)},
            "attest_crl",
            "neither attest_key nor state beside it",
            "a CA whose key is elsewhere",
            "Set attest_key and attest_certificates",
        ),
        (
            {"state": "s", "attest_ocsp": ("o",), "public": "none"},
            "attest_ocsp",
            "no public address",
            "a listener that serves it",
            "Write --public HOST:PORT",
        ),
        (
            {"issuer": "public", "public": "none"},
            "issuer",
            '"public" without a public address',
            "a listener, or a URL",
            "Write --public HOST:PORT, --public-url URL, or --issuer URL",
        ),
        (
            {"entra": "az", "virtual_clock": True},
            "entra",
            '"az" with a virtual clock',
            "the system clock: Entra's tokens live by it",
            "Leave out --virtual-clock, or --entra",
        ),
        (
            {"entra": "federation"},
            "entra",
            '"federation" with the issuer azure',
            FETCHABLE,
            WRITE_ISSUER,
        ),
        (
            {"entra": "federation", "issuer": "public", "public": "none"},
            "entra",
            '"federation" with the issuer public without a public address',
            FETCHABLE,
            WRITE_ISSUER,
        ),
    ],
)
def test_settings_that_exclude_each_other_are_refused(
    values: dict[str, Any], where: str, seen: str, expected: str, hint: str
) -> None:
    assert refused(check, Settings(**values)) == Refused(where, seen, expected, hint)


@pytest.mark.parametrize(
    "values, place, seen, remedy",
    [
        (
            {"state": "s"},
            {"is_in_sandbox": False},
            "outside a sandbox",
            "openimds exec --pki-names azure -- COMMAND",
        ),
        ({}, {"is_online": True}, "with --net host", "leave out --net"),
        ({"state": "s"}, {}, "with a state directory", "leave out --state"),
        (
            {"attest_key": "k", "attest_certificates": "c"},
            {},
            "with an external CA",
            "leave out --attest-key and --attest-certificates",
        ),
    ],
)
def test_azures_hosts_are_refused_where_they_could_leak(
    values: dict[str, Any], place: dict[str, bool], seen: str, remedy: str
) -> None:
    settings, where = Settings(pki_names="azure", **values), {"is_in_sandbox": True, **place}
    with pytest.raises(ConfigError) as caught:
        check_pki_names(settings, **where)
    assert (caught.value.where, caught.value.seen) == ("pki_names", f'"azure" {seen}')
    assert caught.value.hint == f"Write --pki-names own, or {remedy}"
    check_pki_names(Settings(**values), **where)


def test_azures_hosts_pass_in_a_sandbox() -> None:
    check_pki_names(Settings(pki_names="azure"), is_in_sandbox=True)


def test_hook_without_its_program_is_noticed() -> None:
    assert notices(Settings(event_hook="no-such-program --now")) == [
        (
            'the event hook waits: there is no program "no-such-program" that this user may run. '
            "Install it, or give --event-hook its full path"
        )
    ]
    for hook in ("sh -c 'cat'", "http://127.0.0.1/x", '"', "''", ""):
        assert notices(Settings(event_hook=hook)) == []


@pytest.mark.parametrize(
    "admin", ["none", "127.0.0.1:8170", "127.9.9.9:1", "[::1]:8170", "localhost:0", "LOCALHOST:1"]
)
def test_admin_api_at_loopback_is_not_noticed(admin: str) -> None:
    assert admin_notices(Settings(admin=admin)) == notices(Settings(admin=admin)) == []


@pytest.mark.parametrize(
    "admin, more",
    [("0.0.0.0:8170", ""), ("[::]:8170", ""), ("10.0.0.9:1", "10.0.0.9, "), ("box:1", "box, ")],
)
def test_names_of_an_admin_api_elsewhere_are_noticed(admin: str, more: str) -> None:
    own = more.removesuffix(", ")
    known = ", ".join(["localhost, 127.0.0.1, ::1, imds.example", *([own] if own else [])])
    names = f"the admin API at {admin} answers to the names {known}; "
    names += "add others by --admin-hosts NAME"
    lack = "It speaks http there: a token can be read on its way."
    (notice,) = notices(Settings(admin=admin, admin_hosts=("imds.example",)))
    assert notice == f"{names}. {lack} Give it --admin-cert and --admin-key"
    tls = Settings(
        admin=admin, admin_hosts=("imds.example",), admin_cert="tls.crt", admin_key="tls.key"
    )
    assert admin_notices(tls) == [names]


def test_noticed_names_are_those_of_the_host_rule() -> None:
    assert host_rule.admin_rule(frozenset()).names == {*LOOPBACK_NAMES}
