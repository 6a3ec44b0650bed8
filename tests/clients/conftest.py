"""What the tests of clients stand on."""

from collections.abc import Iterator

import pytest

from tests.clients.fleet import BOTH
from tests.clients.rig import REAL, REDIRECTED, Stage, stage


@pytest.fixture(scope="module", params=[REAL, REDIRECTED], ids=["real", "redirected"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """A server without limits, which says nothing and ends well."""
    folder = tmp_path_factory.mktemp("served")
    with stage({"vms": {"web-1": BOTH}}, "--no-rate-limit", at=request.param, cwd=folder) as one:
        yield one
        assert one.stop() == (0, "")


@pytest.fixture(params=[REAL, REDIRECTED], ids=["real", "redirected"])
def limited(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """A server that gives a VM one token a second."""
    folder = tmp_path_factory.mktemp("limited")
    limits = ("--identity-per-s", "1", "--identity-burst", "1")
    with stage({"vms": {"web-1": BOTH}}, *limits, at=request.param, cwd=folder) as one:
        yield one
