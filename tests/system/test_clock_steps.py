"""A wall clock that is set while a server runs.

Both of its processes read the clock of `set_clock`.
"""

import re
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec.json
import pytest

from openimds.credentials.pki.cms import open_envelope
from tests.system.process import Server, serving

pytestmark = pytest.mark.system

DOCUMENT = "/metadata/attested/document?api-version=2021-02-01"
TOKEN = (
    "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net"
)
EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"
HOUR_S = 3600
MIDDLE = 1_000_000


class Stage:
    """A server, and its clock."""

    def __init__(self, server: Server, clock: Path) -> None:
        self.server, self._clock = server, clock

    def set_clock(self, ahead_s: int) -> float:
        """Set the server's clock ahead of the machine's; return its time."""
        with self._clock.open("ab") as file:
            file.truncate(MIDDLE + ahead_s)
        return time.time() + ahead_s

    def get(self, target: str) -> Any:
        got = httpx2.get(f"{self.server.url}{target}", headers={"Metadata": "true"}, timeout=60)
        return got.raise_for_status().json()

    def issued_s(self) -> float:
        """Return the time at which the token of the VM was issued."""
        _, claims, _ = self.get(TOKEN)["access_token"].split(".")
        issued: float = msgspec.json.decode(b64decode(f"{claims}==", "-_"))["iat"]
        return issued

    def signed(self) -> str:
        """Return the time of the attested document, as it is written there."""
        content = open_envelope(b64decode(self.get(DOCUMENT)["signature"])).payload
        assert content
        stamp: str = msgspec.json.decode(content)["timeStamp"]["createdOn"]
        return stamp

    def admin(self) -> httpx2.Client:
        headers = self.server.authorization
        return httpx2.Client(base_url=self.server.ready["admin"], headers=headers, timeout=60)


@contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    clock = folder / "clock"
    with clock.open("wb") as file:
        file.truncate(MIDDLE)
    (folder / "fleet.yaml").write_text("vms: {a: {identities: {system: true}}}")
    python = {"PYTHONPATH": str(Path(__file__).parent / "set_clock")}
    with serving(
        *("--fleet", "fleet.yaml", "--no-rate-limit"),
        cwd=folder,
        CLOCK_OF_TEST=str(clock),
        **python,
    ) as server:
        yield Stage(server, clock)


def written(at_s: float) -> str:
    """Return the hour of a time as an attested document writes it."""
    return time.strftime("%m/%d/%y %H:", time.gmtime(at_s))


def test_clock_set_back_leaves_nothing_of_the_future(tmp_path: Path) -> None:
    with stage(tmp_path) as one:
        for _ in range(2):  # The second time they are cached.
            assert one.issued_s() > time.time() - 400
            assert one.signed()[:12] == written(time.time())
        now_s = one.set_clock(-2 * HOUR_S)
        assert one.issued_s() <= now_s + 60
        assert one.signed()[:12] == written(now_s)
        assert re.fullmatch(
            r"openimds: the wall clock was set back by (7199|7200|7201) s: .*\n",
            one.server.next_line(),
        )
        with one.admin() as admin:
            assert 'openimds_clock_steps_total{direction="back"} 1.0' in admin.get("/metrics").text


def test_event_begins_when_the_clock_goes_forward(tmp_path: Path) -> None:
    with stage(tmp_path) as one, one.admin() as admin:
        body = {"type": "Reboot", "vms": ["a"], "in_s": HOUR_S}
        admin.post("/v1/events", json=body).raise_for_status()
        with admin.stream("GET", "/v1/changes") as feed:
            assert one.get(EVENTS)["Events"][0]["EventStatus"] == "Scheduled"
            begun_s = time.monotonic()
            one.set_clock(HOUR_S)
            assert any("Started" in line for line in feed.iter_lines())
        assert time.monotonic() - begun_s < 20, "the timers alone look after 30 s"
        assert one.get(EVENTS)["Events"][0]["EventStatus"] == "Started"
