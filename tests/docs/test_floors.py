"""The oldest dependencies that the package allows are those that `make test-lowest` installs."""

import re
import tomllib

import pytest

from scripts.generate_docs import ROOT, WHY_NO_OLDER

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
REQUIREMENTS = [
    *PROJECT["dependencies"],
    *(text for texts in PROJECT["optional-dependencies"].values() for text in texts),
]
LOCK = (ROOT / "requirements-lowest.lock").read_text("utf-8")


def padded(version: str) -> list[int]:
    """Return the numbers of a version, so that 6.0 equals 6.0.0."""
    return [*map(int, version.split(".")), 0, 0][:3]


@pytest.mark.parametrize("text", REQUIREMENTS)
def test_oldest_allowed_version_is_the_tested_one(text: str) -> None:
    name, oldest = text.partition(";")[0].split(">=")
    pinned = re.search(rf"^{re.escape(name)}(?:\[\w+\])?==([\d.]+)", LOCK, re.MULTILINE)
    assert pinned, f"{name} is not in requirements-lowest.lock: type make lock"
    assert padded(pinned[1]) == padded(oldest)


def test_each_oldest_version_has_its_reason() -> None:
    assert {text.split(">=")[0] for text in REQUIREMENTS} == set(WHY_NO_OLDER)
