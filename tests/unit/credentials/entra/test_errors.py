"""Refusals and failures of Entra: the body for the guest, the report to the operator."""

import json
import threading
from collections.abc import Mapping

import pytest
import requests
from msgspec.structs import replace

from openimds.credentials.entra.client import FAILURE_S, QUIET_S
from openimds.credentials.entra.errors import MAX_PAUSE_S, retry_after_s
from openimds.credentials.entra.token_texts import redacted
from openimds.credentials.keys.files import KeyFileError
from openimds.protocol.pending import AccessToken, Failed
from openimds.protocol.request import parse_query
from openimds.protocol.response import refuse
from tests.unit.credentials.entra.directory import (
    NOW_S,
    PENDING,
    TOO_LONG_S,
    EntraSetup,
    a_token,
    run_async,
)

QUERY = parse_query("GET", b"/metadata/identity/oauth2/token", has_metadata_header=True)
TRACE, CORRELATION = (f"{digit * 8}-aaaa-4bbb-8ccc-0123456789ab" for digit in "45")
UNKNOWN = (
    "AADSTS500011: The resource principal named https://vault.azure.net was not found in the "
    'tenant named Contoso "Ltd". This can happen if the application has not been installed by the '
    "administrator of the tenant or consented to by any user in the tenant. You might have sent "
    "your authentication request to the wrong tenant.\r\nTrace ID: "
    f"{TRACE}\r\nCorrelation ID: {CORRELATION}\r\nTimestamp: 2022-11-10 23:12:37Z"
)
NO_SUCH = 'AADSTS700016: Application with "identifier" was not found.\r\nTrace ID: x'


def body(error: str, description: str, **more: object) -> dict[str, object]:
    return {"error": error, "error_description": description, **more}


async def answer(
    setup: EntraSetup, status: int, response: object, steady_s: float = 0.0
) -> AccessToken | Failed:
    setup.directory.status, setup.directory.body = status, response
    setup.steady_s = steady_s
    return await setup.entra.token(PENDING, NOW_S)


def guest_body(failed: AccessToken | Failed) -> dict[str, object]:
    """Return the body that the guest gets."""
    assert isinstance(failed, Failed)
    decoded: dict[str, object] = json.loads(refuse(failed.key, QUERY, failed.blanks).body)
    return decoded


def test_unknown_resource_has_the_recorded_body() -> None:
    async def scenario() -> None:
        async with EntraSetup("federation") as setup:
            result = await answer(
                setup, 400, body("invalid_resource", UNKNOWN, error_codes=[500011])
            )
        # The members and their order are those of the recorded body (S10).
        assert guest_body(result) == {
            "error": "invalid_resource",
            "error_description": UNKNOWN,
            "error_codes": [500011],
            "timestamp": "2022-11-10 23:12:37Z",
            "trace_id": TRACE,
            "correlation_id": CORRELATION,
            "error_uri": "https://login.microsoft.com/error?code=500011",
        }
        assert setup.reports == []

    run_async(scenario)


def test_short_unknown_resource_error_is_completed() -> None:
    async def scenario() -> None:
        async with EntraSetup("federation") as setup:
            result = await answer(setup, 400, body("invalid_resource", "AADSTS500011: Not found."))
        decoded = guest_body(result)
        assert decoded["error_codes"] == [500011]
        # The token was requested at 2024-03-07 11:06:37 UTC.
        assert decoded["timestamp"] == "2024-03-07 11:06:37Z"

    run_async(scenario)


@pytest.mark.parametrize(
    "error, description",
    [
        ("unauthorized_client", NO_SUCH),
        ("invalid_client", "AADSTS700213: No matching federated identity record found."),
        ("invalid_request", ""),
    ],
)
@pytest.mark.parametrize("status", [400, 401])
def test_entra_refusal_is_passed_on(status: int, error: str, description: str) -> None:
    async def scenario() -> None:
        async with EntraSetup("federation") as setup:
            result = await answer(
                setup, status, body(error, description, error_codes=[1], more={"a": "b"})
            )
        assert isinstance(result, Failed)
        assert result.key == "entra_refused"
        assert guest_body(result) == {"error": error, "error_description": description}
        assert setup.reports == []

    run_async(scenario)


@pytest.mark.parametrize(
    "status, response",
    [
        (500, body("server_error", "AADSTS90000: sorry")),
        (503, {}),
        (503, b"<html>Service unavailable</html>"),
        (400, body("temporarily_unavailable", "try again")),
        (400, b"not JSON"),
        (400, []),
        (400, {"error": {"code": 7}}),
        (404, {}),
        (200, {"token_type": "Bearer"}),
    ],
)
def test_useless_response_is_500_and_reported(status: int, response: object) -> None:
    async def scenario() -> None:
        async with EntraSetup("federation") as setup:
            assert await answer(setup, status, response) == Failed("server_error")
        (report,) = setup.reports
        assert report.startswith("no token from Entra for web-1, https://vault.azure.net: ")
        assert not report.endswith(".")

    run_async(scenario)


@pytest.mark.parametrize("response", [body("too_many_requests", "slow down"), b"slow down"])
def test_entras_429_is_azures_429_and_reported(response: object) -> None:
    async def scenario() -> None:
        async with EntraSetup("federation") as setup:
            result = await answer(setup, 429, response)
            assert isinstance(result, Failed)
            refusal = refuse(result.key, QUERY, result.blanks)
            assert refusal.status == 429
            assert json.loads(refusal.body) == body(
                "invalid_request", "Temporarily throttled, too many requests"
            )
        assert len(setup.reports) == 1
        assert len(setup.directory.posts) == 1

    run_async(scenario)


@pytest.mark.parametrize(
    "headers, seconds",
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": " 0 "}, 0),
        ({"retry-after": "9" * 400}, MAX_PAUSE_S),
        (
            {
                "retry-after": "Wed, 21 Oct 2015 07:28:30 GMT",
                "date": "Wed, 21 Oct 2015 07:28:00 GMT",
            },
            30,
        ),
        (
            {
                "retry-after": "Wed, 21 Oct 2015 07:27:00 GMT",
                "date": "Wed, 21 Oct 2015 07:28:00 GMT",
            },
            0,
        ),
        (
            {
                "retry-after": "Fri, 21 Oct 2115 07:28:00 -0000",
                "date": "Wed, 21 Oct 2015 07:28:00 GMT",
            },
            MAX_PAUSE_S,
        ),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:30 GMT"}, None),
        ({"retry-after": "soon", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "\u0667"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_date(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after_s(headers) == seconds


def test_network_error_is_reported_after_one_attempt() -> None:
    def fall() -> None:
        raise requests.exceptions.ConnectionError("name or service not known")

    async def scenario() -> None:
        async with EntraSetup("federation") as setup:
            setup.directory.before_answer = fall
            assert await setup.entra.token(PENDING, NOW_S) == Failed("server_error")
        (report,) = setup.reports
        assert "name or service not known" in report
        assert len(setup.directory.requests) == 1

    run_async(scenario)


def test_slow_response_times_out() -> None:
    async def scenario() -> None:
        async with EntraSetup("federation", timeout_s=0.01) as setup:
            gate = threading.Event()
            setup.directory.before_answer = lambda: gate.wait(TOO_LONG_S)
            try:
                assert await setup.entra.token(PENDING, NOW_S) == Failed("server_error")
            finally:
                gate.set()
        (report,) = setup.reports
        assert report.endswith(": no answer within 0.01 s")

    run_async(scenario)


def test_reports_are_at_most_one_a_minute_and_count_the_rest() -> None:
    async def scenario() -> None:
        async with EntraSetup("federation") as setup:
            for later_s in (0, FAILURE_S, QUIET_S - FAILURE_S):
                await answer(setup, 503, {}, later_s)
            assert len(setup.reports) == 1
            await answer(setup, 503, {}, QUIET_S)
            assert [text.endswith("(2 earlier failures not shown)") for text in setup.reports] == [
                False,
                True,
            ]
            await answer(setup, 503, {}, 2 * QUIET_S)
            assert "earlier" not in setup.reports[2]

    run_async(scenario)


def test_unwritable_key_is_reported() -> None:
    def sign(_claims: Mapping[str, object], _now_s: float) -> str:
        raise KeyFileError("keys: the disk is full")

    async def scenario() -> None:
        async with EntraSetup("federation", sign=sign) as setup:
            assert await setup.entra.token(PENDING, NOW_S) == Failed("server_error")
        (report,) = setup.reports
        assert report.endswith("KeyFileError: keys: the disk is full")

    run_async(scenario)


def test_fetch_after_close_fails_with_an_answer() -> None:
    async def scenario() -> None:
        async with EntraSetup("federation") as setup:
            pass
        assert await setup.entra.token(PENDING, NOW_S) == Failed("server_error")

    run_async(scenario)


def test_reports_contain_no_secret_and_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (
        ("AZURE_TENANT_ID", PENDING.identity.tenant_id),
        ("AZURE_CLIENT_ID", PENDING.identity.client_id),
        ("AZURE_CLIENT_SECRET", "s3cret~of"),
    ):
        monkeypatch.setenv(name, text)
    token = a_token(nbf=1)

    def fall() -> None:
        raise requests.exceptions.ConnectionError(f"sent s3cret~of and {token} there")

    async def scenario() -> None:
        async with EntraSetup("service-principal") as setup:
            setup.directory.before_answer = fall
            await setup.entra.token(replace(PENDING, resource="https://a\n\x1b[31m"), NOW_S)
        (report,) = setup.reports
        assert "sent *** and *** there" in report
        assert report.isprintable()
        for part in (*token.split("."), "s3cret"):
            assert part not in report

    run_async(scenario)


def test_redacted_text_is_one_short_line() -> None:
    assert redacted("a\r\n  b\tc.") == "a b c"
    assert redacted("x" * 501) == "x" * 499 + "…"
    assert redacted("x" * 500) == "x" * 500
    assert redacted("nothing", ["", ""]) == "nothing"
