"""The clouds, by the names that `compute.azEnvironment` has."""

import pytest

from openimds.facts.clouds import CLOUDS, PUBLIC, Cloud


def test_there_are_four() -> None:
    assert set(CLOUDS) == {
        "AzurePublicCloud",
        "AzureUSGovernmentCloud",
        "AzureChinaCloud",
        "AzureGermanCloud",
    }


def test_the_public_one_is_among_them() -> None:
    assert CLOUDS[PUBLIC].location == "westeurope"


@pytest.mark.parametrize("name,row", CLOUDS.items())
def test_a_cloud_has_a_region_written_as_azure_writes_it(name: str, row: Cloud) -> None:
    assert row.name == name
    assert row.location
    assert row.location == row.location.lower().replace(" ", "")


def test_no_two_clouds_share_a_region_or_differ_by_letter_case_alone() -> None:
    assert len({row.location for row in CLOUDS.values()}) == len(CLOUDS)
    assert len({name.lower() for name in CLOUDS}) == len(CLOUDS)
