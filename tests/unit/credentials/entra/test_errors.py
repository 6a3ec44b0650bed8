"""When Entra says no, or nothing: what the guest gets, and what the operator is told."""

import json
import threading
from collections.abc import Mapping

import pytest
import requests
from msgspec.structs import replace

from openimds.credentials.entra.client import QUIET_S, redacted
from openimds.credentials.keys.files import KeyFileError
from openimds.protocol.pending import AccessToken, Failed
from openimds.protocol.request import query
from openimds.protocol.response import refuse
from tests.unit.credentials.entra.directory import NEED, NOW_S, Scene, a_token, at_work

TOO_LONG_S = 30
ASKED = query("GET", b"/metadata/identity/oauth2/token", has_metadata_header=True)
TRACE, CORRELATION = (f"{digit * 8}-aaaa-4bbb-8ccc-0123456789ab" for digit in "45")
UNKNOWN = (
    "AADSTS500011: The resource principal named https://vault.azure.net was not found in the "
    'tenant named Contoso "Ltd". This can happen if the application has not been installed by the '
    "administrator of the tenant or consented to by any user in the tenant. You might have sent "
    "your authentication request to the wrong tenant.\r\nTrace ID: "
    f"{TRACE}\r\nCorrelation ID: {CORRELATION}\r\nTimestamp: 2022-11-10 23:12:37Z"
)
NO_SUCH = 'AADSTS700016: Application with "identifier" was not found.\r\nTrace ID: x'


def body(error: str, said: str, **more: object) -> dict[str, object]:
    return {"error": error, "error_description": said, **more}


async def answer(
    scene: Scene, status: int, said: object, now_s: float = NOW_S
) -> AccessToken | Failed:
    scene.directory.status, scene.directory.body = status, said
    return await scene.entra.token(NEED, now_s)


def shown(failed: AccessToken | Failed) -> dict[str, object]:
    """Return the body that the guest gets."""
    assert isinstance(failed, Failed)
    found: dict[str, object] = json.loads(refuse(failed.key, ASKED, failed.blanks).body)
    return found


def test_an_unknown_resource_is_the_body_that_azure_hands_on() -> None:
    async def work() -> None:
        async with Scene("federation") as scene:
            got = await answer(scene, 400, body("invalid_resource", UNKNOWN, error_codes=[500011]))
        # The members and their order are those of the recorded body (S10).
        assert shown(got) == {
            "error": "invalid_resource",
            "error_description": UNKNOWN,
            "error_codes": [500011],
            "timestamp": "2022-11-10 23:12:37Z",
            "trace_id": TRACE,
            "correlation_id": CORRELATION,
            "error_uri": "https://login.microsoftonline.com/error?code=500011",
        }
        assert scene.told == []

    at_work(work)


def test_a_short_word_of_an_unknown_resource_is_filled_up() -> None:
    async def work() -> None:
        async with Scene("federation") as scene:
            got = await answer(scene, 400, body("invalid_resource", "AADSTS500011: Not found."))
        said = shown(got)
        assert said["error_codes"] == [500011]
        # 2024-03-07 11:06:37 UTC is when it was asked.
        assert said["timestamp"] == "2024-03-07 11:06:37Z"

    at_work(work)


@pytest.mark.parametrize(
    "error, said",
    [
        ("unauthorized_client", NO_SUCH),
        ("invalid_client", "AADSTS700213: No matching federated identity record found."),
        ("invalid_request", ""),
    ],
)
@pytest.mark.parametrize("status", [400, 401])
def test_what_entra_says_is_handed_on(status: int, error: str, said: str) -> None:
    async def work() -> None:
        async with Scene("federation") as scene:
            got = await answer(scene, status, body(error, said, error_codes=[1], more={"a": "b"}))
        assert isinstance(got, Failed)
        assert got.key == "entra_refused"
        assert shown(got) == {"error": error, "error_description": said}
        assert scene.told == []

    at_work(work)


@pytest.mark.parametrize(
    "status, said",
    [
        (500, body("server_error", "AADSTS90000: sorry")),
        (503, {}),
        (503, b"<html>Service unavailable</html>"),
        (429, body("too_many_requests", "slow down")),
        (400, body("temporarily_unavailable", "try again")),
        (400, b"not JSON"),
        (400, []),
        (400, {"error": {"code": 7}}),
        (404, {}),
        (200, {"token_type": "Bearer"}),
    ],
)
def test_what_no_guest_could_use_is_azures_500_and_told_to_the_operator(
    status: int, said: object
) -> None:
    async def work() -> None:
        async with Scene("federation") as scene:
            assert await answer(scene, status, said) == Failed("server_error")
        (told,) = scene.told
        assert told.startswith("no token of Entra for web-1, https://vault.azure.net: ")
        assert not told.endswith(".")

    at_work(work)


def test_a_network_that_is_broken_is_told_and_tried_once() -> None:
    def fall() -> None:
        raise requests.exceptions.ConnectionError("name or service not known")

    async def work() -> None:
        async with Scene("federation") as scene:
            scene.directory.falls = fall
            assert await scene.entra.token(NEED, NOW_S) == Failed("server_error")
        (told,) = scene.told
        assert "name or service not known" in told
        assert len(scene.directory.asked) == 1

    at_work(work)


def test_an_answer_that_takes_too_long_is_not_waited_for() -> None:
    async def work() -> None:
        async with Scene("federation", timeout_s=0.01) as scene:
            gate = threading.Event()
            scene.directory.falls = lambda: gate.wait(TOO_LONG_S)
            try:
                assert await scene.entra.token(NEED, NOW_S) == Failed("server_error")
            finally:
                gate.set()
        (told,) = scene.told
        assert told.endswith(": no answer within 0.01 s")

    at_work(work)


def test_the_operator_is_told_once_a_minute_and_of_how_many_before() -> None:
    async def work() -> None:
        async with Scene("federation") as scene:
            for later_s in (0, 1, QUIET_S - 1):
                await answer(scene, 503, {}, NOW_S + later_s)
            assert len(scene.told) == 1
            await answer(scene, 503, {}, NOW_S + QUIET_S)
            assert [one.endswith("(2 failures before it were not told)") for one in scene.told] == [
                False,
                True,
            ]
            await answer(scene, 503, {}, NOW_S + 2 * QUIET_S)
            assert "before it" not in scene.told[2]

    at_work(work)


def test_a_key_that_cannot_be_written_is_told() -> None:
    def sign(_claims: Mapping[str, object], _now_s: float) -> str:
        raise KeyFileError("keys: the disk is full")

    async def work() -> None:
        async with Scene("federation", sign=sign) as scene:
            assert await scene.entra.token(NEED, NOW_S) == Failed("server_error")
        (told,) = scene.told
        assert told.endswith("KeyFileError: keys: the disk is full")

    at_work(work)


def test_who_asks_after_the_end_gets_an_answer() -> None:
    async def work() -> None:
        async with Scene("federation") as scene:
            pass
        assert await scene.entra.token(NEED, NOW_S) == Failed("server_error")

    at_work(work)


def test_no_secret_and_no_token_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (
        ("AZURE_TENANT_ID", NEED.identity.tenant_id),
        ("AZURE_CLIENT_ID", NEED.identity.client_id),
        ("AZURE_CLIENT_SECRET", "s3cret~of"),
    ):
        monkeypatch.setenv(name, text)
    token = a_token(nbf=1)

    def fall() -> None:
        raise requests.exceptions.ConnectionError(f"sent s3cret~of and {token} there")

    async def work() -> None:
        async with Scene("service-principal") as scene:
            scene.directory.falls = fall
            await scene.entra.token(replace(NEED, resource="https://a\n\x1b[31m"), NOW_S)
        (told,) = scene.told
        assert "sent *** and *** there" in told
        assert told.isprintable()
        for part in (*token.split("."), "s3cret"):
            assert part not in told

    at_work(work)


def test_what_is_told_is_one_line_and_not_long() -> None:
    assert redacted("a\r\n  b\tc.") == "a b c"
    assert redacted("x" * 501) == "x" * 499 + "…"
    assert redacted("x" * 500) == "x" * 500
    assert redacted("nothing", ["", ""]) == "nothing"
