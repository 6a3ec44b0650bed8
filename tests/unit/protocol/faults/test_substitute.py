"""The replies that replace the true one for a changed VM or region."""

import json
from typing import Any

import pytest

from openimds.facts.faults import STATUSES
from openimds.facts.refusals import refusal_row
from openimds.facts.versions import NEWEST, catalog
from openimds.protocol.faults.fault import Fault
from openimds.protocol.faults.input import read_fault
from openimds.protocol.faults.substitute import Reply, substitute
from openimds.protocol.handle import Subject
from openimds.protocol.pending import Pending, PendingChallenge, PendingDocument, PendingToken
from openimds.protocol.request import Query, parse_query
from openimds.protocol.response import Refusal, Response
from openimds.vm.fleet_file import parse_vm

APP = (
    "/subscriptions/8d7a2b1c-0000-4000-8000-000000000002/resourceGroups/lab/providers"
    "/Microsoft.ManagedIdentity/userAssignedIdentities/app"
)
INSTANCE = "/metadata/instance?api-version=2021-02-01"
TOKEN = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://a"
ATTESTED = "/metadata/attested/document?api-version=2021-02-01"
ARC = "/arc/metadata/identity/oauth2/token?api-version=2020-06-01&resource=https://a"
NOW_S = 1_795_377_286.0
WEB = parse_vm(
    "web", {"compute": {"tags": {"env": "new"}}, "identities": {"system": True, "user": [APP]}}
)


def queried(target: str, method: str = "GET", **more: Any) -> Query:
    options = {"has_metadata_header": True, **more}
    return parse_query(method, target.encode(), **options)


def about_web() -> Subject:
    return Subject(WEB, catalog(NEWEST), "secret")


def substituted(target: str, before: object = None, method: str = "GET", **effect: Any) -> Reply:
    (spec,) = read_fault(effect)
    fault = Fault(spec, "web", 1, parse_vm("web", before) if before else None)
    return substitute(fault, queried(target, method), about_web(), NOW_S)


def refusal(reply: Reply) -> tuple[int, bytes]:
    assert isinstance(reply, Refusal), reply
    return reply.status, reply.body


def body(reply: Reply) -> Any:
    assert isinstance(reply, Response), reply
    return json.loads(reply.body)


def of_kind(reply: Reply, kind: type[Any]) -> Any:
    assert isinstance(reply, kind), reply
    return reply


@pytest.mark.parametrize(
    "target, category",
    [
        (INSTANCE, "general"),
        (TOKEN, "identity"),
        ("/msi/token", "app_service"),
        (ARC, "general"),  # Without its setting there is no such path.
        ("/oauth2/token", "cloud_shell"),
        ("/nowhere", "general"),
    ],
)
@pytest.mark.parametrize("status", STATUSES)
def test_status_has_the_body_of_its_category(target: str, category: str, status: int) -> None:
    row = refusal_row(STATUSES[status].refusal, category)
    found_status, found = refusal(substituted(target, effect="status", status=status))
    assert found_status == status
    before, _, after = row.body.partition("{correlation}")
    assert found.decode().startswith(before)
    assert found.decode().endswith(after)


def test_status_precedes_every_request_check() -> None:
    """A front that reports an update checks nothing, not even the missing header."""
    (spec,) = read_fault({"effect": "status", "status": 410})
    bare = parse_query("PUT", b"/metadata/instance")
    assert refusal(substitute(Fault(spec, "web", 1), bare, about_web(), NOW_S))[0] == 410


def test_429_as_text_is_bare() -> None:
    reply = substituted(f"{INSTANCE}&format=text", effect="status", status=429)
    assert refusal(reply) == (429, b"Too many requests")


def test_load_balancer_body_names_path_and_method() -> None:
    reply = substituted("/metadata/loadbalancer?x", effect="status", status=404)
    text = 'API is not found: Path = \\"/metadata/loadbalancer\\", Method = \\"GET\\"'
    assert refusal(reply) == (404, f'{{"error":"{text}"}}'.encode())


def test_proxy_error_is_plain_text() -> None:
    reply = substituted(TOKEN, effect="proxy-500")
    assert refusal(reply) == (500, b"Internal Server Error")
    assert isinstance(reply, Refusal)
    assert reply.media == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    "target, words",
    [
        (TOKEN, b'"Identity not found"'),
        (f"{TOKEN}&msi_res_id={APP}", b'"Identity not found"'),
        ("/metadata/identity/info?api-version=2018-02-01", b'"Identity not found"'),
        ("/oauth2/token?resource=https://a", b'"IdentityNotFound"'),
    ],
)
def test_missing_identity_is_refused_in_each_protocol(target: str, words: bytes) -> None:
    status, reply = refusal(substituted(target, effect="no-identity"))
    assert status == 400
    assert words in reply


def test_missing_identity_keeps_the_request_checks() -> None:
    target = TOKEN.removesuffix("&resource=https://a")
    assert b"'resource' is missing" in refusal(substituted(target, effect="no-identity"))[1]


def test_forged_token_is_for_the_queried_identity() -> None:
    token: PendingToken = of_kind(
        substituted(f"{TOKEN}&msi_res_id={APP}", effect="forged-token", forgery="unsigned"),
        PendingToken,
    )
    assert token.identity.source == "forge:unsigned"
    assert token.identity.mirid.endswith("/userAssignedIdentities/app")
    other = substituted(f"{TOKEN}&client_id=x", effect="forged-token")
    assert refusal(other)[0] == 400


def test_challenge_precedes_a_forged_token() -> None:
    (spec,) = read_fault({"effect": "forged-token"})
    extras = frozenset({"arc_folder"})
    reply = substitute(Fault(spec, "web", 1), queried(ARC, extras=extras), about_web(), NOW_S)
    assert isinstance(reply, PendingChallenge)


def test_challenge_is_missing_without_a_proof_alone() -> None:
    (spec,) = read_fault({"effect": "missing-challenge"})
    extras = frozenset({"arc_folder"})
    fault = Fault(spec, "web", 1)
    query = queried(ARC, extras=extras)
    reply = substitute(fault, query, about_web(), NOW_S)
    assert refusal(reply) == (401, refusal_row("challenge", "arc").body.encode())
    assert isinstance(reply, Refusal)
    assert reply.headers == ()
    proof = queried(ARC, extras=extras, credentials=(("authorization", "Basic text"),))
    assert isinstance(substitute(fault, proof, about_web(), NOW_S), PendingToken)


def test_old_region_refuses_newer_versions_and_lists_its_own() -> None:
    old: dict[str, Any] = {"effect": "unknown-version", "newest": "2020-10-01"}
    status, reply = refusal(substituted(INSTANCE, **old))
    assert status == 400
    newest = ["2020-10-01", "2020-09-01", "2020-07-15"]
    assert json.loads(reply)["newest-versions"] == newest
    assert body(substituted("/metadata/versions", **old))["apiVersions"][-3:] == newest[::-1]
    assert "compute" in body(substituted("/metadata/instance?api-version=2020-10-01", **old))
    assert isinstance(substituted(TOKEN, **old), PendingToken)


def test_stale_document_is_the_earlier_one() -> None:
    before = {"compute": {"tags": {"env": "old"}}}
    stale: dict[str, Any] = {"effect": "stale-document", "before": before}
    assert body(substituted(INSTANCE, **stale))["compute"]["tags"] == "env:old"
    assert body(substituted(INSTANCE, effect="stale-document"))["compute"]["tags"] == "env:new"


def test_attested_document_takes_the_scenario_after_the_checks() -> None:
    reply = substituted(ATTESTED, effect="attested-document", scenario="new-root")
    document: PendingDocument = of_kind(reply, PendingDocument)
    assert (document.scenario, document.vm) == ("new-root", "web")
    refused = substituted(f"{ATTESTED}&nonce=%20", effect="attested-document")
    assert refusal(refused)[0] == 400


class TestMissingFields:
    def partial(self, target: str, *fields: str, leave: str = "missing") -> Reply:
        return substituted(target, effect="missing-fields", fields=[*fields], leave=leave)

    def test_fields_are_missing_and_all_others_stay(self) -> None:
        whole = body(self.partial(INSTANCE, "network.interface.9.ipv6"))
        token = body(self.partial(INSTANCE, "compute.tags", "network.interface.0.ipv6"))
        del whole["compute"]["tags"], whole["network"]["interface"][0]["ipv6"]
        assert token == whole

    def test_other_fields_stay_to_the_byte(self) -> None:
        reply = self.partial(INSTANCE, "network")
        assert isinstance(reply, Response)
        assert reply.body.startswith(b'{"compute":{"azEnvironment":"AzurePublicCloud","customData"')
        assert b"network" not in reply.body

    @pytest.mark.parametrize(
        "field, left", [("tags", ""), ("tagsList", []), ("osProfile", {}), ("zone", "")]
    )
    def test_fields_are_left_empty(self, field: str, left: object) -> None:
        token = body(self.partial(INSTANCE, f"compute.{field}", leave="empty"))
        assert token["compute"][field] == left

    @pytest.mark.parametrize(
        "route, field, expected",
        [
            ("/compute/tags", "compute.tags", (404, b'{ "error": "Not found" }')),
            ("/network", "network", (404, b'{ "error": "Not found" }')),
            ("/network/interface/9", "compute", (404, b'{ "error": "Not found" }')),
            ("/compute/name", "compute.tags", b"web"),
            ("", "network", b"compute/"),
        ],
    )
    def test_route_leads_through_the_partial_document(
        self, route: str, field: str, expected: object
    ) -> None:
        target = f"/metadata/instance{route}?api-version=2021-02-01&format=text"
        reply = self.partial(target, field)
        assert (reply.body if isinstance(reply, Response) else refusal(reply)) == expected

    def test_extended_query_is_an_error(self) -> None:
        reply = self.partial("/metadata/instance?api-version=2021-08-01&extended=true", "network")
        assert refusal(reply) == (500, b'{ "error": "Server error" }')

    def test_refused_query_stays_refused(self) -> None:
        reply = self.partial("/metadata/instance/compute/name?api-version=2021-02-01", "network")
        assert refusal(reply)[0] == 400

    @pytest.mark.parametrize("field", ["extended", "extended.compute", "network.interface.7.ipv4"])
    def test_field_that_the_document_lacks_changes_nothing(self, field: str) -> None:
        assert body(self.partial(INSTANCE, field)).keys() == {"compute", "network"}


def test_pending_token_keeps_its_resource() -> None:
    """The provider gets the pending token that `handle` would give it."""
    reply: Pending | Response | Refusal = substituted(TOKEN, effect="forged-token")
    assert of_kind(reply, PendingToken).resource == "https://a"
