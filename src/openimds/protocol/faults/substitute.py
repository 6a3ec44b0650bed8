"""The response that replaces the true one: another response, or that to another query.

An effect that changes the VM or the region hands the changed one to `handle`, so that the request
checks, the wording and the protocol stay those of the true response.
"""

from collections.abc import Callable
from typing import TypeAlias

import msgspec.json
from msgspec.structs import replace

from openimds.facts.fault_parameters import RETRY_AFTER
from openimds.facts.faults import EDITED_TOKEN, STATUSES
from openimds.facts.faults import MISSING as LEFT_OUT
from openimds.facts.headers import JSON_MEDIA
from openimds.facts.versions import catalog
from openimds.protocol.document import MISSING, as_json, as_text, descend
from openimds.protocol.faults.custom_response import response_of
from openimds.protocol.faults.edited_token import edits_of
from openimds.protocol.faults.fault import Fault
from openimds.protocol.faults.retry_after import is_retry_after, retry_after
from openimds.protocol.handle import Subject, handle
from openimds.protocol.pending import Pending, PendingChallenge, PendingDocument, PendingToken
from openimds.protocol.request import Query
from openimds.protocol.response import Refusal, Response, inside_json, refuse, throttled
from openimds.vm.identities import FORGE
from openimds.vm.types import Identities

Reply: TypeAlias = Response | Refusal | Pending
_TOO_MANY = 429


def substitute(fault: Fault, query: Query, subject: Subject, now_s: float) -> Reply:
    """Return the reply to a query under a fault with mode INSTEAD or OTHERWISE.

    `now_s` is the time in seconds since 1970.
    """
    reply = _SUBSTITUTES[fault.spec.effect](fault, query, subject, now_s)
    text = fault.spec.parameters.get(RETRY_AFTER.name)
    if text is None:
        return reply
    assert isinstance(reply, Response | Refusal)  # Other effects have no such parameter.
    others = (header for header in reply.headers if not is_retry_after(header[0]))
    return replace(reply, headers=(*others, retry_after(str(text), now_s)))


def _status(fault: Fault, query: Query, _subject: Subject, _now_s: float) -> Refusal:
    status = fault.whole("status")
    if status == _TOO_MANY:
        return throttled(query)
    blanks = {"path": inside_json(query.path), "method": inside_json(query.method)}
    return refuse(STATUSES[status].refusal, query, blanks)


def _proxy(_fault: Fault, query: Query, _subject: Subject, _now_s: float) -> Refusal:
    return refuse("restarting", query)


def _response(fault: Fault, _query: Query, _subject: Subject, _now_s: float) -> Response:
    return response_of(fault.spec.parameters)


def _no_identity(_fault: Fault, query: Query, subject: Subject, now_s: float) -> Reply:
    vm = replace(subject.vm, identities=Identities())
    return handle(query, replace(subject, vm=vm), now_s)


def _forged(fault: Fault, query: Query, subject: Subject, now_s: float) -> Reply:
    reply = handle(query, subject, now_s)
    if not isinstance(reply, PendingToken):
        return reply
    return replace(reply, identity=replace(reply.identity, source=FORGE + fault.text("forgery")))


def _edited(fault: Fault, query: Query, subject: Subject, now_s: float) -> Reply:
    reply = handle(query, subject, now_s)
    if not isinstance(reply, PendingToken):
        return reply
    return replace(reply, edits=edits_of(fault.spec.parameters))


def _missing_challenge(_fault: Fault, query: Query, subject: Subject, now_s: float) -> Reply:
    reply = handle(query, subject, now_s)
    if not isinstance(reply, PendingChallenge):
        return reply
    return replace(refuse("challenge", query), headers=())


def _region(fault: Fault, query: Query, subject: Subject, now_s: float) -> Reply:
    return handle(query, replace(subject, catalog=catalog(fault.text("newest"))), now_s)


def _stale(fault: Fault, query: Query, subject: Subject, now_s: float) -> Reply:
    if fault.before is None:
        return handle(query, subject, now_s)
    return handle(query, replace(subject, vm=fault.before), now_s)


def _attested(fault: Fault, query: Query, subject: Subject, now_s: float) -> Reply:
    reply = handle(query, subject, now_s)
    if not isinstance(reply, PendingDocument):
        return reply
    return replace(reply, scenario=fault.text("scenario"))


def _partial(fault: Fault, query: Query, subject: Subject, now_s: float) -> Reply:
    """Return the queried node of a document that lacks fields.

    A query with `extended=true` wants the whole document or an error, and gets the error.
    """
    reply = handle(query, subject, now_s)
    if not isinstance(reply, Response):
        return reply
    if query.parameters.get("extended", "").lower() == "true":
        return refuse("server_error", query)
    whole = handle(_whole(query), subject, now_s)
    assert isinstance(whole, Response)  # A query for a node below it was answered.
    document = msgspec.json.decode(whole.body)
    fields = fault.spec.parameters["fields"]
    assert isinstance(fields, tuple)
    for field in fields:
        _remove(document, field.split("."), leaves_empty=fault.text("leave") != LEFT_OUT)
    node = descend(document, query.route)
    if node is MISSING:
        return refuse("not_found", query)
    return replace(reply, body=as_json(node) if reply.media == JSON_MEDIA else as_text(node))


def _whole(query: Query) -> Query:
    """Return the query for the whole document at the same api-version."""
    return replace(query, route=(), parameters={**query.parameters, "format": "json"})


def _remove(node: object, path: list[str], *, leaves_empty: bool) -> None:
    """Remove the field at a path from a document, or leave it empty."""
    *above, last = path
    parent = descend(node, tuple(above))
    if not isinstance(parent, dict) or last not in parent:
        return  # Not every api-version has it.
    if leaves_empty:
        parent[last] = type(parent[last])()
    else:
        del parent[last]


_Substitute: TypeAlias = Callable[[Fault, Query, Subject, float], Reply]

_SUBSTITUTES: dict[str, _Substitute] = {
    "status": _status,
    "proxy-500": _proxy,
    "response": _response,
    "no-identity": _no_identity,
    "forged-token": _forged,
    EDITED_TOKEN: _edited,
    "missing-challenge": _missing_challenge,
    "unknown-version": _region,
    "stale-document": _stale,
    "missing-fields": _partial,
    "attested-document": _attested,
}
"""By effect."""
