"""App Service, Functions, Azure ML and Cloud Shell, without any server."""

import json
from typing import Any
from uuid import UUID

import pytest

from openimds.protocol.handle import resume
from openimds.protocol.pending import (
    AccessToken,
    Failed,
)
from openimds.protocol.request import parse_query
from tests.unit.protocol.queries import (
    APP,
    ENDS_S,
    IDENTITY,
    ML,
    MSI_SECRET,
    NEW,
    NOW_S,
    OLD,
    SECRET,
    SHELL,
    SYSTEM,
    USER,
    VAULT,
    Asked,
    app_service,
)


def test_app_service_has_the_documented_body() -> None:
    asked = app_service()
    assert list(asked.body().items()) == [
        ("access_token", "eyJ"),
        ("expires_on", "1579152252"),
        ("resource", "https://vault.azure.net"),
        ("token_type", "Bearer"),
        ("client_id", asked.need.identity.client_id),
    ]


@pytest.mark.parametrize(
    "at_s, text",
    [
        (ENDS_S, "1/16/2020 5:24:12 AM +00:00"),
        (1_560_999_478 + 1200, "6/20/2019 3:17:58 AM +00:00"),
        (1_577_880_000, "1/1/2020 12:00:00 PM +00:00"),
        (1_577_836_800, "1/1/2020 12:00:00 AM +00:00"),
        (1_577_919_599, "1/1/2020 10:59:59 PM +00:00"),
    ],
)
def test_app_services_old_version_writes_a_date(at_s: int, text: str) -> None:
    asked = Asked(OLD, MSI_SECRET, metadata=False)
    got = resume(asked.query, asked.need, AccessToken("eyJ", 0, at_s, 1), NOW_S)
    assert json.loads(got.body) == {
        "access_token": "eyJ",
        "expires_on": text,
        "resource": "https://vault.azure.net",
        "token_type": "Bearer",
    }


def test_azure_ml_writes_a_number() -> None:
    assert Asked(ML, MSI_SECRET, metadata=False).body()["expires_on"] == ENDS_S


@pytest.mark.parametrize(
    "target, header, key",
    [
        (NEW, None, "header_missing"),
        (NEW, MSI_SECRET, "header_missing"),
        (OLD, IDENTITY, "header_missing"),
        (NEW, ("x-identity-header", "S3CRET"), "secret_wrong"),
        (NEW, ("x-identity-header", ""), "secret_wrong"),
        (NEW, ("x-identity-header", "s3cr\xe9t"), "secret_wrong"),
        (ML, ("secret", SECRET + "1"), "secret_wrong"),
        ("/msi/token", None, "header_missing"),
        ("/msi/token", ("secret", "x"), "secret_wrong"),
    ],
)
@pytest.mark.parametrize("metadata", [True, False])
def test_only_the_secret_is_accepted(
    target: str, header: tuple[str, str] | None, key: str, *, metadata: bool
) -> None:
    asked = Asked(target, *([header] if header else []), metadata=metadata)
    assert asked.refused.row.key == key


def test_a_right_secret_beside_a_wrong_one_is_refused() -> None:
    asked = Asked(NEW, IDENTITY, ("x-identity-header", "x"), metadata=False)
    assert asked.refused.row.key == "secret_wrong"


def test_no_secret_is_right_where_none_is_set() -> None:
    asked = Asked(NEW, ("x-identity-header", ""), metadata=False, secret="")
    assert asked.refused.row.key == "secret_wrong"


def test_a_proxy_is_refused_by_app_service() -> None:
    assert app_service(is_forwarded=True).refused.row.key == "forwarded"


@pytest.mark.parametrize("name", ["client_id", "principal_id", "object_id", "mi_res_id"])
def test_app_service_has_its_own_selectors(name: str) -> None:
    both = {**SYSTEM, **USER}
    meant = Asked(SHELL, identities=USER).need.identity
    value = {"client_id": meant.client_id, "mi_res_id": APP.upper()}.get(name, meant.object_id)
    assert app_service(identities=both, more=f"&{name}={value}").need.identity == meant


def test_the_old_version_has_clientid_alone() -> None:
    meant = Asked(SHELL, identities=USER).need.identity
    both = {**SYSTEM, **USER}
    for name, is_system in (("clientid", False), ("client_id", True)):
        target = f"{OLD}&{name}={meant.client_id}"
        found = Asked(target, MSI_SECRET, identities=both).need.identity
        assert found.is_system == is_system


def test_app_service_never_guesses_a_user_assigned_identity() -> None:
    refused = app_service(identities=USER).refused
    assert refused.status == 400
    body = json.loads(refused.body)
    assert UUID(body.pop("correlationId")).version == 4
    assert body == {"statusCode": 400, "message": "Unable to load the proper Managed Identity."}


def test_app_services_old_version_never_guesses_either() -> None:
    refused = Asked(OLD, MSI_SECRET, metadata=False, identities=USER).refused
    assert json.loads(refused.body)["message"] == "Unable to load requested managed identity."


def test_app_service_refuses_an_unknown_identity() -> None:
    refused = app_service(identities=SYSTEM, more="&client_id=nobody").refused
    assert refused.body.startswith(
        b'{"statusCode":400,"message":"No User Assigned or Delegated Managed Identity found for '
        b'specified ClientId/ResourceId/PrincipalId.","correlationId":"'
    )


@pytest.mark.parametrize("identities, is_system", [(SYSTEM, True), (USER, False)])
def test_old_version_ignores_an_unknown_clientid(
    identities: dict[str, Any], *, is_system: bool
) -> None:
    asked = Asked(f"{OLD}&clientid=nobody", MSI_SECRET, metadata=False, identities=identities)
    if is_system:
        assert asked.need.identity.is_system
    else:
        assert asked.refused.row.key == "identity_not_found"


@pytest.mark.parametrize(
    "target, given, status, body",
    [
        (NEW, None, 403, b""),
        (NEW, ("x-identity-header", "wrong"), 403, b""),
        (OLD, None, 401, b""),
        (OLD, ("secret", "wrong"), 401, b""),
        (ML, None, 401, b"Invalid secret token header: "),
        (ML, ("secret", "wrong"), 401, b"Invalid secret token header: "),
    ],
)
def test_refused_secret_has_the_words_of_its_host(
    target: str, given: tuple[str, str] | None, status: int, body: bytes
) -> None:
    refused = Asked(target, *([given] if given else []), metadata=False).refused
    assert (refused.status, refused.body) == (status, body)


def test_two_selectors_exclude_each_other() -> None:
    refused = app_service(more="&client_id=a&object_id=b").refused
    assert refused.row.key == "selectors_exclude"


def test_an_unknown_resource_is_the_recorded_500() -> None:
    target = "/msi/token?resource=1&api-version=2019-08-01"
    refused = Asked(target, IDENTITY).refused
    body = json.loads(refused.body)
    assert refused.status == 500
    assert body.pop("correlationId")
    assert body == {
        "statusCode": 500,
        "message": "An unexpected error occured while fetching the AAD Token.",
    }


def test_an_unknown_version_has_the_frameworks_body() -> None:
    refused = Asked(f"/msi/token?{VAULT}&api-version=2018-02-01", IDENTITY).refused
    assert refused.status == 400
    assert json.loads(refused.body)["error"] == {
        "code": "UnsupportedApiVersion",
        "message": "The HTTP resource that matches the request URI '/msi/token' does not support "
        "the API version '2018-02-01'.",
        "innerError": None,
    }
    missing = Asked(f"/msi/token?{VAULT}", IDENTITY).refused
    assert json.loads(missing.body)["error"]["code"] == "ApiVersionUnspecified"


def test_a_missing_resource_is_refused() -> None:
    refused = Asked("/msi/token?api-version=2019-08-01", IDENTITY).refused
    assert refused.row.key == "resource_missing"


def test_a_failure_has_the_body_of_the_dialect() -> None:
    asked = app_service()
    got = resume(asked.query, asked.need, Failed("server_error"), NOW_S)
    assert json.loads(got.body)["statusCode"] == got.status == 500


WINDOWS = {"compute": {"osType": "Windows"}}


@pytest.mark.parametrize(
    "target, header, message",
    [
        (NEW, IDENTITY, "Unable to load the proper Managed Identity."),
        (OLD, MSI_SECRET, "Unable to load requested managed identity."),
    ],
)
def test_app_service_on_windows_refuses_in_pascal_case(
    target: str, header: tuple[str, str], message: str
) -> None:
    refused = Asked(target, header, metadata=False, identities=USER, fields=WINDOWS).refused
    body = json.loads(refused.body)
    assert [*body] == ["StatusCode", "Message", "CorrelationId"]
    assert (body["StatusCode"], body["Message"]) == (400, message)
    assert str(UUID(body["CorrelationId"])) == body["CorrelationId"]


@pytest.mark.parametrize("target, status", [(NEW, 403), (OLD, 401)])
def test_missing_secret_on_windows_has_no_body(target: str, status: int) -> None:
    refused = Asked(target, metadata=False, fields=WINDOWS).refused
    assert (refused.status, refused.body, refused.family) == (status, b"", "app_service_bare")


def test_azure_ml_of_a_windows_vm_keeps_its_words() -> None:
    refused = Asked(ML, metadata=False, fields=WINDOWS).refused
    assert refused.body.startswith(b"Invalid secret token header")


# Cloud Shell.


def test_cloud_shell_takes_a_form() -> None:
    asked = Asked("/oauth2/token", method="POST", body=b"resource=https%3A%2F%2Fvault.azure.net")
    assert list(asked.body().items()) == [
        ("access_token", "eyJ"),
        ("refresh_token", ""),
        ("expires_in", "0"),
        ("expires_on", "1579152252"),
        ("not_before", "1579065552"),
        ("resource", "https://vault.azure.net"),
        ("token_type", "Bearer"),
    ]


def test_cloud_shell_takes_a_query_and_falls_back() -> None:
    assert not Asked(SHELL, identities=USER).need.identity.is_system


def test_a_form_adds_to_the_query() -> None:
    asked = Asked(SHELL, method="POST", body=b"resource=x")
    assert asked.refused.row.key == "duplicate_parameter"


def test_a_body_is_no_form_elsewhere() -> None:
    asked = parse_query("GET", b"/metadata/instance?api-version=2021-02-01", body=b"format=text")
    assert asked.parameters == {"api-version": "2021-02-01"}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_cloud_shell_requires_the_metadata_header(method: str) -> None:
    refused = Asked(SHELL, metadata=False, method=method).refused
    assert refused.row.key == "header_missing"
    assert refused.row.category == "cloud_shell"


def test_cloud_shell_names_an_unknown_audience() -> None:
    assert json.loads(Asked("/oauth2/token?resource=user.read").refused.body) == {
        "error": {
            "code": "AudienceNotSupported",
            "message": "Audience user.read is not a supported MSI token audience. Supported "
            "audiences: https://management.core.windows.net/,https://management.azure.com/",
        }
    }
