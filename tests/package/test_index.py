"""The tests that install are skipped where nothing can be installed."""

import os

from tests.package.index import PROBE, why_unreachable

NOTHING = {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "PIP_NO_INDEX": "1"}


def test_machine_without_an_index_has_a_reason() -> None:
    reason = why_unreachable(**NOTHING)
    assert reason.startswith("no package index can be reached: ERROR: ")
    assert PROBE in reason


def test_machine_with_an_index_has_none(index: None) -> None:
    assert why_unreachable() == ""
