"""The parts of a server, as the settings and the callbacks have them."""

import asyncio
import errno
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest

from openimds.admin.metrics_listener import MOST_CONNECTIONS
from openimds.errors import ConfigError, Error
from openimds.facts.limits import LIMITS
from openimds.fleet.vm_entry import Allowance
from openimds.server.build import build
from openimds.server.file_budget import FileBudget
from openimds.server.server import Server
from openimds.server.startup import load
from openimds.settings import Settings
from tests.support.scraping import scraped
from tests.support.talk import a_fleet


def with_server(look: Callable[[Server, list[str]], None], **values: Any) -> None:
    """Call `look` with a server that is built and not started, and with its messages."""

    async def run() -> None:
        messages: list[str] = []
        startup = load(Settings(**{"admin": "none", "public": "none", **values}))
        server = build(startup, messages.append)
        look(server, messages)
        server.resources.close()

    asyncio.run(run())


@pytest.mark.parametrize("checks_hosts", [False, True])
def test_host_of_every_caller_is_checked_as_set(checks_hosts: bool) -> None:
    def look(server: Server, _: list[str]) -> None:
        assert server.dispatcher.checks_hosts is checks_hosts

    with_server(look, check_hosts=checks_hosts)


def test_limits_are_those_of_the_settings() -> None:
    def look(server: Server, _: list[str]) -> None:
        assert server.dispatcher.allowances == {
            "general": Allowance(1, 2, LIMITS["general"].concurrent),
            "identity": Allowance(3, 4, LIMITS["identity"].concurrent),
            "identity_refused": Allowance(30, 40),
        }
        assert server.dispatcher.bounds.connections == 5
        assert server.dispatcher.bounds.connections_per_caller == 6

    with_server(
        look,
        general_per_s=1,
        general_burst=2,
        identity_per_s=3,
        identity_burst=4,
        max_connections=5,
        max_connections_per_vm=6,
    )


def test_connections_leave_the_reserve_of_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openimds.server.build.file_budget", lambda: FileBudget(128))

    def look(server: Server, _: list[str]) -> None:
        connections = server.dispatcher.connections
        assert connections.most == FileBudget(128).connections(20_000) == 63
        server.listeners._on_count(21)
        assert connections.most == 43
        server.listeners._on_count(1)
        assert connections.most == 63

    with_server(look)


def test_shortage_of_descriptors_is_reported_once_a_minute() -> None:
    def look(server: Server, messages: list[str]) -> None:
        reactor = server.listeners._reactor
        for _ in range(2):
            reactor.on_shortage(OSError(errno.EMFILE, "Too many open files"))
        (message,) = messages
        assert message.startswith("accepting connections paused once (Too many open files)")
        assert server.host.shortages.pauses == 2

    with_server(look)


def test_fault_closes_reopened_listeners_again() -> None:
    def look(server: Server, _: list[str]) -> None:
        with patch.object(server.host.listener_faults, "apply") as apply:
            server.listeners._on_reopen()
        apply.assert_called_once_with()

    with_server(look)


def test_without_rate_limit_no_request_is_limited() -> None:
    def look(server: Server, _: list[str]) -> None:
        assert server.dispatcher.allowances == {}

    with_server(look, rate_limit=False)


@pytest.mark.parametrize(
    "values, extras", [({}, set()), ({"msi_v2": True, "arc_folder": ""}, {"msi_v2"})]
)
def test_set_settings_enable_their_endpoints(values: dict[str, Any], extras: set[str]) -> None:
    def look(server: Server, _: list[str]) -> None:
        assert server.dispatcher.extras == extras

    with_server(look, **values)


def test_newest_version_bounds_the_catalog() -> None:
    def look(server: Server, _: list[str]) -> None:
        assert server.dispatcher.fleet_index.catalog.general[-1] == "2021-02-01"

    with_server(look, newest_version="2021-02-01")


@pytest.mark.parametrize("record, is_observed", [(0, False), (10, True)])
def test_recorder_observes_requests_if_it_keeps_them(
    record: int,
    is_observed: bool,
) -> None:
    def look(server: Server, _: list[str]) -> None:
        observers: list[bool] = [server.dispatcher.observer is server.recorder]
        server.recorder.unsubscribe(server.recorder.subscribe())
        observers.append(server.dispatcher.observer is server.recorder)
        assert observers == [is_observed, is_observed]

    with_server(look, record=record)


def test_a_follower_makes_the_recorder_observe_requests() -> None:
    def look(server: Server, _: list[str]) -> None:
        server.recorder.subscribe()
        assert server.dispatcher.observer is server.recorder

    with_server(look)


def test_unknown_caller_is_reported_with_the_remedy() -> None:
    def look(server: Server, messages: list[str]) -> None:
        server.dispatcher.on_unknown_caller("10.0.0.9")
        (message,) = messages
        assert message.startswith("unknown caller 10.0.0.9: no VM has this address")
        assert "reach.address" in message

    with_server(look)


def test_unknown_caller_of_a_vm_of_entra_gets_its_own_reason() -> None:
    def look(server: Server, messages: list[str]) -> None:
        index = server.dispatcher.fleet_index
        index.apply(index.plan(a_fleet(real={"identities": {"system": True, "source": "entra"}})))
        server.dispatcher.on_unknown_caller("10.0.0.9")
        assert "real has tokens of Entra and no reach" in messages[-1]

    with_server(look)


def test_error_of_the_world_is_reported_once() -> None:
    def look(server: Server, messages: list[str]) -> None:
        for _ in range(2):
            server.dispatcher.on_internal_error(Error("disk full"))
        assert messages == ["disk full"]

    with_server(look)


def test_internal_error_is_reported_each_time() -> None:
    def look(server: Server, messages: list[str]) -> None:
        for _ in range(2):
            server.dispatcher.on_internal_error(KeyError("x"))
        assert messages == ["internal error: KeyError. Please report it"] * 2

    with_server(look)


@pytest.mark.parametrize(
    "issuer, reported",
    [("https://issuer.example", False), ("http://issuer.example", True)],
)
def test_issuer_that_entra_cannot_fetch_is_reported(issuer: str, reported: bool) -> None:
    def look(_: Server, messages: list[str]) -> None:
        assert [issuer in message for message in messages] == [True] * reported

    with_server(look, entra="federation", issuer=issuer)


def test_azures_hosts_outside_a_sandbox_are_refused() -> None:
    with pytest.raises(ConfigError, match="outside a sandbox, expected openimds exec"):
        with_server(lambda *_: None, pki_names="azure")


def test_metrics_listener_answers_without_an_admin_api() -> None:
    async def run() -> None:
        settings = Settings(
            admin="none", public="none", listen="127.0.0.1:0", metrics="127.0.0.1:0"
        )
        server = build(load(settings), lambda _: None)
        try:
            ready = await server.start()
            assert (ready.admin, ready.token_file) == (None, None)
            samples = await scraped(ready.metrics or "")
            assert samples["openimds_vms",] == 1
            assert ("openimds_process_threads", "both") in samples
            assert samples["openimds_port_connections_limit", "metrics"] == MOST_CONNECTIONS
        finally:
            await server.stop(patience_s=0)

    asyncio.run(run())


def test_metrics_address_that_is_none_is_refused() -> None:
    async def run() -> None:
        settings = Settings(
            admin="none", public="none", listen="127.0.0.1:0", metrics="unix:/run/metrics"
        )
        server = build(load(settings), lambda _: None)
        try:
            with pytest.raises(ConfigError, match=r"metrics: saw .*expected HOST:PORT or none"):
                await server.start()
        finally:
            await server.stop(patience_s=0)

    asyncio.run(run())
