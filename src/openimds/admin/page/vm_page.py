"""The page of a VM: document and source, requests, events and forms."""

from typing import Any

import msgspec.json
from msgspec import structs

from openimds.admin.operation import JSON
from openimds.admin.page.json_lines import JsonLine, marked_lines
from openimds.admin.page.page_row import (
    FormRow,
    OperationCall,
    PageCall,
    PageProblemError,
    PageRow,
)
from openimds.admin.page.rendering import page_url, vm_url
from openimds.admin.page.wording import as_json
from openimds.admin.problem import ProblemDetails
from openimds.admin.vm_types import READ_ONLY
from openimds.fleet.vm_entry import VmEntry
from openimds.protocol.dialect import catalog_of
from openimds.protocol.handle import instance_document

MOST_REQUESTS = 25
"""The requests of a VM on its page."""
PATH = "/vms/{name}"
REPLACE, PATCH, REMOVE = f"{PATH}/replace", f"{PATH}/patch", f"{PATH}/remove"
ACTIVITY = "activity"
_MERGE_PATCH = "application/merge-patch+json"
_NEW_PATCH = '{\n  "compute": {"tags": {"env": "test"}}\n}'


async def vm_values(call: PageCall) -> dict[str, Any]:
    """Return the values of the page, or those of its live part.

    Raises:
        PageProblemError: there is no such VM.
    """
    if call.block == ACTIVITY:
        return {"name": call.name, **await _activity(call)}
    stored = await call.read("get_vm", call.name)
    source = {key: value for key, value in stored.items() if key not in READ_ONLY}
    return {
        "heading": call.name,
        "name": call.name,
        "stored": stored,
        "source": as_json(source),
        "hidden": stored.get("redacted", []),
        "placement": await _placement(call),
        "patch": _NEW_PATCH,
        "forms": {"replace": REPLACE, "patch": PATCH, "remove": REMOVE},
        **await _document(call),
        **await _activity(call),
    }


async def vm_version(call: PageCall) -> str:
    """Return a text that changes with requests and events; nothing if hosts have the requests."""
    services = call.services
    if services.recording.is_of_hosts:
        return ""
    number = await services.recording.last_number() if services.recording.per_vm else 0
    return f"{number}-{services.fleet_service.last_log_entry}-{call.grant.role}"


async def _document(call: PageCall) -> dict[str, Any]:
    """Return the document at the wanted api-version, with differences from the defaults."""
    index = call.services.fleet_service.fleet_index
    entry: VmEntry[Any] | None = index.by_name.get(call.name)
    versions = catalog_of(entry.vm, index.catalog).general if entry else index.catalog.general
    version = call.query.get("api-version") or versions[-1]
    lines: list[JsonLine] = []
    fault: ProblemDetails | None = None
    try:
        document = await call.read("get_document", call.name, **{"api-version": version})
    except PageProblemError as error:
        fault = error.problem
    else:
        assert entry is not None, "a VM that has a document is served"
        bare = structs.replace(entry.vm, document={})
        default = msgspec.json.decode(instance_document(bare, version))
        lines = marked_lines(document, default)
    return {
        "version": version,
        "versions": versions[::-1],
        "lines": lines,
        "marked": sum(line.is_marked for line in lines),
        "document_fault": fault,
    }


async def _activity(call: PageCall) -> dict[str, Any]:
    """Return the newest requests and the events of the VM."""
    requests, fault = [], None
    try:
        query = {"vm": call.name, "limit": str(MOST_REQUESTS), "newest": "true"}
        requests = (await call.read("list_requests", **query))["items"]
    except PageProblemError as error:
        fault = error.problem.detail
    events = (await call.read("list_events", vm=call.name, limit="100"))["items"]
    return {"requests": requests[::-1], "requests_fault": fault, "events": events}


async def _placement(call: PageCall) -> dict[str, Any] | None:
    """Return the hosts of the VM, or None without hosts."""
    if call.services.hosts is None or not call.may("get_placement"):
        return None
    try:
        found: dict[str, Any] = await call.read("get_placement", call.name)
    except PageProblemError:
        return None
    return found


def _change(operation: str, media: str, call: PageCall, fields: dict[str, str]) -> OperationCall:
    """Return the request that changes the revision which the form was made of."""
    revision = fields.get("revision", "")
    return OperationCall(
        operation=operation,
        path={"name": call.name},
        headers={"if-match": f'"{revision}"' if revision.isascii() else ""},
        body=fields.get("body", "").encode(),
        media=media,
    )


def _replace(call: PageCall, fields: dict[str, str]) -> OperationCall:
    return _change("put_vm", JSON, call, fields)


def _patch(call: PageCall, fields: dict[str, str]) -> OperationCall:
    return _change("patch_vm", _MERGE_PATCH, call, fields)


def _remove(call: PageCall, fields: dict[str, str]) -> OperationCall:
    return _change("delete_vm", JSON, call, {"revision": fields.get("revision", "")})


def _changed(call: PageCall, _: dict[str, str], answer: Any) -> str:  # noqa: ANN401 - JSON
    return f"{call.name} is changed (revision {answer['revision']})."


def _removed(call: PageCall, _: dict[str, str], __: object) -> str:
    return f"{call.name} is removed."


def _to_vm(call: PageCall, _: dict[str, str], __: object) -> str:
    return vm_url(call.name)


def _to_fleet(_: PageCall, __: dict[str, str], ___: object) -> str:
    return page_url("/")


PAGE = PageRow(
    path=PATH,
    title="VM",
    template="vm.html",
    values=vm_values,
    is_in_navigation=False,
    live=(ACTIVITY,),
    version=vm_version,
)
FORMS = (
    FormRow(path=REPLACE, page=PATH, call=_replace, notice=_changed, then=_to_vm),
    FormRow(path=PATCH, page=PATH, call=_patch, notice=_changed, then=_to_vm),
    FormRow(path=REMOVE, page=PATH, call=_remove, notice=_removed, then=_to_fleet),
)
