"""Handle a query about a VM: respond, refuse, or return pending work."""

from collections.abc import Callable
from math import floor
from typing import TypeAlias

import msgspec.json
from msgspec import Struct, field, structs

from openimds.facts.clouds import CLOUDS
from openimds.facts.headers import TEXT_MEDIA, XML_MEDIA
from openimds.facts.kinds import VM
from openimds.facts.versions import Catalog
from openimds.protocol import (
    access_token,
    arc_agent,
    attested_document,
    confidential,
    identity_dialects,
    load_balancer,
)
from openimds.protocol.checks import check
from openimds.protocol.dialect import catalog_of, within_reach
from openimds.protocol.document import MISSING, as_json, as_text, descend, plan_at
from openimds.protocol.events.document import read_approval
from openimds.protocol.events.event import place_of
from openimds.protocol.pending import (
    AccessToken,
    Approved,
    Certificate,
    Challenge,
    Endorsement,
    EventsDocument,
    Failed,
    Pending,
    PendingApproval,
    PendingCertificate,
    PendingEndorsement,
    PendingEventsDocument,
    PendingToken,
    Quote,
    Result,
    Signature,
)
from openimds.protocol.request import Query
from openimds.protocol.response import UNTIL_REPLACED, Refusal, Response, refuse
from openimds.protocol.token_edits import edited, expiring
from openimds.vm.defaults import complete, default_address, private_addresses, text_at
from openimds.vm.identities import principals
from openimds.vm.types import Vm

_MOST_DOCUMENTS = 2
"""So many completed documents of a VM are cached: guests ask for one api-version, rarely two."""

Documents: TypeAlias = dict[tuple[str, bool], tuple[Vm, dict[str, object]]]
"""Completed documents by api-version and `extended`, each with the VM that it is of."""


class Subject(Struct, frozen=True):
    """The VM that a query is about, in its region.

    `catalog` has the api-versions of the region; `secret` is the proof of callers on the endpoints
    of App Service, empty where none was sent. `documents` caches the VM's completed documents for
    subjects of the same VM; it belongs to that VM object alone.
    """

    vm: Vm
    catalog: Catalog
    secret: str = ""
    documents: Documents = field(default_factory=dict)


def handle(query: Query, subject: Subject, now_s: float) -> Response | Refusal | Pending:
    """Answer a query about a VM, or return the pending work that comes first.

    The query is the one `in_dialect` of the VM; `now_s` is the time in seconds since 1970.
    """
    vm, cloud = subject.vm, CLOUDS[subject.vm.cloud]
    if vm.kind != VM or cloud.endpoints:  # Nearly every query is of an ordinary VM.
        query = within_reach(query, vm)
    if cloud.newest:
        subject = structs.replace(subject, catalog=catalog_of(vm, subject.catalog))
    refusal = check(query, subject.catalog, subject.secret)
    if refusal:
        return refusal
    assert query.endpoint is not None  # A check refuses unknown paths.
    return HANDLERS[query.endpoint.handler](query, subject, now_s)


def resume(query: Query, pending: Pending, result: Result, now_s: float) -> Response | Refusal:
    """Answer a query with the result of its pending work.

    The query is the one that `handle` had, so that both answers have one form.
    """
    match result:
        case Failed():
            return refuse(result.key, query, result.blanks, until_s=now_s)
        case EventsDocument():
            tag = (("ETag", result.etag),) if result.etag else ()
            # Microsoft's sample sends the tag back as it came; other clients put it into quotes.
            if result.etag and query.none_match.strip('"') == result.etag:
                return Response(b"", status=304, headers=tag, until_s=UNTIL_REPLACED)
            return Response(result.body, headers=tag, until_s=UNTIL_REPLACED)
        case Approved():
            return Response(b"")
        case Signature():
            until_s = min(result.until_s, floor(now_s) + 1)
            return Response(attested_document.body(result), until_s=until_s)
        case Challenge():
            return identity_dialects.challenge(query, result, now_s)
        case Certificate():
            assert isinstance(pending, PendingCertificate)
            return Response(identity_dialects.certificate_body(pending, result))
        case Endorsement():
            assert isinstance(pending, PendingEndorsement)
            return Response(confidential.endorsement_body(pending, result))
        case Quote():
            return Response(confidential.quote_body(result))
        case _:
            assert isinstance(pending, PendingToken)
            # The body counts down by the second.
            return Response(_token_body(query, pending, result, now_s), until_s=floor(now_s) + 1)


def _token_body(query: Query, pending: PendingToken, token: AccessToken, now_s: float) -> bytes:
    """Return the body of the response with a token, with any edits of a fault."""
    edits = pending.edits
    if edits is None:
        return identity_dialects.token_body(query, pending, token, now_s)
    token = expiring(token, edits, now_s)
    return edited(identity_dialects.token_body(query, pending, token, now_s), edits)


def instance_document(vm: Vm, version: str) -> bytes:
    """Return the body of `/metadata/instance` at a general api-version."""
    return as_json(complete(vm, plan_at(version, is_classic=vm.classic)))


def _versions(_: Query, subject: Subject, _now_s: float) -> Response:
    return Response(msgspec.json.encode({"apiVersions": subject.catalog.general}))


def _instance(query: Query, subject: Subject, _now_s: float) -> Response | Refusal:
    """Answer with a node of the instance document; the root is the object around it."""
    version = query.parameters["api-version"]
    is_extended = query.parameters.get("extended", "").lower() == "true"
    assert query.endpoint is not None  # As in `handle`.
    above = ("instance",) if query.endpoint.handler == "instance" else ()
    vm, document = subject.documents.get((version, is_extended), (None, {}))
    if query.endpoint.category == "arc":
        above, document = ("instance",), arc_agent.document(subject.vm, version)
    elif vm is not subject.vm:  # A fault may have put another VM into the subject.
        plan = plan_at(version, is_classic=subject.vm.classic, is_extended=is_extended)
        document = complete(subject.vm, plan)
        if len(subject.documents) >= _MOST_DOCUMENTS:
            subject.documents.clear()
        subject.documents[version, is_extended] = (subject.vm, document)
    node = descend({"instance": document}, (*above, *query.route))
    if node is MISSING:
        return refuse("not_found", query)
    media = (query.parameters.get("format") or "json").lower()
    if media == "text":
        return Response(as_text(node), TEXT_MEDIA)
    if media != "json":
        return refuse("format_unknown", query)
    if not isinstance(node, dict | list):
        return refuse("leaf_needs_text", query)
    return Response(as_json(node))


def _arc_status(_: Query, _subject: Subject, _now_s: float) -> Response:
    return Response(arc_agent.status())


def _token(query: Query, subject: Subject, now_s: float) -> Refusal | Pending:
    if query.endpoint and query.endpoint.key == "token" and not access_token.may_claim(query):
        return refuse("claims_unsupported", query)
    principal = identity_dialects.select(query, principals(subject.vm))
    if isinstance(principal, str):
        return refuse(principal, query)
    pending = PendingToken(
        subject.vm.name,
        subject.vm.cloud,
        principal,
        query.parameters["resource"],
        query.parameters.get("bypass_cache", "").lower() == "true",
        outdated=query.parameters.get("token_sha256_to_refresh", "").lower(),
        region=text_at(subject.vm, "compute.location"),
    )
    if access_token.is_resource(pending.resource):
        return identity_dialects.challenged(query, pending)
    blanks = access_token.unknown_resource(pending, now_s)
    return refuse("resource_unknown", query, blanks, floor(now_s) + 1)


def _identity_info(query: Query, subject: Subject, _now_s: float) -> Response | Refusal:
    """Answer with the tenant of the system-assigned identity (S4)."""
    for principal in principals(subject.vm):
        if principal.is_system:
            return Response(msgspec.json.encode({"tenantId": principal.tenant_id}))
    return refuse("identity_not_found", query)


def _platform_metadata(query: Query, subject: Subject, _now_s: float) -> Response | Refusal:
    if any(query.parameters.get(name) for name in ("msi_res_id", "mi_res_id")):
        return refuse("variables_unsupported", query)
    principal = access_token.select(query, principals(subject.vm))
    if isinstance(principal, str):
        return refuse(principal, query)
    return Response(identity_dialects.platform_metadata(principal, subject.vm))


def _credential(query: Query, subject: Subject, _now_s: float) -> Refusal | Pending:
    principal = access_token.select(query, principals(subject.vm))
    if isinstance(principal, str):
        return refuse(principal, query)
    pending = identity_dialects.pending_certificate(query, subject.vm, principal)
    return refuse(pending, query) if isinstance(pending, str) else pending


def _attested(query: Query, subject: Subject, _now_s: float) -> Refusal | Pending:
    pending = attested_document.pending_document(query, subject.vm)
    return refuse(pending, query) if isinstance(pending, str) else pending


def _absent(query: Query, _subject: Subject, _now_s: float) -> Refusal:
    return refuse("not_found", query)


def _reprovision_data(query: Query, subject: Subject, _now_s: float) -> Response | Refusal:
    """Answer with the XML of a VM that has left its pool; before, 404."""
    text = subject.vm.reprovision_data
    return Response(text.encode(), XML_MEDIA) if text else refuse("not_found", query)


def _endorsement(query: Query, subject: Subject, _now_s: float) -> Refusal | Pending:
    pending = confidential.pending_endorsement(query, subject.vm)
    return refuse(pending, query) if isinstance(pending, str) else pending


def _quote(query: Query, subject: Subject, _now_s: float) -> Refusal | Pending:
    pending = confidential.pending_quote(query, subject.vm)
    return refuse(pending, query) if isinstance(pending, str) else pending


def _load_balancer(query: Query, subject: Subject, _now_s: float) -> Response | Refusal:
    assert query.endpoint is not None  # As in `handle`.
    if not load_balancer.is_expected(query, query.endpoint):
        return refuse("unexpected_request", query)
    if subject.vm.load_balancer is None:
        return refuse("no_load_balancer", query)
    address = [*private_addresses(subject.vm), default_address(subject.vm)][0]
    return Response(load_balancer.document(subject.vm.load_balancer, address))


def _scheduled_events(query: Query, subject: Subject, _now_s: float) -> Refusal | Pending:
    """Take the VM's approval of events (POST), or ask for the events of its scope."""
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
    "absent": _absent,
    "arc_instance": _instance,
    "arc_status": _arc_status,
    "attested_document": _attested,
    "endorsement": _endorsement,
    "identity_info": _identity_info,
    "instance": _instance,
    "issue_credential": _credential,
    "load_balancer": _load_balancer,
    "platform_metadata": _platform_metadata,
    "quote": _quote,
    "reprovision_data": _reprovision_data,
    "root": _instance,
    "scheduled_events": _scheduled_events,
    "token": _token,
    "versions": _versions,
}
"""The handlers by their names in the rows of `facts.endpoints`."""
