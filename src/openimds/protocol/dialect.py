"""The form of IMDS for a machine, by its kind, cloud and system."""

from msgspec import structs

from openimds.facts.clouds import CLOUDS
from openimds.facts.endpoints import CATEGORIES, ENDPOINTS
from openimds.facts.kinds import KINDS, VM
from openimds.facts.versions import Catalog, catalog
from openimds.protocol.request import Query
from openimds.vm.defaults import text_at
from openimds.vm.types import Vm

_TOKEN, _APP_SERVICE, _WINDOWS = "token", "app_service", "windows"
_CATEGORIES = {row.key: row for row in CATEGORIES}
_ENDPOINTS = {row.key: row for row in ENDPOINTS}
_AT_TOKEN_PATH = {
    kind.answers_as: structs.replace(
        _ENDPOINTS[kind.answers_as],
        path=_ENDPOINTS[_TOKEN].path,
        verbs=_ENDPOINTS[_TOKEN].verbs,
        has_form=False,
    )
    for kind in KINDS.values()
    if kind.answers_as
}
"""The endpoints that answer at IMDS's token path for some kinds of machines, by their keys."""


def in_dialect(query: Query, vm: Vm) -> Query:
    """Return a query in the dialect of a VM, as `handle` and `resume` expect it."""
    key = query.endpoint.key if query.endpoint else ""
    if key == _TOKEN and KINDS[vm.kind].answers_as:
        endpoint = _AT_TOKEN_PATH[KINDS[vm.kind].answers_as]
        return structs.replace(query, endpoint=endpoint, category=_CATEGORIES[endpoint.category])
    if key == _APP_SERVICE and text_at(vm, "compute.osType").lower() == _WINDOWS:
        return structs.replace(query, is_on_windows=True)
    return query


def within_reach(query: Query, vm: Vm) -> Query:
    """Return a query whose path is unknown where the VM's kind or cloud lacks it."""
    kind = KINDS[vm.kind]
    if vm.kind != VM:
        is_exact = query.is_header_exact or not kind.needs_exact_header
        query = structs.replace(
            _among(query, kind.endpoints),
            has_metadata_header=query.has_metadata_header and is_exact,
        )
    endpoints = CLOUDS[vm.cloud].endpoints
    return _among(query, endpoints) if endpoints else query


def _among(query: Query, keys: tuple[str, ...]) -> Query:
    """Return a query whose path is unknown unless its endpoint is among `keys`."""
    is_reached = query.endpoint is not None and query.endpoint.key in keys
    return query if is_reached else structs.replace(query, endpoint=None)


def catalog_of(vm: Vm, region: Catalog) -> Catalog:
    """Return the api-versions of a VM, which its region and its cloud limit."""
    newest = CLOUDS[vm.cloud].newest
    return catalog(min(newest, region.general[-1])) if newest else region
