"""The kit notices each fault for which the tests of pages look."""

import hashlib
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.system.browser.foreign import showing
from tests.system.browser.kit import NARROW, Scheme, visiting

pytestmark = pytest.mark.system

POLICY = "default-src 'none'; script-src 'self'"
NOTICE = Path(__file__).parents[3] / "NOTICE"


def test_axe_is_the_file_that_notice_names() -> None:
    found = (Path(__file__).parent / "axe.min.js").read_bytes()
    assert hashlib.sha256(found).hexdigest() in NOTICE.read_text()


def test_clean_page_gives_no_finding(browser: Browser) -> None:
    with showing("<p>Text</p>") as origin, visiting(browser, origin) as visitor:
        assert visitor.open("/") == 200
        assert "Text" in visitor.text
        assert not visitor.overflowing()
        assert not visitor.serious_findings("light")
        assert not visitor.serious_findings("dark")
        assert (visitor.dialogs, visitor.errors, visitor.elsewhere()) == ([], [], [])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_a_field_without_a_label(browser: Browser, scheme: Scheme) -> None:
    with showing("<input name=a>") as origin, visiting(browser, origin) as visitor:
        visitor.open("/")
        (finding,) = visitor.serious_findings(scheme)
        assert finding.startswith("label: ['input']")


def test_overflow_of_a_narrow_window_is_found(browser: Browser) -> None:
    wide = "<pre>" + "x" * 100 + "</pre>"
    with showing(wide) as origin, visiting(browser, origin) as visitor:
        visitor.open("/")
        assert not visitor.overflowing()
        visitor.resize(NARROW)
        assert "PRE." in visitor.overflowing()


def test_refused_script_is_recorded_as_an_error(browser: Browser) -> None:
    with (
        showing("<img src=x onerror='alert(1)'>", POLICY) as origin,
        visiting(browser, origin) as visitor,
    ):
        visitor.open("/")
        assert any("Content Security Policy" in line for line in visitor.errors)
        assert not visitor.dialogs


def test_dialog_is_dismissed_and_recorded(browser: Browser) -> None:
    with showing("") as origin, visiting(browser, origin) as visitor:
        visitor.open("/")
        visitor.page.evaluate("alert('seen')")
        assert visitor.dialogs == ["seen"]


def test_request_to_another_origin_is_recorded_and_fails(browser: Browser) -> None:
    link = "<a href='http://elsewhere.example/'>Away</a>"
    with showing(link) as origin, visiting(browser, origin) as visitor:
        visitor.open("/")
        with visitor.page.expect_event("requestfailed") as failed:
            visitor.page.get_by_text("Away").click()
        assert visitor.elsewhere() == [failed.value.url] == ["http://elsewhere.example/"]


def test_page_without_script_runs_none(browser: Browser) -> None:
    with (
        showing("<noscript>No script</noscript>") as origin,
        visiting(browser, origin, script=False) as visitor,
    ):
        visitor.open("/")
        assert "No script" in visitor.text
