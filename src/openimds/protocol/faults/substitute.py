"""What is said instead of the true answer: another one, or the answer to another question.

Where a VM or a region is not as it should be, `handle` is asked about the one that it is, so that
gates, words and protocols stay those of the true answer.
"""

from collections.abc import Callable
from typing import TypeAlias

import msgspec.json
from msgspec.structs import replace

from openimds.facts.faults import MISSING as LEFT_OUT
from openimds.facts.faults import STATUSES
from openimds.facts.headers import JSON_MEDIA
from openimds.facts.versions import catalog
from openimds.protocol.document import MISSING, as_json, as_text, descend
from openimds.protocol.faults.fault import Fault
from openimds.protocol.handle import Subject, handle, subject
from openimds.protocol.pending import Pending, PendingDocument, PendingToken
from openimds.protocol.request import Query
from openimds.protocol.response import Refusal, Response, inside_json, refuse, throttled
from openimds.vm.identities import FORGE
from openimds.vm.types import Identities

Said: TypeAlias = Response | Refusal | Pending
_TOO_MANY = 429


def spoil(fault: Fault, asked: Query, about: Subject, now_s: float) -> Said:
    """Return what a fault of the ways INSTEAD and OTHERWISE makes of a question about a VM.

    `now_s` is the time in seconds since 1970.
    """
    return _MADE[fault.plan.effect](fault, asked, about, now_s)


def _status(fault: Fault, asked: Query, _about: Subject, _now_s: float) -> Refusal:
    status = fault.whole("status")
    if status == _TOO_MANY:
        return throttled(asked)
    blanks = {"path": inside_json(asked.path), "method": inside_json(asked.method)}
    return refuse(STATUSES[status].refusal, asked, blanks)


def _proxy(_fault: Fault, asked: Query, _about: Subject, _now_s: float) -> Refusal:
    return refuse("restarting", asked)


def _no_identity(_fault: Fault, asked: Query, about: Subject, now_s: float) -> Said:
    vm = replace(about.vm, identities=Identities())
    return handle(asked, replace(about, vm=vm), now_s)


def _forged(fault: Fault, asked: Query, about: Subject, now_s: float) -> Said:
    need = handle(asked, about, now_s)
    if not isinstance(need, PendingToken):
        return need
    return replace(need, identity=replace(need.identity, source=FORGE + fault.text("forgery")))


def _region(fault: Fault, asked: Query, about: Subject, now_s: float) -> Said:
    return handle(asked, replace(about, catalog=catalog(fault.text("newest"))), now_s)


def _stale(fault: Fault, asked: Query, about: Subject, now_s: float) -> Said:
    if fault.before is None:
        return handle(asked, about, now_s)
    return handle(asked, subject(fault.before, about.catalog, about.secret), now_s)


def _attested(fault: Fault, asked: Query, about: Subject, now_s: float) -> Said:
    need = handle(asked, about, now_s)
    if not isinstance(need, PendingDocument):
        return need
    return replace(need, scenario=fault.text("scenario"))


def _partial(fault: Fault, asked: Query, about: Subject, now_s: float) -> Said:
    """Return what is left of the document on the way that was asked for.

    Who asks with `extended` wants all of it or an error, and gets the error.
    """
    said = handle(asked, about, now_s)
    if not isinstance(said, Response):
        return said
    if asked.parameters.get("extended", "").lower() == "true":
        return refuse("server_error", asked)
    whole = handle(_whole(asked), about, now_s)
    assert isinstance(whole, Response)  # What is below it was answered.
    document = msgspec.json.decode(whole.body)
    fields = fault.plan.parameters["fields"]
    assert isinstance(fields, tuple)
    for field in fields:
        _lose(document, field.split("."), leaves_empty=fault.text("leave") != LEFT_OUT)
    node = descend(document, asked.route)
    if node is MISSING:
        return refuse("not_found", asked)
    return replace(said, body=as_json(node) if said.media == JSON_MEDIA else as_text(node))


def _whole(asked: Query) -> Query:
    """Return the question for the whole document at the same api-version."""
    return replace(asked, route=(), parameters={**asked.parameters, "format": "json"})


def _lose(node: object, way: list[str], *, leaves_empty: bool) -> None:
    """Take what stands at the end of a way out of a document, or leave it empty."""
    *above, last = way
    parent = descend(node, tuple(above))
    if not isinstance(parent, dict) or last not in parent:
        return  # Not every api-version has it.
    if leaves_empty:
        parent[last] = type(parent[last])()
    else:
        del parent[last]


_Make: TypeAlias = Callable[[Fault, Query, Subject, float], Said]

_MADE: dict[str, _Make] = {
    "status": _status,
    "proxy-500": _proxy,
    "no-identity": _no_identity,
    "forged-token": _forged,
    "unknown-version": _region,
    "stale-document": _stale,
    "missing-fields": _partial,
    "attested-document": _attested,
}
"""By effect."""
