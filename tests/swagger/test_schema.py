"""The field rows of every version are those of the official swagger."""

import pytest

from openimds.facts.document import FIELDS
from openimds.facts.versions import GENERAL
from openimds.protocol.document import is_alive
from tests.swagger.deviations import NOT_IN_SWAGGER, Deviation
from tests.swagger.files import FOLDER, NO_FOLDER, leaves, swagger, versions

if not FOLDER.is_dir():
    pytest.skip(NO_FOLDER, allow_module_level=True)

VERSIONS = versions()
each_version = pytest.mark.parametrize("version", VERSIONS)


def _rows(version: str) -> set[str]:
    return {row.path for row in FIELDS if is_alive(row, version) and not row.extended}


def _at_or_below(path: str, leaf: str) -> bool:
    return leaf == path or leaf.startswith((f"{path}.", f"{path}[]"))


def test_every_version_of_those_years_but_one_has_a_file() -> None:
    """2021-08-01 is in the documents and has no swagger (B.1)."""
    names = {row.name for row in GENERAL if "2018-02-01" <= row.name <= "2023-07-01"}
    assert set(VERSIONS) == names - {"2021-08-01"}


@each_version
def test_file_is_of_its_version(version: str) -> None:
    assert swagger(version)["info"]["version"] == version


@each_version
def test_fields_are_those_of_the_swagger(version: str) -> None:
    known = [row.path for row in NOT_IN_SWAGGER if row.is_about(version)]
    paths = {leaf for leaf in _rows(version) if not any(_at_or_below(path, leaf) for path in known)}
    assert paths == leaves(swagger(version))


@pytest.mark.parametrize(
    "row,version",
    [
        pytest.param(row, version, id=f"{row.path}-{version}")
        for row in NOT_IN_SWAGGER
        for version in VERSIONS
        if row.is_about(version)
    ],
)
def test_listed_deviations_are_missing_from_the_swagger(row: Deviation, version: str) -> None:
    assert any(_at_or_below(row.path, leaf) for leaf in _rows(version))
    assert not any(_at_or_below(row.path, leaf) for leaf in leaves(swagger(version)))


@pytest.mark.parametrize("row", NOT_IN_SWAGGER, ids=lambda row: row.path)
def test_range_is_as_wide_as_the_deviation(row: Deviation) -> None:
    lacking = [
        version
        for version in VERSIONS
        if any(_at_or_below(row.path, leaf) for leaf in _rows(version) - leaves(swagger(version)))
    ]
    assert (lacking[0], lacking[-1]) == (row.first, row.last)
