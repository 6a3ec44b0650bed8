"""The pages of hosts and of the server's health."""

from pathlib import Path

import pytest
from msgspec import structs

from openimds.admin.metrics import METRICS
from openimds.admin.page.health_page import MOST_SERIES
from openimds.admin.page.wording import duration, moment, number, short_moment, size
from openimds.admin.roles import Role
from openimds.errors import Error
from tests.unit.admin.page.browser import cells, signed_in, text_of
from tests.unit.admin.setup import AdminServer, standing, with_server

DAY_S = 86_400.0


class Metrics:
    """A metrics source with given values."""

    def __init__(self, **samples: object) -> None:
        self._samples = samples

    async def samples(self) -> dict[str, object]:
        return self._samples


def test_single_server_says_that_it_is_the_only_host(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        server.use(structs.replace(server.services, hosts=None))
        browser = await signed_in(server, Role.READ)
        assert "This server has one host: itself" in text_of(await browser.get("/ui/hosts"))

    with_server(tmp_path, work)


def test_host_is_shown_with_lag_feed_and_certificate(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        now_s = server.now_s
        server.hosts.shown = [
            standing("a", certificate_ends_s=now_s + 3 * DAY_S),
            standing("b", is_settled=False, unshown_vms=3, unshown_scopes=1, unshown_age_s=75.0),
            standing(
                "c",
                is_connected=False,
                revision=None,
                unshown_vms=None,
                unshown_age_s=5.0,
                silent_s=None,
                certificate_ends_s=None,
                leaf_failure="no key",
                join_token_reuses=2,
                refused={"web-1": "its address is taken"},
            ),
            standing("d", state="invited", is_connected=False),
        ]
        browser = await signed_in(server, Role.READ)
        answer = await browser.get("/ui/hosts")
        first, second, third, fourth = cells(answer)[1:]
        assert first[2:7] == ["up to date", "2", "nothing", "7", "1.0 s ago"]
        assert first[7].endswith("Z in 3 d 0 h")
        assert (second[2], second[4]) == ("catching up", "3 VMs, 1 scopes, for 1 min 15 s")
        assert second[7].endswith("ended")
        assert third[2] == "not connected"
        assert third[4:8] == ["for 5.0 s", "-", "-", "-"]
        for text in ("documents: no key", "2 attempts", "web-1 : its address is taken"):
            assert text in third[9]
        assert fourth[1] == "invited"
        live = await browser.get("/ui/hosts?live=hosts")
        assert len(cells(live)) == 5

    with_server(tmp_path, work)


def test_many_hosts_come_in_parts(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        server.hosts.shown = [standing(f"host-{one:03}") for one in range(101)]
        browser = await signed_in(server)
        answer = await browser.get("/ui/hosts")
        assert len(cells(answer)) == 101
        path = answer.text.partition('<a href="/ui/hosts?')[2].partition('"')[0]
        answer = await browser.get(f"/ui/hosts?{path}")
        assert [row[0] for row in cells(answer)[1:]] == ["host-100"]
        assert '<a href="/ui/hosts">First</a>' in answer.text
        assert (await browser.get("/ui/hosts?cursor=x")).status_code == 400
        server.hosts.shown = []
        assert "No host follows" in text_of(await browser.get(f"/ui/hosts?{path}"))
        assert "openimds control host add" in text_of(await browser.get("/ui/hosts"))

    with_server(tmp_path, work)


def test_health_has_the_values_of_readiness_and_metrics(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        now_s = server.now_s
        many = {f"r{one}": 2.0 for one in range(MOST_SERIES + 1)}
        metrics = Metrics(
            openimds_vms=10_000,
            openimds_store_age_seconds=75.0,
            openimds_cache_bytes=5 << 20,
            openimds_refusals=many,
            openimds_requests={("/instance", "200"): 3.0},
            openimds_host_vms={"host-1": 3.0},
            openimds_token_key_expiry_timestamp_seconds=now_s + DAY_S,
            openimds_admin_certificate_expiry_timestamp_seconds=now_s - DAY_S,
            openimds_fleet_file_last_reload_success_timestamp_seconds=0.0,
            openimds_process_start_time_seconds={"host": now_s - 75.0},
        )
        server.use(structs.replace(server.services, metrics=metrics))
        browser = await signed_in(server, Role.READ)
        answer = await browser.get("/ui/health")
        values = {row[2]: row[1] for row in cells(answer) if len(row) == 3}
        assert values["openimds_vms"] == "10,000"
        assert values["openimds_store_age_seconds"] == "1 min 15 s"
        assert values["openimds_cache_bytes"] == "5.0 MiB"
        assert (
            values["openimds_refusals_total"] == f"{MOST_SERIES + 1} series {2 * MOST_SERIES + 2}"
        )
        assert values["openimds_requests_total"] == "/instance 200 3"
        assert values["openimds_token_key_expiry_timestamp_seconds"].endswith("(in 1 d 0 h)")
        past = "openimds_admin_certificate_expiry_timestamp_seconds"
        assert values[past].endswith("(1 d 0 h ago)")
        remedy = METRICS[past].remedy
        assert (remedy in text_of(answer)) is bool(remedy)
        never = "openimds_fleet_file_last_reload_success_timestamp_seconds"
        assert values[never] == "never"
        started = values["openimds_process_start_time_seconds"]
        assert started == f"host {moment(now_s - 75.0)} (1 min 15 s ago)"
        assert "openimds_host_vms" not in values
        assert "ready Guests are served, and changes are written." in text_of(answer)

    with_server(tmp_path, work)


def test_health_says_why_the_server_is_not_ready(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        browser = await signed_in(server)
        server.store.fails.add("problem")
        text = text_of(await browser.get("/ui/health"))
        assert "degraded Guests are served, but changes are refused." in text
        assert "fleet.db: the disk is full" in text
        server.host_error = Error("the host role does not answer")
        text = text_of(await browser.get("/ui/health?live=health"))
        assert "not ready Guests are not served." in text
        assert "the host role does not answer" in text

    with_server(tmp_path, work)


@pytest.mark.parametrize(
    "seconds, text",
    [
        (None, "-"),
        (0.0, "0.0 s"),
        (-75, "-1 min 15 s"),
        (42, "42 s"),
        (3_700, "1 h 1 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_duration_is_written_in_two_units(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_values_are_written_for_people() -> None:
    assert moment(None) == short_moment("") == "-"
    assert moment(0) == "1970-01-01 00:00:00Z"
    assert short_moment("2026-11-22T19:54:46.000+00:00") == "2026-11-22 19:54:46Z"
    assert [size(1 << shift) for shift in (3, 10, 20, 40)] == [
        "8 B",
        "1.0 KiB",
        "1.0 MiB",
        "1024.0 GiB",
    ]
    assert (number(1234567), number(0.5)) == ("1,234,567", "0.500")
