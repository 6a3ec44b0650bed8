"""Real tokens: how Entra is asked, and what becomes of its answer."""

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
    NEED,
    NOW_S,
    OBJECT,
    RING,
    TENANT,
    Scene,
    a_token,
    at_work,
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
echo "$@" >> "{folder}/asked"
{does}
"""


@pytest.fixture
def application(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in APPLICATION.items():
        monkeypatch.setenv(name, value)


def an_az(folder: Path, monkeypatch: pytest.MonkeyPatch, does: str) -> Path:
    """Put a command of that name in the path, and say where it writes what it was asked."""
    path = folder / "az"
    path.write_text(AZ.format(folder=folder, does=does))
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder / "asked"


@pytest.mark.parametrize("cloud, host", HOSTS.items())
def test_federation_asks_in_the_name_of_the_identity_and_our_issuer(cloud: str, host: str) -> None:
    async def work() -> None:
        async with Scene("federation") as scene:
            got = await scene.entra.token(replace(NEED, cloud=cloud), NOW_S)
            assert isinstance(got, AccessToken)
        ((url, form),) = scene.directory.posts
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
        said = jwt.decode(
            proof, key, algorithms=["RS256"], audience="api://AzureADTokenExchange", options=options
        )
        assert (said["iss"], said["sub"]) == (f"{ISSUER}/{TENANT}/v2.0", OBJECT)
        assert (said["nbf"], said["exp"]) == (1_709_809_297, 1_709_810_197)

    at_work(work)


def test_a_token_has_the_times_that_entra_gave_it() -> None:
    async def work() -> None:
        async with Scene("federation") as scene:
            text = a_token(nbf=1_700_000_000)
            scene.directory.body = {"access_token": text, "expires_in": 86_399}
            got = await scene.entra.token(NEED, NOW_S)
        assert isinstance(got, AccessToken)
        assert (got.text, got.not_before_s) == (text, 1_700_000_000)
        # expires_on - not_before = life + 5 min, as in the recorded body (S29).
        assert got.expires_s - got.not_before_s == got.life_s + 300

    at_work(work)


@pytest.mark.parametrize("text", ["opaque", "a.b.c", "a.e30.c", "a.!.c", a_token(nbf="soon"), ""])
def test_a_token_that_cannot_be_read_begins_five_minutes_ago(text: str) -> None:
    async def work() -> None:
        async with Scene("federation") as scene:
            scene.directory.body = {"access_token": text, "expires_in": 3599}
            got = await scene.entra.token(NEED, NOW_S)
        assert isinstance(got, AccessToken)
        assert (got.text, got.not_before_s) == (text, 1_709_809_297)

    at_work(work)


@pytest.mark.usefixtures("application")
def test_an_application_asks_for_all_and_anew_each_time() -> None:
    async def work() -> None:
        async with Scene("service-principal") as scene:
            for number in (1, 2):
                scene.directory.body = {"access_token": f"real-{number}", "expires_in": 86_399}
                got = await scene.entra.token(replace(NEED, cloud="AzureChinaCloud"), NOW_S)
                assert isinstance(got, AccessToken)
                assert got.text == f"real-{number}"
        for url, form in scene.directory.posts:
            host = "login.partner.microsoftonline.cn"
            assert url == f"https://{host}/{TENANT}/oauth2/v2.0/token"
            assert form["client_id"] == APPLICATION["AZURE_CLIENT_ID"]
            assert form["client_secret"] == APPLICATION["AZURE_CLIENT_SECRET"]
            assert form["scope"] == "https://vault.azure.net/.default"
        assert len(scene.directory.posts) == 2
        # No other host is asked whether there is such a cloud.
        assert {url.split("/")[2] for url, _ in scene.directory.asked} == {host}

    at_work(work)


@pytest.mark.parametrize(
    "lacks, seen",
    [
        (["AZURE_TENANT_ID"], "AZURE_TENANT_ID"),
        (
            ["AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"],
            "AZURE_CLIENT_ID, AZURE_CLIENT_SECRET or AZURE_CLIENT_CERTIFICATE_PATH",
        ),
    ],
)
@pytest.mark.usefixtures("application")
def test_an_application_that_is_not_named_is_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch, lacks: list[str], seen: str
) -> None:
    for name in lacks:
        monkeypatch.setenv(name, "")
    assert refused(Scene, "service-principal") == Refused(
        "entra",
        f'"service-principal" without {seen}',
        "these variables in the environment of the server",
    )


@pytest.mark.usefixtures("application")
def test_a_certificate_does_instead_of_a_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AZURE_CLIENT_SECRET")
    monkeypatch.setenv("AZURE_CLIENT_CERTIFICATE_PATH", str(tmp_path / "none.pem"))

    async def work() -> None:
        async with Scene("service-principal") as scene:
            assert await scene.entra.token(NEED, NOW_S) == Failed("server_error")
        (told,) = scene.told
        assert "none.pem" in told

    at_work(work)


def test_az_gives_the_token_of_who_is_signed_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    body = '{"accessToken": "of-ada", "expires_on": 1709813197, "tokenType": "Bearer"}'
    asked = an_az(tmp_path, monkeypatch, f"echo '{body}'")

    async def work() -> None:
        async with Scene("az") as scene:
            got = await scene.entra.token(NEED, NOW_S)
        assert got == AccessToken("of-ada", 1_709_809_297, 1_709_813_197, 3600)
        assert "--resource https://vault.azure.net" in asked.read_text()
        assert (scene.directory.asked, scene.told) == ([], [])

    at_work(work)


def test_a_refusal_that_az_quotes_is_handed_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    quoted = "ERROR: AADSTS50076: You must use multi-factor authentication."
    an_az(tmp_path, monkeypatch, f"echo '{quoted}' >&2; exit 1")

    async def work() -> None:
        async with Scene("az") as scene:
            got = await scene.entra.token(NEED, NOW_S)
        words = {
            "error": "unauthorized_client",
            "description": "AADSTS50076: You must use multi-factor authentication.",
        }
        assert got == Failed("entra_refused", words)
        assert scene.told == []

    at_work(work)


@pytest.mark.parametrize(
    "does, said",
    [
        ("echo 'Please run az login' >&2; exit 1", "az login"),
        ("echo 'no'", "Unexpected output from Azure CLI"),
        ("exit 3", "Failed to invoke Azure CLI"),
        ("exit 127", "Azure CLI not found on path"),
    ],
)
def test_an_az_that_cannot_is_told_to_the_operator(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, does: str, said: str
) -> None:
    an_az(tmp_path, monkeypatch, does)

    async def work() -> None:
        async with Scene("az") as scene:
            assert await scene.entra.token(NEED, NOW_S) == Failed("server_error")
        (told,) = scene.told
        assert said in told

    at_work(work)


@pytest.mark.parametrize("fault", [None, ModuleNotFoundError("azure")])
def test_without_the_extra_it_says_what_to_type(
    monkeypatch: pytest.MonkeyPatch, fault: Exception | None
) -> None:
    def find(_: str) -> None:
        if fault:
            raise fault

    monkeypatch.setattr(room, "find_spec", find)
    assert refused(Scene, "az") == Refused(
        "entra",
        '"az" without azure-identity, which asks Entra',
        "the extra entra to be installed",
        "Type pip install openimds[entra]",
    )


def test_azure_identity_is_loaded_by_the_first_token_and_not_before() -> None:
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


def test_the_libraries_print_nothing() -> None:
    EntraClient("az", issuer="", sign=signed, notify=lambda _: None).close()
    for name in ("azure", "msal"):
        # Without a handler of its own Python would write warnings to stderr.
        found = logging.getLogger(name).handlers
        assert any(isinstance(one, logging.NullHandler) for one in found)


def test_where_nothing_says_how_to_ask_the_operator_is_told_once() -> None:
    async def work() -> None:
        told: list[str] = []
        nobody = UnconfiguredEntra(told.append, is_told=False)
        assert [await nobody.token(NEED, NOW_S) for _ in range(3)] == [Failed("server_error")] * 3
        assert told == [ENTRA_UNCONFIGURED]
        await UnconfiguredEntra(told.append, is_told=True).token(NEED, NOW_S)
        assert told == [ENTRA_UNCONFIGURED]

    at_work(work)
