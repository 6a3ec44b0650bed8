"""Query and VM in; out comes an answer, a refusal, or what has to be made first."""

from collections.abc import Callable
from math import floor
from typing import TypeAlias

import msgspec.json
from msgspec import Struct

from openimds.facts.headers import TEXT_MEDIA
from openimds.facts.versions import Catalog
from openimds.protocol import access_token, attested_document, identity_dialects, load_balancer
from openimds.protocol.checks import check
from openimds.protocol.document import MISSING, as_json, as_text, descend, is_leaf, project, shape
from openimds.protocol.events.document import read_approval
from openimds.protocol.events.event import place_of
from openimds.protocol.pending import (
    Approved,
    Certificate,
    Challenge,
    EventsDocument,
    Failed,
    Pending,
    PendingApproval,
    PendingCertificate,
    PendingEventsDocument,
    PendingToken,
    Result,
    Signature,
)
from openimds.protocol.request import Query
from openimds.protocol.response import WHILE_HELD, Refusal, Response, refuse
from openimds.vm.defaults import complete, default_address, private_addresses
from openimds.vm.identities import principals
from openimds.vm.types import Vm


class Subject(Struct, frozen=True):
    """Whom a query is about: a VM, its complete newest document, and what its region knows."""

    vm: Vm
    document: dict[str, object]
    catalog: Catalog
    secret: str = ""


def subject(vm: Vm, catalog: Catalog, secret: str = "") -> Subject:
    """Return a VM as `handle` wants it; `secret` is what its callers prove themselves with."""
    return Subject(vm, complete(vm), catalog, secret)


def handle(query: Query, subject: Subject, now_s: float) -> Response | Refusal | Pending:
    """Return what IMDS says to a query about a VM, or what has to be made before it can.

    `now_s` is the time in seconds since 1970.
    """
    refused = check(query, subject.catalog, subject.secret)
    if refused:
        return refused
    assert query.endpoint is not None  # The first check refuses unknown paths.
    return HANDLERS[query.endpoint.handler](query, subject, now_s)


def instance_document(subject: Subject, version: str) -> bytes:
    """Return the body of `/metadata/instance` at a version that the catalog knows."""
    wanted = shape(version, is_classic=subject.vm.classic)
    return as_json(project(subject.document, wanted))


def resume(query: Query, need: Pending, made: Result, now_s: float) -> Response | Refusal:
    """Return the answer once what it needed is made (or could not be)."""
    if isinstance(made, Failed):
        return refuse(made.key, query, made.blanks, until_s=now_s)
    if isinstance(made, EventsDocument):
        return Response(made.body, until_s=WHILE_HELD)
    if isinstance(made, Approved):
        return Response(b"")
    if isinstance(made, Signature):
        return Response(attested_document.body(made), until_s=min(made.until_s, floor(now_s) + 1))
    if isinstance(made, Challenge):
        return identity_dialects.challenge(query, made, now_s)
    if isinstance(made, Certificate):
        assert isinstance(need, PendingCertificate)
        return Response(identity_dialects.credential(need, made))
    assert isinstance(need, PendingToken)
    # The body counts down by the second.
    return Response(identity_dialects.body(query, need, made, now_s), until_s=floor(now_s) + 1)


def _versions(_: Query, subject: Subject, _now_s: float) -> Response:
    body = msgspec.json.encode({"apiVersions": subject.catalog.general})
    return Response(body)


def _instance(query: Query, subject: Subject, _now_s: float) -> Response | Refusal:
    return _node(query, descend(_document(query, subject), query.route))


def _root(query: Query, subject: Subject, _now_s: float) -> Response | Refusal:
    return _node(query, {"instance": _document(query, subject)})


def _document(query: Query, subject: Subject) -> dict[str, object]:
    wanted = shape(
        query.parameters["api-version"],
        is_classic=subject.vm.classic,
        is_extended=query.parameters.get("extended", "").lower() == "true",
    )
    return project(subject.document, wanted)


def _node(query: Query, node: object) -> Response | Refusal:
    if node is MISSING:
        return refuse("not_found", query)
    wanted = (query.parameters.get("format") or "json").lower()
    if wanted == "text":
        return Response(as_text(node), TEXT_MEDIA)
    if wanted != "json":
        return refuse("format_unknown", query)
    return refuse("leaf_needs_text", query) if is_leaf(node) else Response(as_json(node))


def _token(query: Query, subject: Subject, now_s: float) -> Refusal | Pending:
    one = identity_dialects.select(query, principals(subject.vm, subject.document))
    if isinstance(one, str):
        return refuse(one, query)
    is_fresh = query.parameters.get("bypass_cache", "").lower() == "true"
    need = PendingToken(
        subject.vm.name,
        subject.vm.cloud,
        one,
        query.parameters["resource"],
        is_fresh,
        outdated=query.parameters.get("token_sha256_to_refresh", "").lower(),
    )
    if access_token.is_resource(need.resource):
        return identity_dialects.challenged(query, need)
    return refuse(
        "resource_unknown", query, access_token.unknown_resource(need, now_s), floor(now_s) + 1
    )


def _identity_info(query: Query, subject: Subject, _now_s: float) -> Response | Refusal:
    """Response with the tenant of the system-assigned identity (S4)."""
    for one in principals(subject.vm, subject.document):
        if one.is_system:
            return Response(msgspec.json.encode({"tenantId": one.tenant_id}))
    return refuse("identity_not_found", query)


def _platform(query: Query, subject: Subject, _now_s: float) -> Response | Refusal:
    one = access_token.select(query, principals(subject.vm, subject.document))
    if isinstance(one, str):
        return refuse(one, query)
    return Response(identity_dialects.platform(one, subject.document))


def _credential(query: Query, subject: Subject, _now_s: float) -> Refusal | Pending:
    one = access_token.select(query, principals(subject.vm, subject.document))
    if isinstance(one, str):
        return refuse(one, query)
    wanted = identity_dialects.wanted(query, subject.vm, one, subject.document)
    return refuse(wanted, query) if isinstance(wanted, str) else wanted


def _attested(query: Query, subject: Subject, _now_s: float) -> Refusal | Pending:
    need = attested_document.need(query, subject.vm, subject.document)
    return refuse(need, query) if isinstance(need, str) else need


def _balancer(query: Query, subject: Subject, _now_s: float) -> Response | Refusal:
    said = subject.vm.load_balancer
    assert query.endpoint is not None
    if not load_balancer.is_expected(query, query.endpoint):
        return refuse("unexpected_request", query)
    if said is None:
        return refuse("no_load_balancer", query)
    first = [*private_addresses(subject.vm), default_address(subject.vm)][0]
    return Response(load_balancer.document(said, first))


def _events(query: Query, subject: Subject, _now_s: float) -> Refusal | Pending:
    """Response with the events of the VM's scope, or take its approval of some of them."""
    vm = subject.vm.name
    scope, _ = place_of(subject.vm)
    if query.method != "POST":
        return PendingEventsDocument(vm, scope, query.parameters["api-version"])
    event_ids = read_approval(query.body)
    if event_ids is None:
        return refuse("malformed_events", query)
    return PendingApproval(vm, scope, event_ids)


_Handler: TypeAlias = Callable[[Query, Subject, float], Response | Refusal | Pending]

HANDLERS: dict[str, _Handler] = {
    "attested_document": _attested,
    "identity_info": _identity_info,
    "instance": _instance,
    "issue_credential": _credential,
    "load_balancer": _balancer,
    "platform_metadata": _platform,
    "root": _root,
    "scheduled_events": _events,
    "token": _token,
    "versions": _versions,
}
"""The functions by the names that the rows of endpoints call them."""
