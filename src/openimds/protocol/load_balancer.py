"""The document of `/metadata/loadbalancer`."""

from collections.abc import Mapping
from typing import Any

import msgspec.json

from openimds.facts.balancer import LISTS
from openimds.facts.endpoints import Endpoint
from openimds.protocol.request import Query

_DEFAULTS: dict[str, object] = {"frontendPort": 0, "backendPort": 0, "protocol": "tcp"}


def document(said: Mapping[str, Any], address: str) -> bytes:
    """Return the document; `address` is the private address of rows that name none."""
    lists = {
        row.name: [_row(one, row.names, address) for one in said.get(row.name, ())] for row in LISTS
    }
    return msgspec.json.encode({"loadbalancer": lists})


def is_expected(query: Query, endpoint: Endpoint) -> bool:
    """Tell whether a request has only parameters that the endpoint knows."""
    return query.parameters.keys() <= {"api-version", *(one.name for one in endpoint.parameters)}


def _row(said: Mapping[str, Any], members: tuple[str, ...], address: str) -> dict[str, object]:
    defaults = {**_DEFAULTS, "privateIpAddress": address}
    return {name: _bracketed(said.get(name, defaults.get(name, ""))) for name in members}


def _bracketed(value: object) -> object:
    """Return an IPv6 address in the brackets that the service puts around it (S16)."""
    if isinstance(value, str) and ":" in value and not value.startswith("["):
        return f"[{value}]"
    return value
