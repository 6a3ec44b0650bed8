"""Mistakes in the settings of a fleet host and of a control."""

import asyncio
import time
from pathlib import Path

import msgspec.json
import pytest

from openimds.credentials.hosts.authority import HostsCa
from openimds.credentials.hosts.join_token import JoinToken
from openimds.credentials.hosts.pod_files import PodFiles
from openimds.errors import ConfigError
from openimds.server.hosts.control_run import (
    ControlSettings,
    FleetControl,
    FleetStore,
)
from openimds.server.hosts.host_run import FleetHost, HostRunSettings
from openimds.server.hosts.leading import ControlLease
from openimds.server.hosts.local_files import FOLLOW_NAME, FollowReport, FollowState
from openimds.server.inherited_sockets import InheritedSockets
from openimds.settings import Settings
from tests.support.scraping import scraped
from tests.unit.credentials.hosts.hosts_setup import joined

CONTROLS = ("127.0.0.1:1",)
TOKEN = JoinToken("a", b"s" * 32, "0" * 64)


def host(state: Path | None, own: HostRunSettings) -> None:
    """Make a host, which takes its state folder."""

    async def whole() -> None:
        settings = Settings(listen="127.0.0.1:0", state=str(state or ""))
        made = FleetHost(settings, own, lambda _: None, InheritedSockets())
        await made.stop()

    asyncio.run(whole())


def test_host_without_a_state_folder_is_refused() -> None:
    with pytest.raises(ConfigError, match="a folder of this host's own"):
        host(None, HostRunSettings(CONTROLS, "a", TOKEN))


def test_host_without_token_and_certificate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Type openimds control host add a where control runs"):
        host(tmp_path, HostRunSettings(CONTROLS, "a"))


def test_join_token_of_another_host_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='the join token of the host "a"'):
        host(tmp_path, HostRunSettings(CONTROLS, "b", TOKEN))


def test_host_with_two_ways_to_join_is_refused(tmp_path: Path) -> None:
    pod = PodFiles(tmp_path / "token", tmp_path / "fingerprint")
    with pytest.raises(ConfigError, match="expected one of both"):
        host(tmp_path, HostRunSettings(CONTROLS, "a", TOKEN, pod))
    host(tmp_path, HostRunSettings(CONTROLS, "a", None, pod))


def test_folder_of_another_host_is_refused(tmp_path: Path) -> None:
    now_s = time.time()
    joined(HostsCa.open(None, now_s), tmp_path, "a", now_s)
    with pytest.raises(ConfigError, match="Give each host a state folder of its own"):
        host(tmp_path, HostRunSettings(CONTROLS, "b"))
    host(tmp_path, HostRunSettings(CONTROLS, "a"))


def test_host_begins_with_the_epoch_that_it_has_followed(tmp_path: Path) -> None:
    now_s = time.time()
    joined(HostsCa.open(None, now_s), tmp_path, "a", now_s)
    standing = msgspec.json.encode(
        FollowReport("a", "", "", "store-1", 3, 2, {}, now_s, None, now_s, epoch=7)
    )
    messages: list[str] = []

    async def begin(text: bytes) -> FollowState:
        (tmp_path / FOLLOW_NAME).write_bytes(text)
        settings = Settings(listen="127.0.0.1:0", state=str(tmp_path))
        own = HostRunSettings(CONTROLS, "a")
        made = FleetHost(settings, own, messages.append, InheritedSockets())
        await made.stop()
        return made.follower.state

    assert asyncio.run(begin(standing)) == FollowState(store="store-1", epoch=7)
    assert messages == []
    assert asyncio.run(begin(b"{")) == FollowState()
    assert "openimds host run writes it anew" in messages[0]


def test_control_that_is_no_address_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--control"):
        host(tmp_path, HostRunSettings(("https://control",), "a", TOKEN))


class NoEngine:
    """An engine that nothing calls."""

    def open_lease(self) -> ControlLease:
        raise AssertionError("not called")

    def open_store(self, epoch: int, writer: str = "fleet") -> FleetStore:
        raise AssertionError("not called")


@pytest.mark.parametrize(
    "has_state, hosts, message",
    [(False, "127.0.0.1:0", "a folder of this control's own"), (True, "nowhere", "hosts")],
    ids=["no-state", "no-address"],
)
def test_control_with_an_unfit_setting_is_refused(
    tmp_path: Path, has_state: bool, hosts: str, message: str
) -> None:
    async def whole() -> None:
        settings = Settings(state=str(tmp_path) if has_state else "")
        FleetControl(settings, ControlSettings(hosts, b""), NoEngine(), lambda _: None)

    with pytest.raises(ConfigError, match=message):
        asyncio.run(whole())


def test_metrics_of_a_host_have_its_feed_and_its_certificate(tmp_path: Path) -> None:
    now_s = time.time()
    identity, _ = joined(HostsCa.open(None, now_s), tmp_path, "a", now_s)

    async def whole() -> dict[tuple[str, ...], float]:
        settings = Settings(listen="127.0.0.1:0", state=str(tmp_path), metrics="127.0.0.1:0")
        own = HostRunSettings(CONTROLS, "a")
        host = FleetHost(settings, own, lambda _: None, InheritedSockets())
        try:
            return await scraped(await host.open_metrics() or "")
        finally:
            await host.stop()

    samples = asyncio.run(whole())
    assert samples["openimds_feed_connected",] == 0
    assert samples["openimds_certificate_expiry_timestamp_seconds", "host"] == identity.ends_s
    assert ("openimds_process_threads", "host") in samples
    assert samples["openimds_port_connections", "metrics"] == 1
    assert ("openimds_store_revision",) not in samples


def test_host_without_the_setting_has_no_metrics(tmp_path: Path) -> None:
    now_s = time.time()
    joined(HostsCa.open(None, now_s), tmp_path, "a", now_s)

    async def whole() -> str | None:
        settings = Settings(listen="127.0.0.1:0", state=str(tmp_path))
        host = FleetHost(
            settings, HostRunSettings(CONTROLS, "a"), lambda _: None, InheritedSockets()
        )
        try:
            return await host.open_metrics()
        finally:
            await host.stop()

    assert asyncio.run(whole()) is None
