"""The pictures of the page can be taken anew, and show what their texts say."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.system.browser.kit import visiting
from tests.system.browser.screenshots import SHOTS, shop, take

pytestmark = pytest.mark.system

PNG = b"\x89PNG\r\n"
SHOWN = {
    "/ui/": "10 of 10 VMs",
    "/ui/vms/web-1": "Standard_D2s_v5",
    "/ui/events": "Approved by 0 of 2",
    "/ui/requests": "leaf_needs_text",
}


def test_pictures_are_taken_of_a_filled_fleet(browser: Browser, tmp_path: Path) -> None:
    with shop(tmp_path) as made:
        paths = take(browser, made, tmp_path / "taken")
        with visiting(browser, made.origin) as visitor:
            visitor.sign_in(made.token)
            for path, text in SHOWN.items():
                visitor.open(path)
                expect(visitor.page.get_by_text(text).first).to_be_visible()
    assert [path.stem for path in paths] == [shot.name for shot in SHOTS]
    assert all(path.read_bytes().startswith(PNG) for path in paths)
    assert {shot.path for shot in SHOTS} == {*SHOWN}
    light, dark = (path.read_bytes() for path in paths if path.stem.startswith("fleet"))
    assert light != dark
