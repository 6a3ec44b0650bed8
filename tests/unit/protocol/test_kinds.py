"""Kinds of machines that reach a part of the endpoints."""

import json

import pytest

from openimds.facts.kinds import AZURE_LOCAL, CLOUD_SHELL, CONTAINER_INSTANCE, VM
from openimds.facts.versions import catalog
from openimds.protocol.dialect import in_dialect
from openimds.protocol.handle import Subject, handle, resume
from openimds.protocol.pending import AccessToken, Pending, PendingDocument, PendingToken
from openimds.protocol.request import parse_query
from openimds.protocol.response import Refusal, Response
from openimds.vm.fleet_file import parse_vm

TOKEN = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net"
ATTESTED = "/metadata/attested/document?api-version=2018-10-01"
INSTANCE = "/metadata/instance?api-version=2021-02-01"
EVERYWHERE = (
    TOKEN,
    ATTESTED,
    INSTANCE,
    "/metadata/identity/info?api-version=2018-02-01",
    "/metadata/scheduledevents?api-version=2020-07-01",
    "/metadata/versions",
)


def ask(
    target: str, kind: str, *, is_exact: bool = True, has_header: bool = True
) -> Response | Refusal | Pending:
    vm = parse_vm("one", {"kind": kind, "identities": {"system": True}})
    query = parse_query(
        "GET", target.encode(), has_metadata_header=has_header, is_header_exact=is_exact
    )
    return handle(in_dialect(query, vm), Subject(vm, catalog()), 0)


def refusal(outcome: Response | Refusal | Pending) -> tuple[int, str]:
    assert isinstance(outcome, Refusal)
    return outcome.status, outcome.body.decode()


def test_container_instance_gets_a_token() -> None:
    assert isinstance(ask(TOKEN, CONTAINER_INSTANCE), PendingToken)


@pytest.mark.parametrize("target", [target for target in EVERYWHERE if target != TOKEN])
def test_container_instance_reaches_nothing_else(target: str) -> None:
    assert refusal(ask(target, CONTAINER_INSTANCE))[0] == 404


def test_header_in_other_letters_is_400_in_a_container_instance() -> None:
    status, body = refusal(ask(TOKEN, CONTAINER_INSTANCE, is_exact=False))
    assert (status, "Required metadata header not specified" in body) == (400, True)
    assert isinstance(ask(TOKEN, VM, is_exact=False), PendingToken)


@pytest.mark.parametrize("target", EVERYWHERE)
def test_missing_header_comes_before_the_kind(target: str) -> None:
    assert refusal(ask(target, CONTAINER_INSTANCE, has_header=False))[0] == 400


def test_azure_local_gets_a_document_of_thirty_days() -> None:
    pending = ask(ATTESTED, AZURE_LOCAL)
    assert isinstance(pending, PendingDocument)
    assert pending.leaf_days == 30
    usual = ask(ATTESTED, VM)
    assert isinstance(usual, PendingDocument)
    assert usual.leaf_days == 0


@pytest.mark.parametrize("target", [target for target in EVERYWHERE if target != ATTESTED])
def test_azure_local_reaches_nothing_else(target: str) -> None:
    assert refusal(ask(target, AZURE_LOCAL))[0] == 404


SHELL_FORMS = (TOKEN, "/oauth2/token?resource=https://vault.azure.net")


@pytest.mark.parametrize("target", SHELL_FORMS)
def test_cloud_shell_gets_a_token_on_both_paths(target: str) -> None:
    vm = parse_vm("one", {"kind": CLOUD_SHELL, "identities": {"system": True}})
    query = in_dialect(parse_query("GET", target.encode(), has_metadata_header=True), vm)
    pending = handle(query, Subject(vm, catalog()), 0)
    assert isinstance(pending, PendingToken)
    response = resume(query, pending, AccessToken("eyJ", 0, 86400, 86400), 0)
    assert [*json.loads(response.body)] == [
        "access_token",
        "refresh_token",
        "expires_in",
        "expires_on",
        "not_before",
        "resource",
        "token_type",
    ]


@pytest.mark.parametrize("target", ["/metadata/identity/oauth2/token", "/oauth2/token"])
def test_cloud_shell_refuses_in_one_envelope_on_both_paths(target: str) -> None:
    status, body = refusal(ask(f"{target}?resource=user.read", CLOUD_SHELL))
    assert (status, json.loads(body)["error"]["code"]) == (400, "AudienceNotSupported")
    status, body = refusal(ask(target, CLOUD_SHELL, has_header=False))
    assert (status, json.loads(body)["error"]["code"]) == (400, "MetadataHeaderMissing")


def test_token_path_of_a_vm_keeps_its_own_envelope() -> None:
    status, body = refusal(ask("/metadata/identity/oauth2/token?api-version=2018-02-01", VM))
    assert (status, json.loads(body)["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("target", [target for target in EVERYWHERE if target != TOKEN])
def test_cloud_shell_reaches_nothing_else(target: str) -> None:
    assert refusal(ask(target, CLOUD_SHELL))[0] == 404
