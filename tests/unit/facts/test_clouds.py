"""The clouds, by their names in `compute.azEnvironment`."""

import pytest

from openimds.facts.clouds import CLOUDS, PUBLIC, Cloud


def test_clouds_of_the_fleet_file_keep_their_names() -> None:
    assert set(CLOUDS) >= {
        "AzurePublicCloud",
        "AzureUSGovernmentCloud",
        "AzureChinaCloud",
        "AzureGermanCloud",
    }


def test_public_cloud_is_one_of_them() -> None:
    assert CLOUDS[PUBLIC].location == "westeurope"


@pytest.mark.parametrize("name,row", CLOUDS.items())
def test_cloud_has_a_region_in_azures_spelling(name: str, row: Cloud) -> None:
    assert row.name == name
    assert row.location
    assert row.location == row.location.lower().replace(" ", "")


def test_clouds_share_no_region_and_no_name_in_any_case() -> None:
    assert len({row.location for row in CLOUDS.values()}) == len(CLOUDS)
    assert len({name.lower() for name in CLOUDS}) == len(CLOUDS)
