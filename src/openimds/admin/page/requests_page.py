"""The page of recorded requests: the newest ones, and the rules that they break."""

from typing import Any

from openimds.admin.page.page_row import PageCall, PageProblemError, PageRow
from openimds.facts.lint import rule

MOST_REQUESTS = 100
"""Requests on the page."""


async def requests_values(call: PageCall) -> dict[str, Any]:
    """Return the values of the page."""
    chosen = {key: call.query.get(key, "") for key in ("vm", "status", "unknown", "broken")}
    query = {"status": chosen["status"]} if chosen["status"] else {}
    if chosen["unknown"] or chosen["vm"]:
        query["vm"] = "" if chosen["unknown"] else chosen["vm"]
    lack, items = None, []
    try:
        page = await call.read(
            "list_requests", newest="true", rules="true", limit=str(MOST_REQUESTS), **query
        )
        items = page["items"][::-1]
    except PageProblemError as error:
        lack = error.problem
    if chosen["broken"]:
        items = [one for one in items if one["rules"]]
    counts: dict[str, int] = {}
    for one in items:
        for key in one["rules"]:
            counts[key] = counts.get(key, 0) + 1
    return {
        "chosen": chosen,
        "is_filtered": any(chosen.values()),
        "lack": lack,
        "requests": items,
        "broken": [(rule(key), count) for key, count in counts.items()],
    }


PAGES: tuple[PageRow, ...] = (
    PageRow(
        path="/requests",
        title="Requests",
        template="requests.html",
        values=requests_values,
        live=("requests",),
    ),
)
