"""The operation that tells how clients of a VM find its ways to tokens."""

from collections.abc import Callable
from typing import TypeAlias

import msgspec.json
from starlette.requests import Request
from starlette.responses import Response

from openimds.control.vms import no_vm
from openimds.desk import Desk, vm_of
from openimds.model.vm import Vm

WaysOf: TypeAlias = Callable[[Vm], dict[str, dict[str, str]]]
"""Gives the variables of each way that a VM's clients can go; none where no URL leads to it."""


class Endpoints:
    """The handler that hands out the secret of a VM: to whoever has the token of the admin API."""

    def __init__(self, desk: Desk, ways_of: WaysOf) -> None:
        """Serve the VMs of a desk."""
        self._desk, self._ways_of = desk, ways_of

    async def get_endpoints(self, request: Request) -> Response:
        """Return the variables that make clients of a VM take each way to a token."""
        name = request.path_params["name"]
        stored = await self._desk.ask(self._desk.store.get, name)
        if stored is None:
            raise no_vm(name)
        said = {"vm": name, "variables": self._ways_of(vm_of(stored))}
        # It holds a secret: nobody in between shall keep it.
        headers = {"Cache-Control": "no-store"}
        return Response(msgspec.json.encode(said), headers=headers, media_type="application/json")
