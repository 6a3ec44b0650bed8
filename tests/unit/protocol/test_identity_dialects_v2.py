"""Version 2 of managed identities, and the variables of every token route."""

import json
from base64 import b64encode

import pytest

from openimds.facts.protocols import TOKEN_ROUTES
from openimds.protocol import identity_dialects
from openimds.protocol.handle import resume
from openimds.protocol.pending import (
    Certificate,
    PendingCertificate,
)
from openimds.protocol.response import Response
from tests.unit.protocol.queries import (
    ISSUE,
    NOW_S,
    PLATFORM,
    SHELL,
    USER,
    Asked,
)


def test_platform_metadata_is_the_vm_and_its_identity() -> None:
    asked = Asked(PLATFORM, fields={"compute": {"vmId": "9a1c6f0e-6c3f-4b40-a2a1-3f9ef4b4a9a5"}})
    assert isinstance(asked.reply, Response)
    body = json.loads(asked.reply.body)
    one = Asked(SHELL).need.identity
    assert body == {
        "cuId": {"vmId": "9a1c6f0e-6c3f-4b40-a2a1-3f9ef4b4a9a5"},
        "clientId": one.client_id,
        "tenantId": one.tenant_id,
        "attestationEndpoint": "",
    }


def test_instances_of_a_scale_set_share_its_id() -> None:
    ids = []
    for name in ("web", "WEB", "db"):
        asked = Asked(PLATFORM, fields={"compute": {"vmScaleSetName": name}})
        assert isinstance(asked.reply, Response)
        ids.append(json.loads(asked.reply.body)["cuId"]["vmssId"])
    assert ids[0] == ids[1] != ids[2]


def wanted(**fields: object) -> Asked:
    return Asked(ISSUE, method="POST", body=json.dumps(fields).encode())


def test_a_certificate_is_for_the_key_in_the_request() -> None:
    asked = wanted(csr=b64encode(b"der").decode(), attestation_token="t")
    need = asked.reply
    assert isinstance(need, PendingCertificate)
    assert (need.csr, need.is_once) == (b"der", True)
    got = resume(asked.query, need, Certificate("MII"), NOW_S)
    assert json.loads(got.body) == {
        "client_id": need.identity.client_id,
        "tenant_id": need.identity.tenant_id,
        "certificate": "MII",
        "identity_type": "SystemAssigned",
        "mtls_authentication_endpoint": "https://westeurope.mtlsauth.microsoft.com",
    }


def test_a_request_without_attestation_is_refused() -> None:
    assert wanted(csr="ZGVy").refused.body == (
        b'{"error":"invalid_request","error_description":"Attestation Token is missing / empty in '
        b'the issue credential request"}'
    )


@pytest.mark.parametrize("body", [b"", b".", b"[" * 60000, b'{"csr": "%%%"}', b'{"csr": 1}', b"{}"])
def test_a_malformed_request_is_refused(body: bytes) -> None:
    assert Asked(ISSUE, method="POST", body=body).refused.row.key == "request_malformed"


@pytest.mark.parametrize("target, method", [(PLATFORM, "GET"), (ISSUE, "POST")])
def test_a_vm_without_identity_has_no_version_2(target: str, method: str) -> None:
    assert Asked(target, method=method, identities={}).refused.row.key == "identity_not_found"


@pytest.mark.parametrize(
    "version, words",
    [
        ("", "Required query variable 'cred-api-version' is missing"),
        ("?cred-api-version=1.0", "Unsupported query variables"),
    ],
)
def test_version_2_is_the_only_version(version: str, words: str) -> None:
    refused = Asked(f"/metadata/identity/getplatformmetadata{version}").refused
    assert refused.status == 400
    assert json.loads(refused.body) == {"error": "invalid_request", "error_description": words}


@pytest.mark.parametrize("name", ["msi_res_id", "mi_res_id"])
def test_platform_metadata_has_no_resource_id(name: str) -> None:
    refused = Asked(f"{PLATFORM}&{name}=/subscriptions/s").refused
    assert (refused.status, refused.row.key) == (400, "variables_unsupported")
    assert json.loads(refused.body) == {
        "error": "invalid_request",
        "error_description": "Unsupported query variables",
    }


def test_a_user_assigned_identity_is_named_so() -> None:
    asked = Asked(
        ISSUE, method="POST", body=b'{"csr":"ZGVy","attestation_token":"t"}', identities=USER
    )
    assert isinstance(asked.reply, PendingCertificate)
    got = resume(asked.query, asked.reply, Certificate("MII"), NOW_S)
    assert json.loads(got.body)["identity_type"] == "UserAssigned"


# The variables.


def test_the_variables_lead_to_the_url_with_the_secret() -> None:
    assert identity_dialects.variables("app-service", "http://h:1/", "s") == {
        "IDENTITY_ENDPOINT": "http://h:1/msi/token",
        "IDENTITY_HEADER": "s",
    }
    assert identity_dialects.variables("arc", "http://h:1") == {
        "IDENTITY_ENDPOINT": "http://h:1/arc/metadata/identity/oauth2/token",
        "IMDS_ENDPOINT": "http://h:1/arc",
    }
    assert {key for key, way in TOKEN_ROUTES.items() if way.has_secret} == {
        "app-service",
        "functions-2017",
        "azure-ml",
    }
