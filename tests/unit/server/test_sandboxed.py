"""The VMs that a command is run on, and its admin token."""

import os

import pytest

from openimds.admin.token import TokenError
from openimds.errors import ConfigError
from openimds.linux.platform import IS_LINUX
from openimds.server.sandboxed import MemoryToken, choose_vms

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
def test_wanted_vms_are_chosen(names: list[str], wanted: list[str], chosen: list[str]) -> None:
    assert choose_vms(names, wanted) == chosen


@pytest.mark.parametrize(
    "names, wanted, text",
    [
        (
            MANY,
            [],
            "no name for a fleet of 4 VMs, expected names of VMs: web-1, web-2, db-1, ...",
        ),
        (
            MANY,
            ["db-3"],
            '"db-3". Did you mean "db-2"? Expected a VM of the fleet: web-1, web-2, db-1, ...',
        ),
        (["vm-1"], ["other"], '"other", expected a VM of the fleet: vm-1'),
    ],
    ids=["none", "misspelled", "unknown"],
)
def test_missing_or_unknown_name_is_refused(names: list[str], wanted: list[str], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        choose_vms(names, wanted)
    assert str(caught.value).startswith(f"--vm: saw {text}")


class Connection:
    """A connection that showed the token."""

    has_ended = False

    def end(self) -> None:
        self.has_ended = True


@pytest.mark.skipif(not IS_LINUX, reason="Linux has files in memory")
def test_token_in_memory_fits_and_lacks_nothing() -> None:
    token = MemoryToken()
    try:
        text = token.path.read_text().strip()
        assert token.fits(text)
        assert not token.fits("another")
        assert (token.is_lacking, token.look()) == (False, "")
        connection = Connection()
        token.note_use(connection.end)
        token.end_replaced()
        assert not connection.has_ended
        with pytest.raises(TokenError, match="cannot be rotated"):
            token.rotate()
    finally:
        os.close(token.descriptor)
