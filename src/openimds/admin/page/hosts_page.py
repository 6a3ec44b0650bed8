"""The page of the hosts of a fleet: lag, feed and certificate of each."""

from typing import Any

from openimds.admin.page.page_row import PageCall, PageRow
from openimds.admin.page.rendering import page_url
from openimds.admin.page.wording import duration

PART = "100"
"""Hosts on one page."""


async def hosts_values(call: PageCall) -> dict[str, Any]:
    """Return the values of the page; without hosts there is a sentence that says so.

    Raises:
        PageProblemError: the cursor is none.
    """
    if call.services.hosts is None:
        return {"is_one": True, "rows": [], "next_url": "", "is_later": False}
    cursor = call.query.get("cursor", "")
    page = await call.read("list_hosts", limit=PART, **({"cursor": cursor} if cursor else {}))
    now_s = call.services.fleet_service.utc()
    for row in page["items"]:
        ends_s = row["certificateEndsS"]
        row["left"] = "-" if ends_s is None else duration(ends_s - now_s)
        row["has_ended"] = ends_s is not None and ends_s <= now_s
    return {
        "is_one": False,
        "rows": page["items"],
        "next_url": page_url("/hosts", cursor=page["next"]) if page["next"] else "",
        "is_later": bool(cursor),
    }


PAGE = PageRow(
    path="/hosts", title="Hosts", template="hosts.html", values=hosts_values, live=("hosts",)
)
