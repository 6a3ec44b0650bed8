"""The path of one value from the fleet file to the served body stays short."""

import pytest

from scripts.trace_value import passed

MOST_FUNCTIONS = 31
"""Half of the 63 functions of release 0.1.0, counted by the same script."""


def test_a_value_passes_few_functions_to_the_body() -> None:
    functions = passed()
    assert functions[0] == "vm.decode.decode"
    assert len(functions) <= MOST_FUNCTIONS, "\n".join(functions)


@pytest.mark.parametrize("key", ["compute.tags.env", "compute.storageProfile.osDisk.name"])
def test_every_kind_of_value_takes_nearly_the_same_path(key: str) -> None:
    assert len(set(passed(key)) - set(passed())) < 10


def test_a_value_that_is_not_served_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^availabilitySet: the value is not in the body$"):
        passed("availabilitySet")
