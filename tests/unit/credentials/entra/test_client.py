"""Fetches from Entra by each method: the request sent, and the token returned."""

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import jwt
import pytest
from msgspec.structs import replace

from openimds.credentials.entra import client as room
from openimds.credentials.entra.client import ENTRA_UNCONFIGURED, EntraClient, UnconfiguredEntra
from openimds.credentials.tokens import oidc
from openimds.protocol.pending import AccessToken, Failed
from tests.unit.credentials.entra.directory import (
    CLIENT,
    ISSUER,
    NOW_S,
    OBJECT,
    PENDING,
    RING,
    TENANT,
    EntraSetup,
    a_token,
    run_async,
    signed,
)
from tests.unit.vm.refused import Refused, refused

HOSTS = {
    "AzurePublicCloud": "login.microsoftonline.com",
    "AzureUSGovernmentCloud": "login.microsoftonline.us",
    "AzureChinaCloud": "login.partner.microsoftonline.cn",
}
APPLICATION = {
    "AZURE_TENANT_ID": TENANT,
    "AZURE_CLIENT_ID": "99999999-0000-4000-8000-000000000000",
    "AZURE_CLIENT_SECRET": "s3cret~of-the-application",
}
AZ = """#!/bin/sh
echo "$@" >> "{folder}/log"
{does}
"""


@pytest.fixture
def application(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in APPLICATION.items():
        monkeypatch.setenv(name, value)


def fake_az(folder: Path, monkeypatch: pytest.MonkeyPatch, does: str) -> Path:
    """Put a fake `az` first in PATH; return the file where it logs its arguments."""
    path = folder / "az"
    path.write_text(AZ.format(folder=folder, does=does))
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder / "log"


@pytest.mark.parametrize("cloud, host", HOSTS.items())
def test_federation_authenticates_as_the_identity(cloud: str, host: str) -> None:
    async def scenario() -> None:
        async with EntraSetup("federation") as setup:
            token = await setup.entra.token(replace(PENDING, cloud=cloud), NOW_S)
            assert isinstance(token, AccessToken)
        ((url, form),) = setup.directory.posts
        assert url == f"https://{host}/{TENANT}/oauth2/v2.0/token"
        assert (form["client_id"], form["grant_type"]) == (CLIENT, "client_credentials")
        assert form["scope"] == "https://vault.azure.net/.default"
        kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        assert form["client_assertion_type"] == kind
        proof = form["client_assertion"]
        key = jwt.PyJWKSet.from_dict(oidc.jwks(RING.public(NOW_S)))[
            jwt.get_unverified_header(proof)["kid"]
        ]
        options: Any = {"verify_exp": False}
        claims = jwt.decode(
            proof,
            key.key,
            algorithms=["RS256"],
            audience="api://AzureADTokenExchange",
            options=options,
        )
        assert (claims["iss"], claims["sub"]) == (f"{ISSUER}/{TENANT}/v2.0", OBJECT)
        assert (claims["nbf"], claims["exp"]) == (1_709_809_297, 1_709_810_197)

    run_async(scenario)


def test_token_has_the_times_that_entra_set() -> None:
    async def scenario() -> None:
        async with EntraSetup("federation") as setup:
            text = a_token(nbf=1_700_000_000)
            setup.directory.body = {"access_token": text, "expires_in": 86_399}
            token = await setup.entra.token(PENDING, NOW_S)
        assert isinstance(token, AccessToken)
        assert (token.text, token.not_before_s) == (text, 1_700_000_000)
        # expires_on - not_before = life + 5 min, as in the recorded body (S29).
        assert token.expires_s - token.not_before_s == token.life_s + 300

    run_async(scenario)


@pytest.mark.parametrize("text", ["opaque", "a.b.c", "a.e30.c", "a.!.c", a_token(nbf="soon"), ""])
def test_unreadable_token_begins_five_minutes_ago(text: str) -> None:
    async def scenario() -> None:
        async with EntraSetup("federation") as setup:
            setup.directory.body = {"access_token": text, "expires_in": 3599}
            token = await setup.entra.token(PENDING, NOW_S)
        assert isinstance(token, AccessToken)
        assert (token.text, token.not_before_s) == (text, 1_709_809_297)

    run_async(scenario)


@pytest.mark.usefixtures("application")
def test_service_principal_fetches_anew_for_every_identity() -> None:
    async def scenario() -> None:
        async with EntraSetup("service-principal") as setup:
            for number in (1, 2):
                setup.directory.body = {"access_token": f"real-{number}", "expires_in": 86_399}
                token = await setup.entra.token(replace(PENDING, cloud="AzureChinaCloud"), NOW_S)
                assert isinstance(token, AccessToken)
                assert token.text == f"real-{number}"
        for url, form in setup.directory.posts:
            host = "login.partner.microsoftonline.cn"
            assert url == f"https://{host}/{TENANT}/oauth2/v2.0/token"
            assert form["client_id"] == APPLICATION["AZURE_CLIENT_ID"]
            assert form["client_secret"] == APPLICATION["AZURE_CLIENT_SECRET"]
            assert form["scope"] == "https://vault.azure.net/.default"
        assert len(setup.directory.posts) == 2
        # azure-identity asks no other host whether the cloud exists.
        assert {url.split("/")[2] for url, _ in setup.directory.requests} == {host}

    run_async(scenario)


@pytest.mark.parametrize(
    "missing, seen",
    [
        (["AZURE_TENANT_ID"], "AZURE_TENANT_ID"),
        (
            ["AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"],
            "AZURE_CLIENT_ID, AZURE_CLIENT_SECRET or AZURE_CLIENT_CERTIFICATE_PATH",
        ),
    ],
)
@pytest.mark.usefixtures("application")
def test_service_principal_without_variables_is_refused(
    monkeypatch: pytest.MonkeyPatch, missing: list[str], seen: str
) -> None:
    for name in missing:
        monkeypatch.setenv(name, "")
    assert refused(EntraSetup, "service-principal") == Refused(
        "entra",
        f'"service-principal" without {seen}',
        "these variables in the environment of the server",
    )


@pytest.mark.usefixtures("application")
def test_service_principal_accepts_a_certificate_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AZURE_CLIENT_SECRET")
    monkeypatch.setenv("AZURE_CLIENT_CERTIFICATE_PATH", str(tmp_path / "none.pem"))

    async def scenario() -> None:
        async with EntraSetup("service-principal") as setup:
            assert await setup.entra.token(PENDING, NOW_S) == Failed("server_error")
        (report,) = setup.reports
        assert "none.pem" in report

    run_async(scenario)


def test_az_returns_the_token_of_the_signed_in_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    body = '{"accessToken": "of-ada", "expires_on": 1709813197, "tokenType": "Bearer"}'
    log = fake_az(tmp_path, monkeypatch, f"echo '{body}'")

    async def scenario() -> None:
        async with EntraSetup("az") as setup:
            token = await setup.entra.token(PENDING, NOW_S)
        assert token == AccessToken("of-ada", 1_709_809_297, 1_709_813_197, 3600)
        assert "--resource https://vault.azure.net" in log.read_text()
        assert (setup.directory.requests, setup.reports) == ([], [])

    run_async(scenario)


def test_refusal_quoted_by_az_is_passed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    quoted = "ERROR: AADSTS50076: You must use multi-factor authentication."
    fake_az(tmp_path, monkeypatch, f"echo '{quoted}' >&2; exit 1")

    async def scenario() -> None:
        async with EntraSetup("az") as setup:
            token = await setup.entra.token(PENDING, NOW_S)
        blanks = {
            "error": "unauthorized_client",
            "description": "AADSTS50076: You must use multi-factor authentication.",
        }
        assert token == Failed("entra_refused", blanks)
        assert setup.reports == []

    run_async(scenario)


@pytest.mark.parametrize(
    "does, reason",
    [
        ("echo 'Please run az login' >&2; exit 1", "az login"),
        ("echo 'no'", "Unexpected output from Azure CLI"),
        ("exit 3", "Failed to invoke Azure CLI"),
        ("exit 127", "Azure CLI not found on path"),
    ],
)
def test_az_failure_is_reported_to_the_operator(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, does: str, reason: str
) -> None:
    fake_az(tmp_path, monkeypatch, does)

    async def scenario() -> None:
        async with EntraSetup("az") as setup:
            assert await setup.entra.token(PENDING, NOW_S) == Failed("server_error")
        (report,) = setup.reports
        assert reason in report

    run_async(scenario)


@pytest.mark.parametrize("fault", [None, ModuleNotFoundError("azure")])
def test_missing_extra_is_refused_with_the_command_to_type(
    monkeypatch: pytest.MonkeyPatch, fault: Exception | None
) -> None:
    def find(_: str) -> None:
        if fault:
            raise fault

    monkeypatch.setattr(room, "find_spec", find)
    assert refused(EntraSetup, "az") == Refused(
        "entra",
        '"az" without azure-identity',
        "the extra entra to be installed",
        "Type pip install './openimds[entra]' beside a checkout",
    )


def test_azure_identity_is_not_loaded_by_the_constructor() -> None:
    lines = [
        "import sys",
        "from openimds.credentials.entra.client import EntraClient",
        "EntraClient('az', issuer='', sign=None, notify=None)",
        "print(*({'azure.identity', 'azure.core', 'msal'} & sys.modules.keys()))",
    ]
    got = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True
    )
    assert got.stdout.split() == []


def test_azure_and_msal_loggers_have_a_null_handler() -> None:
    EntraClient("az", issuer="", sign=signed, notify=lambda _: None).close()
    for name in ("azure", "msal"):
        # Without a handler of its own Python would write warnings to stderr.
        handlers = logging.getLogger(name).handlers
        assert any(isinstance(handler, logging.NullHandler) for handler in handlers)


def test_unconfigured_entra_is_reported_once() -> None:
    async def scenario() -> None:
        reports: list[str] = []
        source = UnconfiguredEntra(reports.append, is_reported=False)
        assert [await source.token(PENDING, NOW_S) for _ in range(3)] == [
            Failed("server_error")
        ] * 3
        assert reports == [ENTRA_UNCONFIGURED]
        await UnconfiguredEntra(reports.append, is_reported=True).token(PENDING, NOW_S)
        assert reports == [ENTRA_UNCONFIGURED]

    run_async(scenario)
