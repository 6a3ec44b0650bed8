"""Fixtures of the tests of clients, and the choice of clients by their kits."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.fleet import BOTH
from tests.clients.kits import KITS
from tests.clients.private_server import REAL, REDIRECTED, PrivateServer, private_server
from tests.clients.roster import KNOWN
from tests.clients.tally import Tally

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Note the clients of each test here, and skip those whose kit is missing.

    Kits that take long to get or to build are left to `make clients`.
    """
    is_all = any(isinstance(plugin, Tally) for plugin in config.pluginmanager.get_plugins())
    left_out = []
    for item in items:
        if not item.path.is_relative_to(HERE):
            continue
        for key in [key for mark in item.iter_markers("client") for key in mark.args]:
            item.user_properties.append(("client", key))
            kit = KITS.get(KNOWN[key].kit)
            if kit and not is_all and not kit.is_quick:
                left_out.append(item)
            elif kit and kit.why_not():
                item.add_marker(pytest.mark.skip(reason=f"{key}: {kit.why_not()}"))
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


@pytest.fixture(scope="module", params=[REAL, REDIRECTED], ids=["real", "redirected"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrivateServer]:
    """A server without limits, which prints nothing and ends well."""
    folder = tmp_path_factory.mktemp("served")
    fleet = {"vms": {"web-1": BOTH}}
    with private_server(fleet, "--no-rate-limit", at=request.param, cwd=folder) as server:
        yield server
        assert server.stop() == (0, "")


@pytest.fixture(params=[REAL, REDIRECTED], ids=["real", "redirected"])
def limited(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrivateServer]:
    """A server with a limit of one token a second for each VM."""
    folder = tmp_path_factory.mktemp("limited")
    limits = ("--identity-per-s", "1", "--identity-burst", "1")
    fleet = {"vms": {"web-1": BOTH}}
    with private_server(fleet, *limits, at=request.param, cwd=folder) as server:
        yield server
