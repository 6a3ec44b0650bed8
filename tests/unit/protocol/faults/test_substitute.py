"""What is said where a VM or a region is not as it should be."""

import json
from typing import Any

import pytest

from openimds.facts.faults import STATUSES
from openimds.facts.refusals import refusal_row
from openimds.facts.versions import NEWEST, catalog
from openimds.protocol.faults.fault import Fault
from openimds.protocol.faults.input import read
from openimds.protocol.faults.substitute import Said, spoil
from openimds.protocol.handle import Subject, subject
from openimds.protocol.pending import Pending, PendingChallenge, PendingDocument, PendingToken
from openimds.protocol.request import Query, query
from openimds.protocol.response import Refusal, Response
from openimds.vm.fleet_file import vm

APP = (
    "/subscriptions/8d7a2b1c-0000-4000-8000-000000000002/resourceGroups/lab/providers"
    "/Microsoft.ManagedIdentity/userAssignedIdentities/app"
)
INSTANCE = "/metadata/instance?api-version=2021-02-01"
TOKEN = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://a"
ATTESTED = "/metadata/attested/document?api-version=2021-02-01"
ARC = "/arc/metadata/identity/oauth2/token?api-version=2020-06-01&resource=https://a"
NOW_S = 1_795_377_286.0
WEB = vm(
    "web", {"compute": {"tags": {"env": "new"}}, "identities": {"system": True, "user": [APP]}}
)


def asked(target: str, method: str = "GET", **more: Any) -> Query:
    given = {"has_metadata_header": True, **more}
    return query(method, target.encode(), **given)


def about(said: object = None) -> Subject:
    return subject(vm("web", said) if said else WEB, catalog(NEWEST), "secret")


def spoilt(target: str, before: object = None, method: str = "GET", **effect: Any) -> Said:
    (plan,) = read(effect)
    fault = Fault(plan, "web", 1, vm("web", before) if before else None)
    return spoil(fault, asked(target, method), about(), NOW_S)


def refusal(said: Said) -> tuple[int, bytes]:
    assert isinstance(said, Refusal), said
    return said.status, said.body


def body(said: Said) -> Any:
    assert isinstance(said, Response), said
    return json.loads(said.body)


def need(said: Said, kind: type[Any]) -> Any:
    assert isinstance(said, kind), said
    return said


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
def test_a_status_is_said_in_the_words_of_the_category(
    target: str, category: str, status: int
) -> None:
    row = refusal_row(STATUSES[status].refusal, category)
    assert refusal(spoilt(target, effect="status", status=status)) == (status, row.body.encode())


def test_a_status_needs_nothing_to_be_right() -> None:
    """While IMDS is being updated it looks at nothing: not even at the header that is missing."""
    (plan,) = read({"effect": "status", "status": 410})
    bare = query("PUT", b"/metadata/instance")
    assert refusal(spoil(Fault(plan, "web", 1), bare, about(), NOW_S))[0] == 410


def test_429_as_text_is_bare() -> None:
    said = spoilt(f"{INSTANCE}&format=text", effect="status", status=429)
    assert refusal(said) == (429, b"Too many requests")


def test_what_the_load_balancer_says_names_path_and_method() -> None:
    said = spoilt("/metadata/loadbalancer?x", effect="status", status=404)
    text = 'API is not found: Path = \\"/metadata/loadbalancer\\", Method = \\"GET\\"'
    assert refusal(said) == (404, f'{{"error":"{text}"}}'.encode())


def test_what_stands_before_imds_speaks_plain_text() -> None:
    said = spoilt(TOKEN, effect="proxy-500")
    assert refusal(said) == (500, b"Internal Server Error")
    assert isinstance(said, Refusal)
    assert said.media == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    "target, words",
    [
        (TOKEN, b'"Identity not found"'),
        (f"{TOKEN}&msi_res_id={APP}", b'"Identity not found"'),
        ("/metadata/identity/info?api-version=2018-02-01", b'"Identity not found"'),
        ("/oauth2/token?resource=https://a", b'"IdentityNotFound"'),
    ],
)
def test_a_vm_without_identity_is_refused_in_each_protocol(target: str, words: bytes) -> None:
    status, said = refusal(spoilt(target, effect="no-identity"))
    assert status == 400
    assert words in said


def test_a_vm_without_identity_still_has_its_gates() -> None:
    target = TOKEN.removesuffix("&resource=https://a")
    assert b"'resource' is missing" in refusal(spoilt(target, effect="no-identity"))[1]


def test_a_token_is_forged_for_the_identity_that_was_asked_for() -> None:
    found: PendingToken = need(
        spoilt(f"{TOKEN}&msi_res_id={APP}", effect="forged-token", forgery="unsigned"), PendingToken
    )
    assert found.identity.source == "forge:unsigned"
    assert found.identity.mirid.endswith("/userAssignedIdentities/app")
    other = spoilt(f"{TOKEN}&client_id=x", effect="forged-token")
    assert refusal(other)[0] == 400


def test_a_challenge_comes_before_a_forgery() -> None:
    (plan,) = read({"effect": "forged-token"})
    extras = frozenset({"arc_folder"})
    said = spoil(Fault(plan, "web", 1), asked(ARC, extras=extras), about(), NOW_S)
    assert isinstance(said, PendingChallenge)


def test_an_old_region_refuses_what_it_does_not_know_and_lists_the_rest() -> None:
    old: dict[str, Any] = {"effect": "unknown-version", "newest": "2020-10-01"}
    status, said = refusal(spoilt(INSTANCE, **old))
    assert status == 400
    newest = ["2020-10-01", "2020-09-01", "2020-07-15"]
    assert json.loads(said)["newest-versions"] == newest
    assert body(spoilt("/metadata/versions", **old))["apiVersions"][-3:] == newest[::-1]
    assert "compute" in body(spoilt("/metadata/instance?api-version=2020-10-01", **old))
    assert isinstance(spoilt(TOKEN, **old), PendingToken)


def test_a_stale_document_is_that_of_before() -> None:
    before = {"compute": {"tags": {"env": "old"}}}
    stale: dict[str, Any] = {"effect": "stale-document", "before": before}
    assert body(spoilt(INSTANCE, **stale))["compute"]["tags"] == "env:old"
    assert body(spoilt(INSTANCE, effect="stale-document"))["compute"]["tags"] == "env:new"


def test_an_attested_document_is_signed_otherwise_or_refused_as_ever() -> None:
    said = spoilt(ATTESTED, effect="attested-document", scenario="new-root")
    document: PendingDocument = need(said, PendingDocument)
    assert (document.scenario, document.vm) == ("new-root", "web")
    refused = spoilt(f"{ATTESTED}&nonce=%20", effect="attested-document")
    assert refusal(refused)[0] == 400


class TestMissingFields:
    def lost(self, target: str, *fields: str, leave: str = "missing") -> Said:
        return spoilt(target, effect="missing-fields", fields=[*fields], leave=leave)

    def test_fields_are_missing_and_all_else_is_there(self) -> None:
        whole = body(self.lost(INSTANCE, "network.interface.9.ipv6"))
        found = body(self.lost(INSTANCE, "compute.tags", "network.interface.0.ipv6"))
        del whole["compute"]["tags"], whole["network"]["interface"][0]["ipv6"]
        assert found == whole

    def test_the_rest_is_as_it_was_to_the_byte(self) -> None:
        said = self.lost(INSTANCE, "network")
        assert isinstance(said, Response)
        assert said.body.startswith(b'{"compute":{"azEnvironment":"AzurePublicCloud","customData"')
        assert b"network" not in said.body

    @pytest.mark.parametrize(
        "field, left", [("tags", ""), ("tagsList", []), ("osProfile", {}), ("zone", "")]
    )
    def test_fields_are_left_empty(self, field: str, left: object) -> None:
        found = body(self.lost(INSTANCE, f"compute.{field}", leave="empty"))
        assert found["compute"][field] == left

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
    def test_routes_lead_through_what_is_left(
        self, route: str, field: str, expected: object
    ) -> None:
        target = f"/metadata/instance{route}?api-version=2021-02-01&format=text"
        said = self.lost(target, field)
        assert (said.body if isinstance(said, Response) else refusal(said)) == expected

    def test_extended_is_all_or_an_error(self) -> None:
        said = self.lost("/metadata/instance?api-version=2021-08-01&extended=true", "network")
        assert refusal(said) == (500, b'{ "error": "Server error" }')

    def test_what_was_refused_is_refused(self) -> None:
        said = self.lost("/metadata/instance/compute/name?api-version=2021-02-01", "network")
        assert refusal(said)[0] == 400

    @pytest.mark.parametrize("field", ["extended", "extended.compute", "network.interface.7.ipv4"])
    def test_a_field_that_this_document_has_not_is_not_missed(self, field: str) -> None:
        assert body(self.lost(INSTANCE, field)).keys() == {"compute", "network"}


def test_needs_stay_what_they_are() -> None:
    """The words of a need are those of `core.need`, so that whoever makes it knows it."""
    said: Pending | Response | Refusal = spoilt(TOKEN, effect="forged-token")
    assert need(said, PendingToken).resource == "https://a"
