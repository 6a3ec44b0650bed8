"""Which VMs a command is run on."""

import pytest

from openimds.errors import ConfigError
from openimds.server.sandboxed import choose

MANY = ["web-1", "web-2", "db-1", "db-2"]


@pytest.mark.parametrize(
    "names, wanted, chosen",
    [
        (["vm-1"], [], ["vm-1"]),
        (MANY, ["db-1"], ["db-1"]),
        (MANY, ["web-2", "web-1", "web-2"], ["web-2", "web-1"]),
    ],
    ids=["the only one", "one of many", "each once"],
)
def test_it_is_run_on_those(names: list[str], wanted: list[str], chosen: list[str]) -> None:
    assert choose(names, wanted) == chosen


@pytest.mark.parametrize(
    "names, wanted, says",
    [
        (
            MANY,
            [],
            "none of 4 VMs, expected the names of some: web-1, web-2, db-1, .... Write --vm web-1",
        ),
        (
            MANY,
            ["db-3"],
            '"db-3". Did you mean "db-2"? Expected a VM of the fleet: web-1, web-2, db-1, ...',
        ),
        (["vm-1"], ["other"], '"other", expected a VM of the fleet: vm-1'),
    ],
    ids=["which", "nearly one", "not one"],
)
def test_it_has_to_be_said_on_which(names: list[str], wanted: list[str], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        choose(names, wanted)
    assert str(caught.value) == f"--vm: saw {says}"
