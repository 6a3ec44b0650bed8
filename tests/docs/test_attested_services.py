"""The verifying services of the page on attested documents are the programs that tests run.

The one in Python is a file of the executed page; the one in C# is marked as not executed.
"""

import pytest

from scripts.generate_docs import ROOT
from tests.docs.story import blocks

PAGE = ROOT / "docs/use/attested.md"
CLIENTS = ROOT / "tests/clients"
SOURCES = {
    "go": CLIENTS / "go/verifyingservice/main.go",
    "java": CLIENTS / "java/VerifyingService.java",
}


@pytest.mark.parametrize("language", SOURCES)
def test_page_shows_the_program_that_is_run(language: str) -> None:
    (text,) = [block.text for block in blocks(PAGE) if block.kind == language]
    assert text == SOURCES[language].read_text("utf-8")


def test_program_that_no_test_runs_is_marked() -> None:
    (block,) = [block for block in blocks(PAGE) if block.kind == "csharp"]
    lines = PAGE.read_text("utf-8").splitlines()
    assert lines[block.line - 3].startswith("**Not executed**: ")
