"""The package is installed beside the libraries of ordinary projects."""

from pathlib import Path

import pytest

from tests.package.resolutions import (
    NEIGHBOURS,
    held_back,
    printed,
    requirements,
    resolve,
    row,
)


@pytest.fixture(scope="module")
def alone(index: None, wheel: Path) -> dict[str, str]:
    """Return the versions that pip chooses where nothing else is asked for."""
    return resolve(f"openimds @ {wheel.as_uri()}")


@pytest.mark.parametrize("neighbour", NEIGHBOURS)
def test_row_of_the_table_is_resolved(neighbour: str, wheel: Path, alone: dict[str, str]) -> None:
    assert row(wheel, neighbour, alone) in printed(), "type: make resolutions"


def test_table_has_no_other_row() -> None:
    assert len(printed()) == len(NEIGHBOURS)


def test_older_requirement_is_named_with_its_version() -> None:
    newest = dict.fromkeys(requirements(), "2.10.1")
    assert held_back({**newest, "starlette": "0.41.3", "click": "2.9.0"}, newest) == [
        "click 2.9",
        "starlette 0.41",
    ]
