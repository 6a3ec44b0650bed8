"""The other ways to a token, and the certificate of version 2, without any server."""

import json
from base64 import b64encode
from typing import Any

import pytest

from openimds.core import protocols
from openimds.core.answer import answer, finish, subject
from openimds.core.need import (
    Certificate,
    Challenge,
    Failed,
    Need,
    NeedsCertificate,
    NeedsChallenge,
    NeedsToken,
    Token,
)
from openimds.core.request import query
from openimds.core.said import Answer, Refusal
from openimds.model.fleet import vm
from openimds.spec.endpoints import ENDPOINTS
from openimds.spec.protocols import WAYS
from openimds.spec.versions import catalog

NOW_S = 1_579_152_251.5
"""2020-01-16 05:24:11 UTC."""
ENDS_S = 1_579_152_252
SECRET = "s3cret"
ALL = frozenset({"arc_folder", "msi_v2"})
APP = (
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity"
    "/userAssignedIdentities/app"
)
SYSTEM: dict[str, Any] = {"system": True}
USER: dict[str, Any] = {"user": [APP]}
IDENTITY, MSI_SECRET = ("x-identity-header", SECRET), ("secret", SECRET)
VAULT = "resource=https://vault.azure.net"
NEW, OLD = (
    f"/msi/token?{VAULT}&api-version=2019-08-01",
    f"/msi/token?{VAULT}&api-version=2017-09-01",
)
ML = f"/msi/ml/token?{VAULT}&api-version=2017-09-01"
ARC = f"/arc/metadata/identity/oauth2/token?{VAULT}&api-version=2020-06-01"
SHELL = f"/oauth2/token?{VAULT}"
PLATFORM = "/metadata/identity/getplatformmetadata?cred-api-version=2.0"
ISSUE = "/metadata/identity/issuecredential?cred-api-version=2.0"


class Asked:
    """One question and what was said to it."""

    def __init__(
        self, target: str, *credentials: tuple[str, str], metadata: bool = True, **more: Any
    ) -> None:
        one = vm("web-1", {"identities": more.pop("identities", SYSTEM), **more.pop("said", {})})
        secret = more.pop("secret", SECRET)
        more = {"method": "GET", "extras": ALL, **more}
        self.query = query(
            target=target.encode(), credentials=credentials, has_metadata_header=metadata, **more
        )
        self.said: Answer | Refusal | Need = answer(
            self.query, subject(one, catalog(), secret), NOW_S
        )

    @property
    def refused(self) -> Refusal:
        assert isinstance(self.said, Refusal), self.said
        return self.said

    @property
    def need(self) -> NeedsToken:
        assert isinstance(self.said, NeedsToken), self.said
        return self.said

    def body(self) -> dict[str, Any]:
        made = Token("eyJ", 1_579_065_552, ENDS_S, 86400)
        got = finish(self.query, self.need, made, NOW_S)
        assert isinstance(got, Answer)
        said: dict[str, Any] = json.loads(got.body)
        return said


def app_service(**more: Any) -> Asked:
    return Asked(NEW + more.pop("more", ""), IDENTITY, metadata=False, **more)


# App Service and Functions.


def test_app_service_says_what_is_documented() -> None:
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
def test_its_old_version_writes_a_date(at_s: int, text: str) -> None:
    asked = Asked(OLD, MSI_SECRET, metadata=False)
    got = finish(asked.query, asked.need, Token("eyJ", 0, at_s, 1), NOW_S)
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
def test_only_the_secret_opens(
    target: str, header: tuple[str, str] | None, key: str, *, metadata: bool
) -> None:
    asked = Asked(target, *([header] if header else []), metadata=metadata)
    assert asked.refused.problem.key == key


def test_a_right_secret_beside_a_wrong_one_does_not_open() -> None:
    asked = Asked(NEW, IDENTITY, ("x-identity-header", "x"), metadata=False)
    assert asked.refused.problem.key == "secret_wrong"


def test_where_there_is_no_secret_none_is_right() -> None:
    asked = Asked(NEW, ("x-identity-header", ""), metadata=False, secret="")
    assert asked.refused.problem.key == "secret_wrong"


def test_a_proxy_is_refused_there_too() -> None:
    assert app_service(is_forwarded=True).refused.problem.key == "forwarded"


@pytest.mark.parametrize("name", ["client_id", "principal_id", "object_id", "mi_res_id"])
def test_app_service_chooses_by_its_own_names(name: str) -> None:
    both = {**SYSTEM, **USER}
    meant = Asked(SHELL, identities=USER).need.identity
    value = {"client_id": meant.client_id, "mi_res_id": APP.upper()}.get(name, meant.object_id)
    assert app_service(identities=both, more=f"&{name}={value}").need.identity == meant


def test_the_old_version_knows_clientid_alone() -> None:
    meant = Asked(SHELL, identities=USER).need.identity
    both = {**SYSTEM, **USER}
    for name, is_system in (("clientid", False), ("client_id", True)):
        target = f"{OLD}&{name}={meant.client_id}"
        found = Asked(target, MSI_SECRET, identities=both).need.identity
        assert found.is_system == is_system


def test_app_service_never_guesses_a_user_assigned_identity() -> None:
    refused = app_service(identities=USER).refused
    assert refused.status == 400
    assert refused.body == (
        b'{"statusCode":400,"message":"No User Assigned or Delegated Managed Identity found for '
        b'specified ClientId/ResourceId/PrincipalId."}'
    )


def test_two_selectors_exclude_each_other() -> None:
    refused = app_service(more="&client_id=a&object_id=b").refused
    assert refused.problem.key == "selectors_exclude"


def test_an_unknown_resource_is_the_recorded_500() -> None:
    target = "/msi/token?resource=1&api-version=2019-08-01"
    refused = Asked(target, IDENTITY).refused
    said = json.loads(refused.body)
    assert refused.status == 500
    assert said.pop("correlationId")
    assert said == {
        "statusCode": 500,
        "message": "An unexpected error occured while fetching the AAD Token.",
    }


def test_an_unknown_version_is_refused_in_the_framework_s_words() -> None:
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


def test_without_a_resource_there_is_no_token() -> None:
    refused = Asked("/msi/token?api-version=2019-08-01", IDENTITY).refused
    assert refused.problem.key == "resource_missing"


def test_what_cannot_be_made_is_said_in_its_words() -> None:
    asked = app_service()
    got = finish(asked.query, asked.need, Failed("server_error"), NOW_S)
    assert json.loads(got.body)["statusCode"] == got.status == 500


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


def test_a_form_counts_with_the_query() -> None:
    asked = Asked(SHELL, method="POST", body=b"resource=x")
    assert asked.refused.problem.key == "duplicate_parameter"


def test_a_body_is_no_form_elsewhere() -> None:
    asked = query("GET", b"/metadata/instance?api-version=2021-02-01", body=b"format=text")
    assert asked.parameters == {"api-version": "2021-02-01"}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_cloud_shell_wants_the_metadata_header(method: str) -> None:
    refused = Asked(SHELL, metadata=False, method=method).refused
    assert refused.problem.key == "header_missing"
    assert refused.problem.category == "cloud_shell"


def test_cloud_shell_names_the_audience_that_it_does_not_know() -> None:
    assert json.loads(Asked("/oauth2/token?resource=user.read").refused.body) == {
        "error": {
            "code": "AudienceNotSupported",
            "message": "Audience user.read is not a supported MSI token audience.",
        }
    }


# Azure Arc.


def test_arc_asks_for_a_proof_first() -> None:
    asked = Asked(ARC)
    assert asked.said == NeedsChallenge("web-1")
    assert asked.said.is_once
    got = finish(asked.query, asked.said, Challenge("/var/x.key"), NOW_S)
    assert got.status == 401
    assert got.headers == (("WWW-Authenticate", "Basic realm=/var/x.key"),)
    assert got.until_s <= NOW_S


@pytest.mark.parametrize("scheme", ["Basic", "basic"])
def test_arc_hands_on_the_proof(scheme: str) -> None:
    need = Asked(ARC, ("authorization", f"{scheme} abc")).need
    assert (need.proof, need.is_once) == ("abc", True)


@pytest.mark.parametrize(
    "given",
    [
        [("authorization", "Bearer abc")],
        [("authorization", "Basic a"), ("authorization", "Basic b")],
        [("secret", "Basic a")],
    ],
)
def test_arc_asks_again_where_there_is_no_proof(given: list[tuple[str, str]]) -> None:
    assert isinstance(Asked(ARC, *given).said, NeedsChallenge)


def test_a_proof_says_nothing_at_imds_s_own_path() -> None:
    target = f"/metadata/identity/oauth2/token?api-version=2018-02-01&{VAULT}"
    need = Asked(target, ("authorization", "Basic abc")).need
    assert (need.proof, need.is_once) == ("", False)


@pytest.mark.parametrize("identities, names", [(SYSTEM, set()), (USER, {"msi_res_id"})])
def test_arc_confirms_the_identity_that_was_chosen(
    identities: dict[str, Any], names: set[str]
) -> None:
    target = ARC + (f"&msi_res_id={APP}" if names else "")
    body = Asked(target, ("authorization", "Basic abc"), identities=identities).body()
    assert body.keys() & {"client_id", "object_id", "msi_res_id"} == (
        {"client_id", "object_id", "msi_res_id"} if names else set()
    )
    assert body.get("msi_res_id", APP).lower() == APP.lower()


def test_arc_ignores_the_name_that_the_agent_ignores() -> None:
    target = f"{ARC}&mi_res_id={APP}"
    need = Asked(target, ("authorization", "Basic abc"), identities={**SYSTEM, **USER}).need
    assert need.identity.is_system


def test_arc_refuses_an_identity_that_is_not_there_before_it_asks() -> None:
    refused = Asked(f"{ARC}&client_id=x").refused
    assert (refused.status, refused.problem.category) == (404, "arc")


def test_arc_tells_its_own_versions() -> None:
    path = "/arc/metadata/identity/oauth2/token"
    refused = Asked(f"{path}?{VAULT}&api-version=2018-02-01").refused
    assert json.loads(refused.body)["newest-versions"] == [
        "2021-02-01",
        "2020-06-01",
        "2019-11-01",
        "2019-08-15",
    ]


@pytest.mark.parametrize("path", [row.path for row in ENDPOINTS if row.setting])
def test_without_its_setting_a_path_is_any_unknown_path(path: str) -> None:
    asked = query("GET", path.encode(), has_metadata_header=True)
    root = path.rpartition("/")[0]
    other = query("GET", f"{root}/xyz".encode(), has_metadata_header=True)
    assert asked.endpoint is other.endpoint is None
    assert asked.category == other.category
    assert query("GET", path.encode(), extras=ALL).endpoint is not None


@pytest.mark.parametrize("path", ["/msi", "/msi/x", "/oauth2/v2.0", "/arc/x"])
def test_paths_beside_them_stay_unknown(path: str) -> None:
    assert query("GET", path.encode(), extras=ALL).category.key == "general"


# Version 2.


def test_the_platform_is_the_vm_and_its_identity() -> None:
    asked = Asked(PLATFORM, said={"compute": {"vmId": "9a1c6f0e-6c3f-4b40-a2a1-3f9ef4b4a9a5"}})
    assert isinstance(asked.said, Answer)
    said = json.loads(asked.said.body)
    one = Asked(SHELL).need.identity
    assert said == {
        "cuId": {"vmId": "9a1c6f0e-6c3f-4b40-a2a1-3f9ef4b4a9a5"},
        "clientId": one.client_id,
        "tenantId": one.tenant_id,
        "attestationEndpoint": "",
    }


def test_instances_of_a_scale_set_share_its_id() -> None:
    ids = []
    for name in ("web", "WEB", "db"):
        asked = Asked(PLATFORM, said={"compute": {"vmScaleSetName": name}})
        assert isinstance(asked.said, Answer)
        ids.append(json.loads(asked.said.body)["cuId"]["vmssId"])
    assert ids[0] == ids[1] != ids[2]


def wanted(**said: object) -> Asked:
    return Asked(ISSUE, method="POST", body=json.dumps(said).encode())


def test_a_certificate_is_made_for_the_key_in_the_request() -> None:
    asked = wanted(csr=b64encode(b"der").decode(), attestation_token="t")
    need = asked.said
    assert isinstance(need, NeedsCertificate)
    assert (need.csr, need.is_once) == (b"der", True)
    got = finish(asked.query, need, Certificate("MII"), NOW_S)
    assert json.loads(got.body) == {
        "client_id": need.identity.client_id,
        "tenant_id": need.identity.tenant_id,
        "certificate": "MII",
        "identity_type": "SystemAssigned",
        "mtls_authentication_endpoint": "https://westeurope.mtlsauth.microsoft.com",
    }


def test_without_attestation_there_is_none() -> None:
    assert wanted(csr="ZGVy").refused.body == (
        b'{"error":"invalid_request","error_description":"Attestation Token is missing / empty in '
        b'the issue credential request"}'
    )


@pytest.mark.parametrize("body", [b"", b".", b"[" * 60000, b'{"csr": "%%%"}', b'{"csr": 1}', b"{}"])
def test_what_is_no_request_is_refused(body: bytes) -> None:
    assert Asked(ISSUE, method="POST", body=body).refused.problem.key == "request_malformed"


@pytest.mark.parametrize("target, method", [(PLATFORM, "GET"), (ISSUE, "POST")])
def test_version_2_is_an_identity_s(target: str, method: str) -> None:
    assert Asked(target, method=method, identities={}).refused.problem.key == "identity_not_found"


@pytest.mark.parametrize(
    "version, key", [("", "version_missing"), ("?cred-api-version=1.0", "version_unknown")]
)
def test_version_2_is_the_only_one(version: str, key: str) -> None:
    refused = Asked(f"/metadata/identity/getplatformmetadata{version}").refused
    assert refused.problem.key == key
    assert json.loads(refused.body)["newest-versions"] == ["2.0"]


def test_a_user_assigned_identity_is_called_one() -> None:
    asked = Asked(
        ISSUE, method="POST", body=b'{"csr":"ZGVy","attestation_token":"t"}', identities=USER
    )
    assert isinstance(asked.said, NeedsCertificate)
    got = finish(asked.query, asked.said, Certificate("MII"), NOW_S)
    assert json.loads(got.body)["identity_type"] == "UserAssigned"


# The variables.


def test_the_variables_lead_to_the_url_with_the_secret() -> None:
    assert protocols.variables("app-service", "http://h:1/", "s") == {
        "IDENTITY_ENDPOINT": "http://h:1/msi/token",
        "IDENTITY_HEADER": "s",
    }
    assert protocols.variables("arc", "http://h:1") == {
        "IDENTITY_ENDPOINT": "http://h:1/arc/metadata/identity/oauth2/token",
        "IMDS_ENDPOINT": "http://h:1",
    }
    assert {key for key, way in WAYS.items() if way.has_secret} == {
        "app-service",
        "functions-2017",
        "azure-ml",
    }
