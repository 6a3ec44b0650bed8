"""The page of scheduled events: their timeline, their log, and the clock of guests."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import structs

from openimds.admin.page.form_fields import body_of_form, form_fields
from openimds.admin.page.page_row import FormRow, OperationCall, PageCall, PageRow
from openimds.admin.page.rendering import page_url
from openimds.admin.page.wording import duration
from openimds.admin.selection import MEMBER
from openimds.events.clock import CLOCK
from openimds.facts.events import TRANSITIONS, EventStatus, Trigger
from openimds.protocol.events.request import ADVISORY, REQUEST

MOST_EVENTS, MOST_LINES, MOST_NAMES = 25, 30, 10
"""Events of a page, lines of the log on it, and names of VMs in one event."""
_EVENTS, _CLOCK = "/events", "/clock"
_WIDTH = 1000
"""The width of the timeline in its own units."""
_ORDERS = {
    Trigger.APPROVED: ("approve", "Approve"),
    Trigger.START: ("start", "Start"),
    Trigger.COMPLETE: ("complete", "Complete"),
    Trigger.CANCEL: ("cancel", "Cancel"),
}
"""The orders of operators: the end of a path, and the text of a button."""
_DONE = {"approve": "approved", "start": "started", "complete": "completed", "cancel": "cancelled"}
_FIRST = ("type", "vms", "select", "in_s", "description", "needs")
_FIELDS = sorted(
    # With a selector the names may be left out.
    (
        *(structs.replace(row, required=row.required and row.name != "vms") for row in REQUEST),
        MEMBER,
    ),
    key=lambda row: _FIRST.index(row.name) if row.name in _FIRST else len(_FIRST),
)
"""The fields of the form; the sort keeps the order of those that are not among the first."""
_ALLOWED = {(row.before, row.trigger) for row in TRANSITIONS}
_NEEDS_START = {Trigger.APPROVED, Trigger.START}


async def events_values(call: PageCall) -> dict[str, Any]:
    """Return the values of the page."""
    clock = await call.read("get_clock")
    now_s = _seconds(clock["now"])
    chosen = {key: call.query.get(key, "") for key in ("vm", "cursor")}
    page = await call.read(
        "list_events", limit=str(MOST_EVENTS), **{key: text for key, text in chosen.items() if text}
    )
    last = call.services.fleet_service.last_log_entry
    since = {"cursor": str(last - MOST_LINES)} if last > MOST_LINES else {}
    log = await call.read("list_event_log", limit=str(MOST_LINES), **since)
    is_declared, is_clock = call.form == _EVENTS, call.form == _CLOCK
    return {
        "clock": clock,
        "offset": _offset(clock["offsetS"]),
        "events": _views(page["items"], now_s),
        "chosen": chosen,
        "next_url": _next_url(chosen, page["next"]),
        "log": [_line(line) for line in reversed(log["items"])],
        "fields": form_fields(_FIELDS, call.typed if is_declared else _asked(chosen)),
        "clock_fields": form_fields(CLOCK, call.typed if is_clock else {}),
        "is_declared": is_declared,
        "is_clock": is_clock,
    }


def _offset(offset_s: float) -> str:
    """Return the lead of the guests' clock in words; empty for less than a second."""
    if abs(offset_s) < 1:
        return ""
    return f"{duration(abs(offset_s))} {'ahead' if offset_s > 0 else 'behind'}"


def _asked(chosen: Mapping[str, str]) -> dict[str, str]:
    return {"vms": chosen["vm"]} if chosen["vm"] else {}


def _next_url(chosen: Mapping[str, str], cursor: str | None) -> str:
    return page_url(_EVENTS, **{**chosen, "cursor": cursor}) if cursor else ""


def _views(events: list[dict[str, Any]], now_s: float) -> list[dict[str, Any]]:
    """Return the events with countdowns, orders, and places on one scale of time."""
    times = [(_seconds(one["created"]), _seconds(one["notBefore"])) for one in events]
    first = min((created for created, _ in times), default=now_s)
    last = max([now_s, *(not_before for _, not_before in times)])
    span = max(last - first, 1)

    def place(at_s: float) -> int:
        return round(max(0.0, min(1.0, (at_s - first) / span)) * _WIDTH)

    return [
        {
            **one,
            **_counted(one),
            "countdown": _countdown(one, not_before - now_s),
            "orders": _orders(one),
            "begin": place(created),
            "notice": max(place(not_before) - place(created), 2),
            "impact": place(_seconds(one["started"])) if one["started"] else None,
            "impact_width": max(place(now_s) - place(_seconds(one["started"])), 2)
            if one["started"]
            else 0,
            "now": min(place(now_s), _WIDTH - 2),
        }
        for one, (created, not_before) in zip(events, times, strict=True)
    ]


def _counted(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return the first names of VMs and of approvals, and the numbers of the others."""
    return {
        "vms": event["vms"][:MOST_NAMES],
        "others": max(len(event["vms"]) - MOST_NAMES, 0),
        "approvals": event["approvals"][:MOST_NAMES],
        "other_approvals": max(len(event["approvals"]) - MOST_NAMES, 0),
        "approval_count": len(event["approvals"]),
        "needed": len(event["vms"]) if event["needs"] == "all" else 1,
        "impact_length": "unknown" if event["durationS"] < 0 else duration(event["durationS"]),
    }


def _countdown(event: Mapping[str, Any], left_s: float) -> str:
    if event["status"] != EventStatus.SCHEDULED:
        return ""
    return f"in {duration(left_s)}" if left_s > 0 else "due"


def _orders(event: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the orders that an event can take now."""
    status, is_advisory = EventStatus(event["status"]), event["type"] in ADVISORY
    return [
        order
        for trigger, order in _ORDERS.items()
        if (status, trigger) in _ALLOWED and not (is_advisory and trigger in _NEEDS_START)
    ]


def _line(line: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **line,
        "vms": line["vms"][:MOST_NAMES],
        "others": max(len(line["vms"]) - MOST_NAMES, 0),
    }


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _declare(_: PageCall, typed: dict[str, str]) -> OperationCall:
    return OperationCall(operation="declare_events", body=body_of_form(_FIELDS, typed))


def _declared(_: PageCall, __: dict[str, str], answer: Any) -> str:  # noqa: ANN401 - JSON
    count = len(answer["items"])
    return f"{count} event{'s' if count != 1 else ''} declared."


def _set_clock(_: PageCall, typed: dict[str, str]) -> OperationCall:
    return OperationCall(operation="set_clock", body=body_of_form(CLOCK, typed))


def _clock_set(_: PageCall, __: dict[str, str], answer: Any) -> str:  # noqa: ANN401 - JSON
    return f"The clock of guests shows {answer['now'][:19].replace('T', ' ')}Z."


def _back(*_: object) -> str:
    return page_url(_EVENTS)


def _order_row(order: str) -> FormRow:
    operation = f"{order}_event"
    return FormRow(
        path=f"{_EVENTS}/{{name}}/{order}",
        page=_EVENTS,
        call=lambda call, _: OperationCall(operation=operation, path={"id": call.name}),
        notice=lambda _, __, answer: f"{answer['type']} {answer['id']} is {_DONE[order]}.",
        then=_back,
    )


PAGES: tuple[PageRow, ...] = (
    PageRow(
        path=_EVENTS,
        title="Events",
        template="events.html",
        values=events_values,
        live=("timeline",),
    ),
)
FORMS: tuple[FormRow, ...] = (
    FormRow(path=_EVENTS, page=_EVENTS, call=_declare, notice=_declared, then=_back),
    FormRow(path=_CLOCK, page=_EVENTS, call=_set_clock, notice=_clock_set, then=_back),
    *(_order_row(order) for order, _ in _ORDERS.values()),
)
