"""The document of `/metadata/loadbalancer`."""

from collections.abc import Mapping
from typing import Any

import msgspec.json

from openimds.facts.balancer import LISTS
from openimds.facts.endpoints import Endpoint
from openimds.protocol.request import Query

_DEFAULTS: dict[str, object] = {"frontendPort": 0, "backendPort": 0, "protocol": "tcp"}


def document(balancer: Mapping[str, Any], address: str) -> bytes:
    """Return the body of the document of a VM's load balancer.

    `address` is the private address for rules that have none.
    """
    lists = {
        row.name: [_rule(rule, row.names, address) for rule in balancer.get(row.name, ())]
        for row in LISTS
    }
    return msgspec.json.encode({"loadbalancer": lists})


def is_expected(query: Query, endpoint: Endpoint) -> bool:
    """Tell whether a query has no other parameters than those of the endpoint."""
    return query.parameters.keys() <= {"api-version", *(row.name for row in endpoint.parameters)}


def _rule(rule: Mapping[str, Any], names: tuple[str, ...], address: str) -> dict[str, object]:
    defaults = {**_DEFAULTS, "privateIpAddress": address}
    return {name: _bracketed(rule.get(name, defaults.get(name, ""))) for name in names}


def _bracketed(value: object) -> object:
    """Return an IPv6 address in the brackets that the service puts around it (S16)."""
    if isinstance(value, str) and ":" in value and not value.startswith("["):
        return f"[{value}]"
    return value
