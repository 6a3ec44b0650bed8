"""What the settings make together, and what the operator is told of it."""

import pytest

from openimds.config import configure
from openimds.settings import resolve

LEADS_NOWHERE = (
    "certificates and discovery documents name http://{public}, which leads guests to themselves. "
    "Say with --public-url by which URL they reach this machine"
)


def remarks(**flags: str) -> list[str]:
    return configure(resolve(flags, {}, {})).remarks


@pytest.mark.parametrize("public", ["0.0.0.0:8171", "[::]:8171"])
def test_an_address_that_is_none_is_pointed_out(public: str) -> None:
    assert remarks(public=public) == [LEADS_NOWHERE.format(public=public)]
    assert remarks(public=public, public_url="http://pki.example") == []


@pytest.mark.parametrize("public", ["auto", "none", "127.0.0.1:0", "[::1]:8171", "host:8171"])
def test_an_address_that_is_one_is_not(public: str) -> None:
    assert remarks(public=public) == []
