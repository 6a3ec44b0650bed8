"""The addresses of metadata services on `lo`."""

from openimds.facts.kinds import LOCAL_ADDRESS
from openimds.linux.loopback import IMDS, IMDS_OF_LOCAL, LINK_LOCAL


def test_addresses_are_those_of_the_facts() -> None:
    # The room of Linux imports no facts.
    assert IMDS_OF_LOCAL == LOCAL_ADDRESS
    assert {IMDS, IMDS_OF_LOCAL} == LINK_LOCAL
