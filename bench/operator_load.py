"""An operator at work: `python -m bench.operator_load URL TOKEN_FILE WORK COUNT`.

It repeats its work until its standard input ends; events, which stay, it declares once. `sent` are
the times that the work was done, `seconds` those from the first beginning to the last end.
"""

import sys
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path

from bench.changes import AdminClient
from bench.fleets import name, unknown_address
from bench.loads import Counts, ready, report, start_late

FEEDS, LARGE, EVENT, LIST = "feeds", "large", "event", "list"
_VM = "/v1/vms/operators"
_READERS = 250
_TAGS = 4000
_PAGE = 1000


def _zone(admin: AdminClient, number: int, _count: int) -> None:
    admin.send("PUT", _VM, {"compute": {"zone": str(number)}, **_nowhere()})


def _large(admin: AdminClient, number: int, _count: int) -> None:
    """Put a VM of 1 MB."""
    tags = {f"tag-{tag:04}": "x" * 240 for tag in range(_TAGS)} | {"n": str(number)}
    admin.send("PUT", _VM, {"compute": {"tags": tags}, **_nowhere()})


def _event(admin: AdminClient, _number: int, count: int) -> None:
    """Declare an event of many VMs."""
    vms = [name(number) for number in range(count)]
    admin.send("POST", "/v1/events", {"type": "Reboot", "vms": vms})


def _list(admin: AdminClient, _number: int, _count: int) -> None:
    """List the whole fleet."""
    cursor: str | None = ""
    while cursor is not None:
        page = admin.send("GET", f"/v1/vms?limit={_PAGE}{cursor}")
        cursor = page["next"] and f"&cursor={page['next']}"


_WORKS: dict[str, Callable[[AdminClient, int, int], None]] = {
    FEEDS: _zone,
    LARGE: _large,
    EVENT: _event,
    LIST: _list,
}


def _nowhere() -> dict[str, object]:
    return {"reach": {"address": [unknown_address(0)]}}


def _open_feeds(url: str, token: str) -> list[HTTPConnection]:
    """Open feeds that nobody reads."""
    readers = []
    for _ in range(_READERS):
        reader = HTTPConnection(url.removeprefix("http://"), timeout=60)
        reader.request("GET", "/v1/changes", headers={"Authorization": f"Bearer {token}"})
        readers.append(reader)
    return readers


def main(url: str, token_file: str, work: str, count: str) -> None:
    """Do the work again and again."""
    start_late()
    admin = AdminClient(url, Path(token_file))
    readers = _open_feeds(url, admin.token) if work == FEEDS else []
    counts, start_s = Counts(), time.perf_counter()
    wanted = ready()
    while wanted.is_alive():
        _WORKS[work](admin, counts.sent, int(count))
        counts.sent += 1
        counts.seconds = time.perf_counter() - start_s
        if work == EVENT:
            break
    wanted.join()
    for reader in readers:
        reader.close()
    report(counts)


if __name__ == "__main__":
    main(*sys.argv[1:])
