"""Every published document, once captured, is served again with its values."""

import pytest

from tests.swagger.compare import added, changed, served
from tests.swagger.deviations import (
    NOT_IN_EXAMPLE,
    NOT_IN_SAMPLE,
    NOT_IN_SWAGGER,
    TOO_EARLY_IN_SAMPLE,
    Deviation,
)
from tests.swagger.files import (
    DOCUMENT,
    FOLDER,
    NO_DOCUMENT,
    NO_FOLDER,
    Json,
    example,
    leaves,
    samples,
    swagger,
    versions,
)

if not FOLDER.is_dir():
    pytest.skip(NO_FOLDER, allow_module_level=True)

VERSIONS = versions()
SAMPLES = samples() if DOCUMENT.is_file() else []
SAMPLE_VERSIONS = ("2020-09-01", "2020-10-01")
each_version = pytest.mark.parametrize("version", VERSIONS)
each_sample = pytest.mark.parametrize("position", range(3))
each_sample_version = pytest.mark.parametrize("version", SAMPLE_VERSIONS)
of_the_document = pytest.mark.skipif(not DOCUMENT.is_file(), reason=NO_DOCUMENT)


def _body(version: str) -> Json:
    body: Json = example(version)["responses"]["200"]["body"]
    return body


def _about(version: str, *tables: tuple[Deviation, ...]) -> set[str]:
    return {row.path for rows in tables for row in rows if row.is_about(version)}


@each_version
def test_example_is_of_its_version(version: str) -> None:
    assert example(version)["parameters"]["api-version"] == version


@each_version
def test_values_of_an_example_stay(version: str) -> None:
    body = _body(version)
    assert list(changed(body, served(body, version))) == []


@each_version
def test_fields_that_an_example_lacks_are_listed(version: str) -> None:
    body = _body(version)
    listed = _about(version, NOT_IN_SWAGGER, NOT_IN_EXAMPLE)
    assert set(added(body, served(body, version))) == listed


@pytest.mark.parametrize(
    "row,version",
    [
        pytest.param(row, version, id=f"{row.path}-{version}")
        for row in NOT_IN_EXAMPLE
        for version in VERSIONS
        if row.is_about(version)
    ],
)
def test_definition_has_fields_that_its_example_lacks(row: Deviation, version: str) -> None:
    """Else they would be deviations from the swagger."""
    defined = leaves(swagger(version))
    assert any(path == row.path or path.startswith(f"{row.path}.") for path in defined)


@of_the_document
def test_document_has_three_samples_one_of_them_shortened() -> None:
    assert len(SAMPLES) == 3
    assert [position for position, sample in enumerate(SAMPLES) if not sample["compute"]] == [1]


@of_the_document
@each_sample
@each_sample_version
def test_values_of_a_sample_stay(position: int, version: str) -> None:
    sample = SAMPLES[position]
    too_early = _about(version, TOO_EARLY_IN_SAMPLE) if sample["compute"] else set()
    assert set(changed(sample, served(sample, version))) == too_early


@of_the_document
@each_sample
@each_sample_version
def test_fields_that_a_sample_lacks_are_listed(position: int, version: str) -> None:
    sample = SAMPLES[position]
    lacking = set(added(sample, served(sample, version)))
    if sample["compute"]:
        assert lacking == _about(version, NOT_IN_SAMPLE)
    else:
        assert {path.split(".")[0] for path in lacking} == {"compute"}
