"""The page of promises names tests that exist, and bounds of the code."""

import re

import pytest

from scripts.bounds import BOUNDS, value_of
from scripts.generate_docs import ROOT

PAGE = (ROOT / "docs/know/promises.md").read_text("utf-8")
TESTS = sorted(set(re.findall(r"`([\w/]+\.py)::(test_\w+)`", PAGE)))
CONSTANTS = sorted({row.constant for rows in BOUNDS.values() for row in rows if row.constant})


@pytest.mark.parametrize("path, name", TESTS, ids=[name for _, name in TESTS])
def test_named_test_exists(path: str, name: str) -> None:
    assert f"def {name}(" in (ROOT / "tests" / path).read_text("utf-8")


def test_each_promise_names_a_test() -> None:
    rows = [
        line
        for line in PAGE.partition("## Bounds")[0].splitlines()
        if line.startswith("| ") and not line.startswith(("| promise", "| case"))
    ]
    assert len(rows) > 20
    assert [row for row in rows if "::test_" not in row.split(" | ")[-1]] == []


@pytest.mark.parametrize("constant", CONSTANTS)
def test_page_has_the_value_of_the_constant(constant: str) -> None:
    name = constant.replace(":", ".")
    (line,) = {line for line in PAGE.splitlines() if f"`{name}`" in line}
    assert f"| {value_of(constant):,} | `{name}` |" in line
