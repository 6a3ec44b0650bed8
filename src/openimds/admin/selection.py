"""Selectors in requests: the query parameters `select` and `name`, and the member `select`."""

from http import HTTPStatus
from typing import Any

import msgspec.json
from starlette.requests import Request

from openimds.admin.operation import QueryParameter
from openimds.admin.problem import ProblemError, bad_query, not_found
from openimds.admin.services import AdminServices
from openimds.admin.token_scope import check_name, narrowed, scope_of
from openimds.errors import ConfigError
from openimds.fleet.selection import choose_names
from openimds.parameters import Parameter, nearest
from openimds.vm.selector import (
    EXAMPLE,
    KEYS,
    LONGEST,
    Selector,
    is_pattern,
    parse_selector,
    read_selector,
)

MOST_SELECTED = 10_000
"""The most VMs that one request selects to act on them; one of names alone may name more."""
_KEYS = ", ".join(f"`{row.key}` ({row.help})" for row in KEYS)
SELECT = QueryParameter(
    Parameter(
        "select",
        str,
        f"Only VMs that fit `KEY=VALUE`, of which commas join several, with {_KEYS}.",
        maximum=LONGEST,
    ),
    EXAMPLE,
)
NAMES = QueryParameter(
    Parameter("name", str, "Only VMs of these names, by commas; with wildcards as `web-*`."),
    "web-*",
)
SELECTION = (SELECT, NAMES)
MEMBER = Parameter(
    "select",
    str,
    f"A selector of VMs, such as `{EXAMPLE}`, at the time of the request.",
    maximum=LONGEST,
)
"""The member of a body: the VMs it chooses, among those of `vms` if there are any."""


def query_selector(request: Request) -> Selector | None:
    """Return the selector in a query, within the token's own; None for all VMs.

    Raises:
        ProblemError: 400, it is none, or an empty one.
    """
    given = request.query_params
    names = [one for text in given.getlist("name") for one in text.split(",")]
    texts = given.getlist("select")
    if not names and not texts:
        return narrowed(request, None)
    try:
        selector = read_selector(names, texts)
    except ConfigError as error:
        raise bad_query(error) from None
    if not all(names) or not all(texts):
        where = "select" if all(names) else "name"
        expected = "names of VMs, or a selector"
        raise bad_query(ConfigError(where, "an empty text", expected, "Leave it out"))
    return narrowed(request, selector)


def acting_selector(request: Request) -> Selector | None:
    """Return the selector of a request that acts on all VMs without one.

    Raises:
        ProblemError: 400, as `query_selector`, or the query has another parameter.
    """
    known = [query.row.name for query in SELECTION]
    for name in request.query_params:
        if name not in known:  # A mistyped selector must not mean all VMs.
            error = ConfigError("query", f'"{name}"', "select or name", nearest(name, known))
            raise bad_query(error)
    return query_selector(request)


async def selected(services: AdminServices, selector: Selector, most: int) -> list[str]:
    """Return the names of the VMs that a request acts on.

    Raises:
        ProblemError: 404 for none, 400 for more than `most`.
    """
    names = await choose_names(services.fleet_service, selector, most + 1)
    if not names:
        raise not_found("The request selects no VM; GET /v1/vms with its query lists them")
    if len(names) > most:
        raise bad_query(_too_many("select", most))
    return names


async def with_names(
    services: AdminServices, request: Request, value: object, most: int = MOST_SELECTED
) -> object:
    """Return a body whose `vms` are names, in the place of `select` and of wildcards.

    A body without either is returned as it is. A token that is bound to VMs has to name its own.

    Raises:
        ConfigError: a selector or a name with wildcards that chooses no VM, or too many.
        ProblemError: 404, a name that is not of the token's VMs; 403, no names.
    """
    value = await _with_names(services, request, value, most)
    scope = scope_of(request)
    if scope and isinstance(value, dict):
        vms = value.get("vms")
        if not isinstance(vms, list) or not vms:
            detail = (
                f'vms: none, and the token of this request is bound to "{scope.text}"; name VMs'
            )
            raise ProblemError(HTTPStatus.FORBIDDEN, detail)
        for name in vms:
            check_name(services, request, str(name))
    return value


async def _with_names(
    services: AdminServices, request: Request, value: object, most: int
) -> object:
    if not isinstance(value, dict):
        return value
    text, vms = value.get("select"), value.get("vms")
    names = [name for name in vms if isinstance(name, str)] if isinstance(vms, list) else []
    patterns = [name for name in names if is_pattern(name)]
    rest: dict[str, Any] = {key: member for key, member in value.items() if key != "select"}
    if text is None and not patterns:
        return rest
    if text is not None and not isinstance(text, str):
        raise ConfigError("select", msgspec.json.encode(text).decode()[:40], "a string")
    if text is None:
        exact = [name for name in names if not is_pattern(name)]
        fitting = narrowed(request, read_selector(patterns)) or Selector()
        chosen = await _chosen(services, fitting, "vms", ", ".join(patterns), most)
        return {**rest, "vms": [*exact, *(name for name in chosen if name not in {*exact})]}
    parse_selector(text)
    selector = narrowed(request, read_selector(names, [text])) or Selector()
    return {**rest, "vms": await _chosen(services, selector, "select", text, most)}


async def _chosen(
    services: AdminServices, selector: Selector, where: str, text: str, most: int
) -> list[str]:
    names = await choose_names(services.fleet_service, selector, most + 1)
    if not names:
        hint = "GET /v1/vms takes the same selector, and lists them"
        raise ConfigError(where, f'"{text}", which chooses no VM', "one that chooses VMs", hint)
    if len(names) > most:
        raise _too_many(where, most)
    return names


def _too_many(where: str, most: int) -> ConfigError:
    return ConfigError(where, f"more than {most:,} VMs", f"at most {most:,}", "Choose fewer")
