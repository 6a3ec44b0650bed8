"""The operations on faults and playbooks."""

import asyncio
from collections.abc import Iterable
from http import HTTPStatus

import msgspec.json
from starlette.requests import Request
from starlette.responses import Response

from openimds.admin.auth import body_of
from openimds.admin.problem import ProblemError
from openimds.events.log_format import date_of
from openimds.facts.faults import FaultParameter
from openimds.facts.playbooks import PLAYBOOKS, Playbook
from openimds.faults import ActiveFault, FaultService
from openimds.protocol.faults.fault import fault_to_value
from openimds.vm.decode import decode


class FaultHandlers:
    """The handlers that show what goes wrong on request, and change it."""

    def __init__(self, faults: FaultService) -> None:
        """Serve the faults of a server."""
        self._faults = faults

    async def list_faults(self, _: Request) -> Response:
        """List the faults that are set, in the order in which they are tried."""
        return _page(map(view, self._faults.running))

    async def set_faults(self, request: Request) -> Response:
        """Set a fault, or all of a playbook, from now on."""
        value = decode(await body_of(request), "body.json")
        made = await asyncio.shield(self._faults.set(value))
        return _page(map(view, made), HTTPStatus.CREATED)

    async def clear_faults(self, _: Request) -> Response:
        """Clear all faults."""
        await asyncio.shield(self._faults.clear())
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def clear_fault(self, request: Request) -> Response:
        """Clear one fault."""
        key = request.path_params["id"]
        if not await asyncio.shield(self._faults.clear(key)):
            detail = f'There is no fault "{key}"; GET /v1/faults lists them'
            raise ProblemError(HTTPStatus.NOT_FOUND, detail)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def list_playbooks(self, _: Request) -> Response:
        """List the playbooks."""
        return _page(map(_playbook, PLAYBOOKS.values()))


def view(one: ActiveFault) -> dict[str, object]:
    """Return a fault as the admin API shows it."""
    return {
        "id": one.key,
        "origin": one.origin,
        **fault_to_value(one.spec),
        "begun": date_of(one.begun_s),
        "seen": one.seen,
        "played": one.played,
    }


def _playbook(row: Playbook) -> dict[str, object]:
    return {
        "playbook": row.key,
        "about": row.about,
        "why": row.why,
        "evidence": row.evidence.mark,
        "sources": " ".join(row.evidence.sources),
        "parameters": [_parameter(one) for one in row.parameters],
    }


def _parameter(row: FaultParameter) -> dict[str, object]:
    return {"name": row.name, "sort": row.sort, "about": row.about, "default": row.default}


def _page(items: Iterable[object], status: HTTPStatus = HTTPStatus.OK) -> Response:
    body = msgspec.json.encode({"items": [*items], "next": None})
    return Response(body, status, media_type="application/json")
