"""Attacks on the page in a real browser: by guests, other sites and stolen cookies."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Cookie, Page, expect

from openimds.admin.page.page_rows import FORMS
from tests.support.certificates import TestCa
from tests.system.browser.foreign import showing
from tests.system.browser.kit import Visitor, visiting
from tests.system.browser.sites import NAME, Site, fill, site

pytestmark = pytest.mark.system

IMAGE = "<img src=x onerror=alert(1)>"
ATTRIBUTE = "\"' onfocus='alert(1)' autofocus x=\""
TEMPLATE = "{{ 7*7 }}{% raw %}"
LINK = "javascript:alert(1)"
TEXTS = (IMAGE, "<svg onload=alert(1)>", ATTRIBUTE, TEMPLATE, LINK)
NAMES = ("vm-0", "vm-1")
OPEN_TAG = "</textarea></pre></script><script>alert(1)</script>"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server with hostile texts from its file, operators and guests."""
    folder = tmp_path_factory.mktemp("hostile")
    compute = {
        "tags": {IMAGE: OPEN_TAG, "plain": ATTRIBUTE},
        "customData": OPEN_TAG,
        "userData": OPEN_TAG,
        "osProfile": {"computerName": IMAGE, "adminUsername": ATTRIBUTE},
        "resourceGroupName": IMAGE,
        "vmScaleSetName": OPEN_TAG.replace("/", ""),
    }
    with site(folder, [*NAMES], **compute) as made:
        headers = {"User-Agent": IMAGE, "Via": OPEN_TAG, "X-Forwarded-For": ATTRIBUTE}
        for place in range(len(NAMES)):
            made.ask(place, f"{NAME}&x={IMAGE.replace(' ', '/')}&y={TEMPLATE.replace(' ', '')}")
            made.ask(place, f"/{OPEN_TAG}", **headers)
            made.ask(place, "/metadata/instance?api-version=2021-02-01", **headers)
        made.ask(200, f"{NAME}&{OPEN_TAG}", **headers)
        for text in (IMAGE, OPEN_TAG, ATTRIBUTE, TEMPLATE):
            made.post("/v1/events", type="Freeze", vms=[*NAMES], description=text)
        made.post("/v1/faults", effect="status", status=410, vms=[*NAMES], path=f"/{OPEN_TAG}")
        made.post("/v1/scenarios", name=IMAGE, events=[{"type": "Freeze", "vms": ["vm-0"]}])
        yield made


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server with two VMs, whose sessions are attacked."""
    with site(tmp_path_factory.mktemp("plain"), ["vm-0", "vm-1"]) as made:
        fill(made)
        yield made


@pytest.fixture
def visitor(browser: Browser, plain: Site) -> Iterator[Visitor]:
    """A visitor of the plain site who has signed in."""
    with visiting(browser, plain.origin) as found:
        found.sign_in(plain.token)
        yield found


def hostile_elements(page: Page) -> list[str]:
    """Return elements and attributes that only a hostile text could make."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll('*')].filter(element =>
          element.matches('img, svg:not(.strip), script:not([src]), iframe, object, [style]') ||
          [...element.attributes].some(one => one.name.startsWith('on')) ||
          /^\\s*(javascript|data|vbscript):/i.test(element.getAttribute('href') || '')
        ).map(element => element.outerHTML.slice(0, 200))"""
    )
    return found


def test_hostile_texts_are_shown_and_never_run(browser: Browser, hostile: Site) -> None:
    with visiting(browser, hostile.origin) as visitor:
        visitor.sign_in(hostile.token)
        pages = [*hostile.paths, "/ui/?q=" + quote(OPEN_TAG), "/ui/?select=" + quote(IMAGE)]
        for text in TEXTS:
            name = quote(text, safe="")
            pages += [f"/ui/{kind}?vm={name}" for kind in ("events", "requests", "faults")]
            pages += [f"/ui/faults?effect={name}", f"/ui/requests?status={name}"]
        for path in pages:
            assert visitor.open(path) == 200, path
            page = visitor.page
            page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
            assert hostile_elements(page) == [], path
            assert "49{%" not in visitor.text
        for path, texts in {
            "/ui/events": (IMAGE, OPEN_TAG, ATTRIBUTE, TEMPLATE),
            "/ui/requests": (IMAGE, OPEN_TAG, ATTRIBUTE),
            "/ui/faults": (OPEN_TAG,),
        }.items():
            visitor.open(path)
            page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
            for text in texts:
                assert text in visitor.text, (path, text)
        assert (visitor.dialogs, visitor.errors, visitor.elsewhere()) == ([], [], [])


def test_hostile_texts_of_forms_come_back_as_text(browser: Browser, hostile: Site) -> None:
    with visiting(browser, hostile.origin) as visitor:
        visitor.sign_in(hostile.token)
        page = visitor.page
        visitor.open("/ui/events")
        page.get_by_label("Description").fill(OPEN_TAG)
        page.get_by_label("VMs, one a line").fill(OPEN_TAG)
        page.get_by_label("In (seconds, or as 2h30m)").fill(ATTRIBUTE)
        page.get_by_label("Type").select_option("Freeze")
        page.get_by_role("button", name="Declare").click()
        expect(page.get_by_role("alert")).to_be_visible()
        assert page.get_by_label("VMs, one a line").input_value() == OPEN_TAG
        assert page.get_by_label("In (seconds, or as 2h30m)").input_value() == ATTRIBUTE
        assert hostile_elements(page) == []
        assert visitor.dialogs == []


def state(plain: Site) -> list[object]:
    """Return what forms could change."""
    paths = ("events", "faults", "clock", "certificates", "keys", "vms", "audit", "scenarios")
    found: list[object] = [plain.api.get(f"/v1/{path}").json() for path in paths]
    found[2] = {**plain.api.get("/v1/clock").json(), "now": ""}
    return found


def test_forms_of_another_origin_change_nothing(visitor: Visitor, plain: Site) -> None:
    before = state(plain)
    event = plain.api.get("/v1/events").json()["items"][0]["id"]
    paths = {row.path.replace("{name}", event) for row in FORMS}
    paths |= {row.path.replace("{name}", "vm-0") for row in FORMS}
    visitor.open("/ui/events")
    csrf = visitor.page.locator("input[name=csrf]").first.input_value()
    for token in ("", csrf):
        forms = "".join(
            f'<form id="f{place}" method="post" action="{plain.origin}/ui{path}">'
            f'<input name="csrf" value="{token}"><input name="type" value="Freeze">'
            '<input name="vms" value="vm-0"><input name="effect" value="reset">'
            '<input name="advance_s" value="60"><input name="part" value="root"></form>'
            for place, path in enumerate(sorted(paths))
        )
        with showing(forms) as foreign:
            for place in range(len(paths)):
                visitor.page.goto(foreign)
                with visitor.page.expect_navigation() as sent:
                    visitor.page.evaluate(f"document.forms[{place}].submit()")
                # The port is another origin of the same site: the cookie comes along.
                assert sent.value.status == 403
                assert "Origin: saw" in visitor.text
    assert state(plain) == before


def test_form_without_its_token_is_refused(visitor: Visitor, plain: Site) -> None:
    before = state(plain)
    visitor.open("/ui/events")
    for token in ("", "guessed"):
        visitor.page.evaluate(
            "token => document.querySelectorAll('input[name=csrf]').forEach(o => o.value = token)",
            token,
        )
        button = visitor.page.get_by_role("button", name="Start").first
        with visitor.page.expect_navigation() as sent:
            button.click()
        assert sent.value.status == 403
        visitor.open("/ui/events")
    assert state(plain) == before


def test_reads_of_another_origin_get_no_content(visitor: Visitor, plain: Site) -> None:
    with showing("") as foreign:
        visitor.page.goto(foreign)
        read = "url => fetch(url, {credentials: 'include'}).then(a => a.text(), () => 'refused')"
        assert visitor.page.evaluate(read, f"{plain.origin}/ui/") == "refused"
        opened = f"""() => {{
          const other = window.open('{plain.origin}/ui/');
          return new Promise(done => setTimeout(() => {{
            try {{ done(other.closed || other.document.body.innerText); }}
            catch {{ done('refused'); }}
          }}, 500));
        }}"""
        assert visitor.page.evaluate(opened) in {"refused", True}


def test_framed_page_is_not_shown(visitor: Visitor, plain: Site) -> None:
    frame = f"<iframe title=a src='{plain.origin}/ui/'></iframe>"
    with showing(frame) as foreign:
        visitor.page.goto(foreign)
        framed = visitor.page.frames[1]
        assert "OpenIMDS" not in framed.content()
        assert any("frame-ancestors 'none'" in line for line in visitor.errors)


def session(visitor: Visitor) -> Cookie:
    """Return the cookie of the session."""
    (found,) = [one for one in visitor.context.cookies() if "-session-" in str(one.get("name"))]
    return found


def test_cookie_is_shut_and_is_not_the_token(visitor: Visitor, plain: Site) -> None:
    cookie = session(visitor)
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/ui/")
    assert plain.token not in cookie["value"]
    assert cookie["value"] not in plain.token
    visitor.open("/ui/")
    assert visitor.page.evaluate("document.cookie") == ""
    assert plain.token not in visitor.page.content()
    assert visitor.page.evaluate("localStorage.length + sessionStorage.length") == 0


def test_cookie_from_before_the_login_is_replaced(browser: Browser, plain: Site) -> None:
    with visiting(browser, plain.origin) as visitor:
        visitor.sign_in(plain.token)
        name = session(visitor)["name"]
    with visiting(browser, plain.origin) as visitor:
        for path in ("/ui/", "/"):
            planted = {"name": name, "value": "planted", "domain": "127.0.0.1", "path": path}
            visitor.context.add_cookies([planted])  # type: ignore[list-item]
        visitor.open("/ui/login")
        visitor.page.get_by_label("Token").fill(plain.token)
        visitor.page.keyboard.press("Enter")
        visitor.page.wait_for_url("**/ui/")
        values = {one["path"]: one["value"] for one in visitor.context.cookies()}
        assert values["/ui/"] != "planted"
        assert "Sign out" in visitor.text


def test_session_of_before_ends_with_the_next_login(visitor: Visitor, plain: Site) -> None:
    first = session(visitor)
    visitor.page.get_by_role("button", name="Sign out").click()
    visitor.page.wait_for_url("**/ui/login")
    visitor.page.go_back()
    expect(visitor.page.get_by_label("Token")).to_be_visible()
    visitor.context.add_cookies([first])  # type: ignore[list-item]
    visitor.open("/ui/")
    assert "/ui/login" in visitor.page.url


def test_revoked_token_ends_its_sessions(browser: Browser, plain: Site) -> None:
    made = plain.api.post("/v1/tokens", json={"name": "short", "role": "read"}).json()
    with visiting(browser, plain.origin) as visitor:
        visitor.sign_in(made["token"])
        visitor.open("/ui/events")
        expect(visitor.page.get_by_text("This page updates itself.")).to_be_visible()
        plain.api.delete("/v1/tokens/short").raise_for_status()
        expect(visitor.page.get_by_text("The session has ended.")).to_be_visible()
        visitor.open("/ui/")
        assert "/ui/login" in visitor.page.url


def test_login_leads_to_no_other_site(browser: Browser, plain: Site) -> None:
    for aim in ("//a.example/", "https://a.example/", "/\\a.example/", "/ui/\\..\\..//a.example"):
        with visiting(browser, plain.origin) as visitor:
            visitor.open(f"/ui/login?next={quote(aim, safe='')}")
            visitor.page.get_by_label("Token").fill(plain.token)
            visitor.page.keyboard.press("Enter")
            expect(visitor.page.get_by_role("button", name="Sign out")).to_be_visible()
            assert visitor.page.url == f"{plain.origin}/ui/"
            assert visitor.elsewhere() == []


def test_cookie_over_tls_is_bound_to_its_host(browser: Browser, tmp_path: Path) -> None:
    certificate, key = TestCa(tmp_path).issue("server", "127.0.0.1")
    files = ("--admin-cert", str(certificate), "--admin-key", str(key))
    with site(tmp_path, ["vm-0"], *files) as made, visiting(browser, made.origin) as visitor:
        visitor.sign_in(made.token)
        cookie = session(visitor)
        assert cookie["name"].startswith("__Host-")
        assert (cookie["secure"], cookie["httpOnly"], cookie["path"]) == (True, True, "/")
