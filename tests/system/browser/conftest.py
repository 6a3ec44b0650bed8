from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.system.browser.kit import chromium


# One for each module: while it runs, no other event loop can run in this thread.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium without any profile."""
    with chromium() as started:
        yield started
