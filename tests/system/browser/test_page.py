"""Every page in a real browser: widths, colours, keyboard, and life without JavaScript."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.system.browser.kit import NARROW, WIDE, Scheme, Visitor, visiting
from tests.system.browser.sites import Site, fill, site

pytestmark = pytest.mark.system

MOST_TABS = 60
"""The most presses of Tab until a part of a page has the focus."""
FORMS = ("/ui/faults?effect=status", "/ui/faults?playbook=boot-race", "/ui/events?vm=vm-0")


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server with three VMs and something of everything."""
    with site(tmp_path_factory.mktemp("three"), ["vm-0", "vm-1", "vm-2"]) as made:
        fill(made)
        yield made


@pytest.fixture
def visitor(browser: Browser, three: Site) -> Iterator[Visitor]:
    """A visitor of the three VMs who has signed in."""
    with visiting(browser, three.origin) as found:
        found.sign_in(three.token)
        yield found


def check(visitor: Visitor, path: str, *schemes: Scheme) -> None:
    """Check that a page fits its window, shows its title, and is accessible."""
    assert visitor.open(path) == 200
    expect(visitor.page.get_by_role("heading", level=1)).to_be_visible()
    assert visitor.overflowing() == []
    for scheme in schemes:
        assert visitor.serious_findings(scheme) == []


def test_every_page_of_three_vms_fits_and_is_accessible(visitor: Visitor, three: Site) -> None:
    for path in (*three.paths, *FORMS):
        visitor.resize(WIDE)
        check(visitor, path, "light")
        visitor.resize(NARROW)
        check(visitor, path, "dark")
    assert (visitor.errors, visitor.dialogs, visitor.elsewhere()) == ([], [], [])


@pytest.mark.parametrize("count", [0, 1000])
def test_every_page_of_no_or_many_vms_fits(browser: Browser, tmp_path: Path, count: int) -> None:
    names = [f"vm-{place}" for place in range(count)]
    with site(tmp_path, names) as made, visiting(browser, made.origin) as visitor:
        if count:
            fill(made)
            for place in range(0, count, 50):
                vms = names[place : place + 50]
                made.post("/v1/events", type="Redeploy", vms=vms, inS=900)
        visitor.sign_in(made.token)
        for path in made.paths:
            visitor.resize(WIDE)
            check(visitor, path)
            visitor.resize(NARROW)
            check(visitor, path, *(() if count else ("light",)))
        assert (visitor.errors, visitor.elsewhere()) == ([], [])


def test_login_page_fits_and_is_accessible(browser: Browser, three: Site) -> None:
    with visiting(browser, three.origin, width=NARROW) as visitor:
        check(visitor, "/ui/login", "light", "dark")
        visitor.page.get_by_label("Token").fill("wrong")
        visitor.page.keyboard.press("Enter")
        expect(visitor.page.get_by_role("alert")).to_contain_text("not known here")
        assert visitor.overflowing() == []
        assert visitor.serious_findings("light") == visitor.serious_findings("dark") == []


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until an element has the focus, which can be seen."""
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        style = "element => getComputedStyle(element).outlineStyle"
        assert focused.evaluate(style) == "solid", focused.evaluate("one => one.outerHTML")
        if focused.evaluate("(element, selector) => element.matches(selector)", selector):
            return
    pytest.fail(f"Tab does not reach {selector}")


def test_keyboard_alone_signs_in_and_declares_an_event(browser: Browser, three: Site) -> None:
    before = len(three.api.get("/v1/events").json()["items"])
    with visiting(browser, three.origin) as visitor:
        page, keys = visitor.page, visitor.page.keyboard
        visitor.open("/ui/events")
        expect(page.get_by_label("Token")).to_be_focused()
        keys.type(three.token)
        keys.press("Enter")
        page.wait_for_url("**/ui/events")
        tab_to(page, ".skip")
        keys.press("Enter")
        tab_to(page, "#declare-type")
        keys.type("Terminate")
        tab_to(page, "#declare-vms")
        keys.type("vm-2")
        tab_to(page, "#declare-description")
        keys.type("by keyboard")
        tab_to(page, "main button:not(.plain)")
        keys.press("Enter")
        expect(page.get_by_role("status").first).to_contain_text("1 event declared.")
    events = three.api.get("/v1/events").json()["items"]
    assert len(events) == before + 1
    declared = events[-1]
    assert (declared["type"], declared["description"]) == ("Terminate", "by keyboard")
    three.post(f"/v1/events/{declared['id']}/cancel")


def test_page_reads_and_acts_without_javascript(browser: Browser, three: Site) -> None:
    with visiting(browser, three.origin, script=False) as visitor:
        visitor.sign_in(three.token)
        page = visitor.page
        for path in three.paths:
            assert visitor.open(path) == 200
            assert "This page updates itself." not in visitor.text
        visitor.open("/ui/events")
        page.get_by_label("Type").select_option("Freeze")
        page.get_by_label("VMs, one a line").fill("vm-1")
        page.get_by_label("Description").fill("no script")
        page.get_by_role("button", name="Declare").click()
        expect(page.get_by_text("1 event declared.")).to_be_visible()
        card = page.locator("ol.events > li", has_text="no script")
        card.get_by_role("button", name="Start").click()
        expect(page.get_by_text("is started.")).to_be_visible()
        card.get_by_role("button", name="Complete").click()
        expect(card).to_have_count(0)
        page.get_by_label("Advance (seconds, or as 2h30m)").fill("1m")
        page.get_by_role("button", name="Set the clock").click()
        expect(page.get_by_text("1 min 0 s ahead of real time")).to_be_visible()


def test_events_appear_and_move_without_a_reload(visitor: Visitor, three: Site) -> None:
    visitor.open("/ui/events")
    expect(visitor.page.get_by_text("This page updates itself.")).to_be_visible()
    visitor.requests.clear()
    body = {"type": "Preempt", "vms": ["vm-1"], "description": "seen live"}
    (event,) = three.api.post("/v1/events", json=body).json()["items"]
    card = visitor.page.locator("ol.events > li", has_text="seen live")
    expect(card).to_contain_text("Scheduled")
    three.post(f"/v1/events/{event['id']}/start")
    expect(card).to_contain_text("Started")
    three.post(f"/v1/events/{event['id']}/complete")
    expect(card).to_have_count(0)
    assert visitor.requests
    assert not any(one.is_navigation_request() for one in visitor.requests)


def test_opened_request_stays_open_below_new_ones(visitor: Visitor, three: Site) -> None:
    visitor.open("/ui/requests?vm=vm-2")
    three.ask(2, "/metadata/versions", Via="first")
    first = visitor.page.locator("details").first
    first.locator("summary").click()
    expect(first).to_contain_text("first")
    name = first.get_attribute("id")
    three.ask(2, "/metadata/versions", Via="second")
    expect(visitor.page.locator("details")).to_have_count(2)
    opened = visitor.page.locator("details[open]")
    expect(opened).to_have_count(1)
    assert opened.get_attribute("id") == name
