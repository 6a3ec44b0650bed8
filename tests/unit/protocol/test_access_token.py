"""The selected identity, the claims of its token, and the body."""

import json
import re
from base64 import urlsafe_b64decode
from typing import Any

import pytest
from msgspec.structs import replace

from openimds.facts.clouds import CLOUDS
from openimds.facts.versions import catalog
from openimds.protocol.access_token import TokenSettings, claims, is_resource, issuers, may_claim
from openimds.protocol.handle import Subject, handle, resume
from openimds.protocol.pending import AccessToken, Failed, Pending, PendingToken
from openimds.protocol.request import parse_query
from openimds.protocol.response import Refusal, Response
from openimds.vm.fleet_file import parse_vm
from openimds.vm.identities import principals

NOW_S = 1_709_809_597.5
"""2024-03-07 11:06:37 UTC: when the recorded token (S29) was made, by its own times."""
GROUP = "/subscriptions/s/resourceGroups/g/providers"
APP = f"{GROUP}/Microsoft.ManagedIdentity/userAssignedIdentities/app"
OPS = f"{GROUP}/Microsoft.ManagedIdentity/userAssignedIdentities/ops"
BOTH = {"system": True, "user": [APP]}
VAULT = "https://vault.azure.net"
ARM = "https://management.azure.com/"
LIFE = TokenSettings(86400)


def ask(
    identities: dict[str, Any], more: str = "", resource: str = VAULT, **fields: Any
) -> Response | Refusal | Pending:
    target = f"/metadata/identity/oauth2/token?api-version=2018-02-01&resource={resource}{more}"
    one = parse_vm("web-1", {"identities": identities, **fields})
    asked = parse_query("GET", target.encode(), has_metadata_header=True)
    return handle(asked, Subject(one, catalog()), NOW_S)


def need(identities: dict[str, Any], more: str = "", **fields: Any) -> PendingToken:
    got = ask(identities, more, **fields)
    assert isinstance(got, PendingToken)
    return got


def refused(identities: dict[str, Any], more: str = "", **fields: Any) -> str:
    got = ask(identities, more, **fields)
    assert isinstance(got, Refusal)
    assert got.status == 400
    return got.row.key


def ids(identities: dict[str, Any]) -> dict[str, Any]:
    one = parse_vm("web-1", {"identities": identities})
    return {found.mirid.rpartition("/")[2]: found for found in principals(one)}


@pytest.mark.parametrize(
    "identities, name",
    [(BOTH, "web-1"), ({"system": True}, "web-1"), ({"user": [APP]}, "app")],
)
def test_no_selector_selects_the_system_or_the_only_identity(
    identities: dict[str, Any], name: str
) -> None:
    assert need(identities).identity == ids(identities)[name]


def test_several_identities_without_a_selector_are_ambiguous() -> None:
    assert refused({"user": [APP, OPS]}) == "identity_ambiguous"


def test_a_vm_without_an_identity_has_none() -> None:
    assert refused({}) == "identity_not_found"
    assert refused({}, "&client_id=x") == "identity_not_found"


@pytest.mark.parametrize("name", ["web-1", "app"])
@pytest.mark.parametrize("change", [str, str.upper])
def test_ids_select_in_any_letter_case(name: str, change: Any) -> None:
    one = ids(BOTH)[name]
    assert need(BOTH, f"&client_id={change(one.client_id)}").identity == one
    assert need(BOTH, f"&object_id={change(one.object_id)}").identity == one


@pytest.mark.parametrize("selector", ["msi_res_id", "mi_res_id", "MSI_RES_ID"])
@pytest.mark.parametrize("resource_id", [APP, APP.lower(), APP.replace("/", "%2F")])
def test_a_resource_id_selects_a_user_assigned_identity(selector: str, resource_id: str) -> None:
    assert need(BOTH, f"&{selector}={resource_id}").identity == ids(BOTH)["app"]


def test_the_vm_itself_is_no_user_assigned_identity() -> None:
    own = ids(BOTH)["web-1"].mirid
    assert refused(BOTH, f"&msi_res_id={own}") == "identity_not_found"


def test_an_unknown_id_is_not_found() -> None:
    assert refused(BOTH, "&client_id=00000000-0000-0000-0000-000000000000") == "identity_not_found"


def test_selectors_exclude_each_other_and_an_empty_one_is_none() -> None:
    app = ids(BOTH)["app"]
    pair = f"&client_id={app.client_id}&object_id={app.object_id}"
    assert refused(BOTH, pair) == "selectors_exclude"
    assert need(BOTH, f"&object_id={app.object_id}&client_id=").identity == app


@pytest.mark.parametrize(
    "resource",
    [
        "https://management.azure.com",
        "https://management.azure.com/",
        "api://6277b885-20b1-43ba-81a2-ee4e94e7c0af",
        "urn:example:thing",
        "ms-appx-web://example",
        "6277b885-20b1-43ba-81a2-ee4e94e7c0af",
        "6277B885-20B1-43BA-81A2-EE4E94E7C0AF",
        "6277b885-20b1-43ba-81a2-ee4e94e7c0af/",
    ],
)
def test_a_resource_is_echoed_and_is_the_audience(resource: str) -> None:
    got = need(BOTH, resource=resource)
    assert got.resource == resource
    assert claims(got, LIFE, NOW_S)["aud"] == resource


@pytest.mark.parametrize(
    "resource", ["foo", "https://", "a b:c", "1a:b", "é:b", "6277b885", "https://" + "a" * 600]
)
def test_an_impossible_resource_is_refused_as_entra_does(resource: str) -> None:
    assert not is_resource(resource)
    got = ask(BOTH, resource=resource.replace(" ", "%20").replace("é", "%C3%A9"))
    assert isinstance(got, Refusal)
    body = json.loads(got.body)
    assert body["error"] == "invalid_resource"
    assert body["error_codes"] == [500011]
    assert body["error_description"].startswith(
        f"AADSTS500011: The resource principal named {resource} was not found in the tenant named "
        "OpenIMDS. "
    )
    assert body["error_description"].endswith(
        f"\r\nTrace ID: {body['trace_id']}\r\nCorrelation ID: {body['correlation_id']}"
        "\r\nTimestamp: 2024-03-07 11:06:37Z"
    )
    assert body["error_uri"] == "https://westeurope.login.microsoft.com/error?code=500011"
    assert body["timestamp"] == "2024-03-07 11:06:37Z"
    assert body["trace_id"] != body["correlation_id"]
    assert got.until_s == 1_709_809_598, "another second has another time"


def test_only_true_bypasses_the_cache() -> None:
    asked = {
        word: need(BOTH, f"&bypass_cache={word}").is_once for word in ("true", "True", "1", "")
    }
    assert asked == {"true": True, "True": True, "1": False, "": False}


def test_a_system_assigned_identity_has_its_claims() -> None:
    one = ids(BOTH)["web-1"]
    values = claims(need(BOTH), LIFE, NOW_S)
    made = 1_709_809_597
    opaque = {name: values[name] for name in ("aio", "rh", "uti", "xms_ftd", "xms_rd")}
    assert all(isinstance(text, str) and len(text) > 20 for text in opaque.values())
    assert list(values.items()) == [
        ("aud", VAULT),
        ("iss", f"https://sts.windows.net/{one.tenant_id}/"),
        ("iat", made - 300),
        ("nbf", made - 300),
        ("exp", made + 86400),
        ("aio", opaque["aio"]),
        ("appid", one.client_id),
        ("appidacr", "2"),
        ("idp", f"https://sts.windows.net/{one.tenant_id}/"),
        ("idtyp", "app"),
        ("oid", one.object_id),
        ("rh", opaque["rh"]),
        ("sub", one.object_id),
        ("tid", one.tenant_id),
        ("uti", opaque["uti"]),
        ("ver", "1.0"),
        ("xms_act_fct", "3 9"),
        ("xms_ftd", opaque["xms_ftd"]),
        ("xms_idrel", values["xms_idrel"]),
        ("xms_mirid", one.mirid),
        ("xms_rd", opaque["xms_rd"]),
        ("xms_sub_fct", "3 9"),
    ]
    assert re.fullmatch(r"7 (?:[2468]|[12][02468]|30)", str(values["xms_idrel"]))


@pytest.mark.parametrize("resource, has_date, aio", [(ARM, True, 140), (VAULT, False, 32)])
def test_token_has_the_recorded_claims_in_their_order(
    resource: str, *, has_date: bool, aio: int
) -> None:
    """S84: a token of Azure Resource Manager, 2025-11, and the lengths of its opaque values."""
    values = claims(need(BOTH, resource=resource), LIFE, NOW_S)
    recorded = [
        "aud",
        "iss",
        "iat",
        "nbf",
        "exp",
        "aio",
        "appid",
        "appidacr",
        "idp",
        "idtyp",
        "oid",
        "rh",
        "sub",
        "tid",
        "uti",
        "ver",
        "xms_act_fct",
        "xms_ftd",
        "xms_idrel",
        "xms_mirid",
        "xms_rd",
        "xms_sub_fct",
        "xms_tcdt",
    ]
    assert [*values] == (recorded if has_date else recorded[:-1])
    lengths = {name: len(str(values[name])) for name in ("aio", "rh", "uti", "xms_rd")}
    assert lengths == {"aio": aio, "rh": 55, "uti": 22, "xms_rd": 68}
    assert str(values["rh"]).startswith("1.A")
    ftd = str(values["xms_ftd"])
    assert urlsafe_b64decode(ftd + "=" * (-len(ftd) % 4)).endswith(b"\x01westeurope-dsms")


@pytest.mark.parametrize(
    "text, is_fit",
    [
        ('{"xms_az_nwperimid":{"essential":false}}', True),
        ("{}", True),
        ("", True),
        ('{"access_token":{}}', False),
        ('["xms_az_nwperimid"]', False),
        ("{", False),
        ("[" * 5000, False),
        ("\udce9", False),
    ],
)
def test_only_the_known_claims_may_be_asked_for(text: str, *, is_fit: bool) -> None:
    target = b"/metadata/identity/oauth2/token"
    query = parse_query("GET", target)
    assert may_claim(replace(query, parameters={"claims": text})) is is_fit


def test_unknown_claims_are_refused() -> None:
    got = ask(BOTH, "&claims=%7B%22access_token%22%3A1%7D")
    assert isinstance(got, Refusal)
    assert (got.status, got.row.key) == (400, "claims_unsupported")
    assert not isinstance(ask(BOTH, "&claims=%7B%22xms_az_nwperimid%22%3A1%7D"), Refusal)


def test_a_user_assigned_identity_names_the_vm_that_uses_it() -> None:
    values = claims(need({"user": [APP]}), LIFE, NOW_S)
    app = APP.replace("resourceGroups", "resourcegroups")
    assert values["xms_mirid"] == app
    assert str(values["xms_az_rid"]).endswith("/virtualMachines/web-1")
    assert "/resourcegroups/" in str(values["xms_az_rid"])


def with_own(**detail: Any) -> PendingToken:
    return need({"system": True, "details": {"system": detail}})


def test_own_claims_stand_in_the_order_of_entra() -> None:
    plain = claims(need({"system": True}), LIFE, NOW_S)
    groups = ["33333333-3333-4333-8333-333333333333"]
    pending = with_own(roles=["Task.Read.All"], groups=groups, claims={"xms_az_rid": "/s", "b": 1})
    values = claims(pending, LIFE, NOW_S)
    assert values.items() >= plain.items()
    assert values.keys() - plain.keys() == {"roles", "groups", "xms_az_rid", "b"}
    assert [*values][:5] == ["aud", "iss", "iat", "nbf", "exp"]
    assert [*values][5:] == sorted([*values][5:])


def test_overage_of_groups_names_their_source_alone() -> None:
    values = claims(with_own(groups=[f"g{number}" for number in range(201)]), LIFE, NOW_S)
    assert values["_claim_names"] == {"groups": "src1"}
    assert values["_claim_sources"] == {
        "src1": {
            "endpoint": f"https://graph.microsoft.com/v1.0/servicePrincipals/{values['oid']}"
            "/getMemberObjects"
        }
    }
    assert "groups" not in values
    assert [*values][5:7] == ["_claim_names", "_claim_sources"]


def test_claims_of_the_protocol_are_replaced_by_the_flag_alone() -> None:
    pending = with_own(claims={"iss": "https://other/", "ver": "9.0", "x": 1})
    values = claims(pending, LIFE, NOW_S)
    assert (values["ver"], values["x"]) == ("1.0", 1)
    assert str(values["iss"]).startswith("https://sts.windows.net/")
    values = claims(pending, TokenSettings(86400, unsafe_claims=True), NOW_S)
    assert (values["iss"], values["ver"], values["x"]) == ("https://other/", "9.0", 1)


def test_opaque_claims_differ_from_token_to_token() -> None:
    one = need(BOTH)
    first, second = claims(one, LIFE, NOW_S), claims(one, LIFE, NOW_S + 0.001)
    assert first["uti"] != second["uti"]
    assert first["aio"] != second["aio"]
    assert first["rh"] == second["rh"]


def test_chosen_resources_get_tokens_of_version_2() -> None:
    guid = "6277b885-20b1-43ba-81a2-ee4e94e7c0af"
    terms = TokenSettings(3600, v2=frozenset({f"api://{guid}"}))
    values = claims(need(BOTH, resource=f"api://{guid}/"), terms, NOW_S)
    tenant = values["tid"]
    assert values["iss"] == f"https://login.microsoftonline.com/{tenant}/v2.0"
    assert values["ver"] == "2.0"
    assert values["aud"] == guid
    assert values["azp"] == ids(BOTH)["web-1"].client_id
    assert not {"appid", "appidacr", "idp"} & values.keys()
    assert values["exp"] == 1_709_809_597 + 3600


@pytest.mark.parametrize("cloud", CLOUDS)
def test_every_cloud_has_its_issuers_unless_one_is_set(cloud: str) -> None:
    v1, v2 = issuers("t", cloud)
    assert v1 == f"{CLOUDS[cloud].issuer}/t/"
    assert v2 == f"{CLOUDS[cloud].issuer_v2}/t/v2.0"
    ours = "http://127.0.0.1:8171"
    assert issuers("t", cloud, ours) == (f"{ours}/t/", f"{ours}/t/v2.0")


def test_the_body_is_the_recorded_one_to_the_byte() -> None:
    """S29, 2024-03-07: 82 seconds after the token was made, with its own token put in."""
    details = {"system": {"clientId": "0d46c104-a85f-49e2-9c96-ae58c6fa927b"}}
    one = need({"system": True, "details": details})
    token = AccessToken("<jwt>", 1_709_809_297, 1_709_895_997, 86400)
    asked = parse_query("GET", b"/metadata/identity/oauth2/token", has_metadata_header=True)
    got = resume(asked, one, token, 1_709_809_679.9)
    assert isinstance(got, Response)
    assert got.body == (
        b'{"access_token":"<jwt>","client_id":"0d46c104-a85f-49e2-9c96-ae58c6fa927b",'
        b'"expires_in":"86317","expires_on":"1709895997","ext_expires_in":"86399",'
        b'"not_before":"1709809297","resource":"https://vault.azure.net","token_type":"Bearer"}'
    )
    assert got.until_s == 1_709_809_680


@pytest.mark.parametrize(
    "late_s, left",
    [(0, "86400"), (0.9, "86400"), (1, "86398"), (86399, "0"), (86400, "0"), (90000, "0")],
)
def test_expires_in_counts_down_to_zero(late_s: float, left: str) -> None:
    token = AccessToken("x", 0, 86400, 86400)
    asked = parse_query("GET", b"/metadata/identity/oauth2/token")
    got = resume(asked, need(BOTH), token, late_s)
    assert json.loads(got.body)["expires_in"] == left


def test_a_failure_is_a_row_with_its_blanks() -> None:
    asked = parse_query("GET", b"/metadata/identity/oauth2/token")
    failed = Failed(
        "entra_refused", {"error": "unauthorized_client", "description": "AADSTS700016"}
    )
    got = resume(asked, need(BOTH), failed, 5)
    assert (got.status, got.body) == (
        400,
        b'{"error":"unauthorized_client","error_description":"AADSTS700016"}',
    )
    assert got.until_s == 5, "it is not kept"


def test_info_is_the_tenant_of_the_system_assigned_identity() -> None:
    def info(identities: dict[str, Any]) -> Response | Refusal | Pending:
        asked = parse_query(
            "GET", b"/metadata/identity/info?api-version=2018-02-01", has_metadata_header=True
        )
        return handle(asked, Subject(parse_vm("a", {"identities": identities}), catalog()), NOW_S)

    tenant = "abd8daee-d393-4239-9377-883adda3d40f"
    got = info({"system": True, "tenantId": tenant})
    assert isinstance(got, Response)
    assert got.body == b'{"tenantId":"abd8daee-d393-4239-9377-883adda3d40f"}'
    for none in ({}, {"user": [APP]}):
        refusal = info(none)
        assert isinstance(refusal, Refusal)
        assert refusal.row.key == "identity_not_found"


def test_expires_in_is_never_more_than_a_whole_life() -> None:
    token = AccessToken("x", 0, 3600, 3600)
    asked = parse_query("GET", b"/metadata/identity/oauth2/token")
    body = json.loads(resume(asked, need(BOTH), token, -5000).body)
    assert (body["expires_in"], body["ext_expires_in"]) == ("3600", "3599")


def test_the_hash_of_a_refused_token_is_passed_on() -> None:
    wanted = need(BOTH, "&token_sha256_to_refresh=ABC")
    assert (wanted.outdated, wanted.is_once) == ("abc", True)


def test_a_guests_text_is_no_template() -> None:
    got = ask(BOTH, resource="%7Btenant%7D%7Bat%7D")
    assert isinstance(got, Refusal)
    assert (
        "resource principal named {tenant}{at} was not found"
        in json.loads(got.body)["error_description"]
    )


def test_unknown_resource_in_another_cloud_names_its_host() -> None:
    got = ask(BOTH, resource="foo", cloud="AzureUSGovernmentCloud")
    assert isinstance(got, Refusal)
    uri = json.loads(got.body)["error_uri"]
    assert uri == "https://login.microsoftonline.us/error?code=500011"
