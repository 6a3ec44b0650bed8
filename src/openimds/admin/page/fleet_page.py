"""The page of all VMs: filtered, searched, sorted, in parts of a hundred."""

from typing import Any

from msgspec import Struct

from openimds.admin.page.fleet_table import QUARANTINED, SERVED, SORTS, FleetTable, VmSummary
from openimds.admin.page.page_row import PageCall, PageRow
from openimds.admin.page.rendering import page_url
from openimds.admin.page.vm_traffic import lack_of_traffic
from openimds.admin.problem import of_config
from openimds.errors import ConfigError
from openimds.vm.selector import parse_selector

PART = 100
"""VMs on one page."""


class FleetQuery(Struct, frozen=True):
    """The wanted rows: search, selector, state, order and part."""

    search: str
    select: str
    state: str
    sort: str
    is_reversed: bool
    part: int

    @property
    def parameters(self) -> dict[str, str]:
        """The query parameters of this choice, without the part."""
        return {
            "q": self.search,
            "select": self.select,
            "state": self.state,
            "sort": self.sort if self.sort != "name" or self.is_reversed else "",
            "order": "down" if self.is_reversed else "",
        }


async def fleet_values(call: PageCall) -> dict[str, Any]:
    """Return the values of the page."""
    query, problem = read_query(call), None
    view = call.fleet
    rows = await view.table.rows()
    total = len(rows)
    try:
        found = await _found(view.table, rows, query)
    except ConfigError as error:
        found, problem = [], of_config(error)
    found.sort(key=SORTS[query.sort], reverse=query.is_reversed)
    parts = max(1, -(-len(found) // PART))
    part = min(query.part, parts)
    shown = found[(part - 1) * PART : part * PART]
    return {
        "choice": query,
        "select_problem": problem,
        "total": total,
        "quarantined": len(call.services.fleet_service.fleet_index.quarantine),
        "found": len(found),
        "first": (part - 1) * PART + 1,
        "rows": shown,
        "traffic": await view.traffic.read([row.name for row in shown if row.state == SERVED]),
        "traffic_lack": lack_of_traffic(call.services.recording),
        "has_hosts": call.services.hosts is not None,
        "part": part,
        "parts": parts,
        "part_urls": _part_urls(query, part, parts),
        "sort_urls": {key: _sort_url(query, key) for key in SORTS},
        "states": (SERVED, QUARANTINED),
    }


async def fleet_version(call: PageCall) -> str:
    """Return a text that changes with the rows or their requests."""
    index, counted = call.services.fleet_service.fleet_index, await call.fleet.traffic.version()
    return f"{index.generation}-{len(index.quarantine)}-{counted}-{call.grant.role}"


def read_query(call: PageCall) -> FleetQuery:
    """Return the wanted rows; an unknown value counts as absent."""
    query = call.query
    sort, state, part = query.get("sort", ""), query.get("state", ""), query.get("page", "")
    return FleetQuery(
        query.get("q", "").strip(),
        query.get("select", "").strip(),
        state if state in {SERVED, QUARANTINED} else "",
        sort if sort in SORTS else "name",
        query.get("order") == "down",
        max(1, int(part)) if part.isascii() and part.isdecimal() and len(part) < 7 else 1,  # noqa: PLR2004
    )


async def _found(table: FleetTable, rows: list[VmSummary], query: FleetQuery) -> list[VmSummary]:
    """Return the rows that a query asks for.

    Raises:
        ConfigError: its selector is none.
    """
    found = rows
    if query.select:
        chosen = await table.chosen(parse_selector(query.select))
        found = [row for row in found if row.name in chosen]
    if query.state:
        found = [row for row in found if row.state == query.state]
    if query.search:
        wanted = query.search.lower()
        found = [row for row in found if wanted in row.text]
    return [*found]


def _part_urls(query: FleetQuery, part: int, parts: int) -> dict[str, str]:
    """Return the URLs of a part's neighbours; empty for an absent one."""
    numbers = {"first": 1, "previous": part - 1, "next": part + 1, "last": parts}
    return {
        key: page_url("/", **query.parameters, page=number)
        if 1 <= number <= parts and number != part
        else ""
        for key, number in numbers.items()
    }


def _sort_url(query: FleetQuery, key: str) -> str:
    is_down = query.sort == key and not query.is_reversed
    more = {"sort": key, "order": "down" if is_down else ""}
    return page_url("/", **{**query.parameters, **more})


PAGE = PageRow(
    path="/",
    title="Fleet",
    template="fleet.html",
    values=fleet_values,
    live=("vms",),
    version=fleet_version,
)
