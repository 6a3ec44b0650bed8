"""Login, sessions, the checks of forms, and the headers of every response."""

import re
from pathlib import Path

import pytest
from msgspec import structs

from openimds.admin.failed_tokens import FREE, FailedTokens
from openimds.admin.page import app, lazy
from openimds.admin.page.page_rows import FORMS, PAGES
from openimds.admin.page.rendering import STATIC
from openimds.admin.page.session_gate import MOST_FIELDS
from openimds.admin.roles import Role
from openimds.fleet.store.port import StoreError
from tests.unit.admin.page.browser import Browser, file_token, signed_in, text_of
from tests.unit.admin.setup import AdminServer, with_server

POST = "application/x-www-form-urlencoded"


def test_page_without_session_leads_to_login_and_back(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        browser = Browser(server)
        answer = await browser.get("/ui/?q=web&page=2")
        assert (answer.status_code, answer.headers["location"]) == (303, "/ui/login")
        answer = await browser.get("/ui/nothing?a=1")
        assert answer.headers["location"] == "/ui/login?next=%2Fui%2Fnothing%3Fa%3D1"
        await browser.get(answer.headers["location"])
        answer = await browser.post(answer.headers["location"], {"token": file_token(server)})
        assert (answer.status_code, answer.headers["location"]) == (303, "/ui/nothing?a=1")
        assert (await browser.get("/ui/login")).headers["location"] == "/ui/"
        assert (await browser.get("/ui")).headers["location"] == "/ui/"

    with_server(tmp_path, work)


@pytest.mark.parametrize(
    "wanted", ["//evil.example", "https://evil.example/ui/", "/ui/\\evil", "/v1/vms", "/ui/\r\nx"]
)
def test_login_never_leads_elsewhere(tmp_path: Path, wanted: str) -> None:
    async def work(server: AdminServer) -> None:
        browser = Browser(server)
        await browser.get("/ui/login")
        fields = {"csrf": browser.csrf, "token": file_token(server)}
        headers = {"Origin": browser.origin}
        params = {"next": wanted}
        answer = await browser.client.post("/ui/login", params=params, data=fields, headers=headers)
        assert (answer.status_code, answer.headers["location"]) == (303, "/ui/")

    with_server(tmp_path, work)


def test_session_cookie_is_not_the_token_and_strict(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        browser = Browser(server)
        answer = await browser.login(file_token(server))
        cookie, cleared = answer.headers.get_list("set-cookie")
        assert re.fullmatch(
            r"openimds-session-8170=[\w-]{43}; HttpOnly; Max-Age=28800; Path=/ui/; SameSite=strict",
            cookie,
        )
        assert file_token(server) not in cookie
        assert "Max-Age=0" in cleared

    with_server(tmp_path, work)


def test_session_cookie_over_tls_has_the_host_prefix(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        browser = Browser(server, "https://localhost:8170")
        answer = await browser.login(file_token(server))
        cookie = answer.headers.get_list("set-cookie")[0]
        assert cookie.startswith("__Host-openimds-session-8170=")
        assert cookie.endswith("; HttpOnly; Max-Age=28800; Path=/; SameSite=strict; Secure")
        assert (await browser.get("/ui/")).status_code == 200

    with_server(tmp_path, work)


def test_login_gives_a_new_id_and_ends_the_old_session(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        browser = await signed_in(server)
        name = "openimds-session-8170"
        first = browser.client.cookies[name]
        other = Browser(server)
        other.client.cookies.set(name, "chosen-by-another", domain="localhost.local", path="/ui/")
        await other.login(file_token(server))
        assert {cookie.value for cookie in other.client.cookies.jar} & {first} == set()
        browser.client.cookies.set("openimds-login-8170", "nonce", path="/ui/")
        await other.get("/ui/")
        assert (await browser.get("/ui/")).status_code == 200
        # A login in the same browser ends its session.
        nonce = Browser(server)
        await nonce.get("/ui/login")
        for cookie in nonce.client.cookies.jar:
            browser.client.cookies.jar.set_cookie(cookie)
        browser.csrf = nonce.csrf
        answer = await browser.post("/ui/login", {"token": file_token(server)})
        assert answer.status_code == 303
        assert browser.client.cookies[name] != first
        old = Browser(server)
        old.client.cookies.set(name, first, domain="localhost.local", path="/ui/")
        assert (await old.get("/ui/")).status_code == 303

    with_server(tmp_path, work)


def test_planted_cookies_neither_hide_nor_take_a_session(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        browser = await signed_in(server)
        own = browser.client.cookies["openimds-session-8170"]
        browser.client.cookies.clear()
        planted = "openimds-session-8170=planted"
        for values in (
            f"openimds-session-8170={own}; {planted}",
            f"{planted}; x=y; {planted[:-1]}",
        ):
            both = {"Cookie": f"{values}; openimds-session-8170={own}"}
            assert (await browser.get("/ui/", **both)).status_code == 200
        many = "; ".join([planted] * 8)
        lost = await browser.get("/ui/", Cookie=f"{many}; openimds-session-8170={own}")
        assert lost.status_code == 303
        # The end of a session is that of the own cookie.
        sent = {"Cookie": f"{planted}; openimds-session-8170={own}"}
        assert (await browser.post("/ui/logout", None, **sent)).status_code == 303
        assert (await browser.get("/ui/", **sent)).status_code == 303

    with_server(tmp_path, work)


def test_login_takes_the_form_of_any_of_its_cookies(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        browser = Browser(server)
        await browser.get("/ui/login")
        own = browser.client.cookies["openimds-login-8170"]
        browser.client.cookies.clear()
        fields = {"token": file_token(server)}
        both = {"Cookie": f"openimds-login-8170=planted; openimds-login-8170={own}"}
        assert (await browser.post("/ui/login", fields)).status_code == 403
        assert (await browser.post("/ui/login", fields, **both)).status_code == 303

    with_server(tmp_path, work)


def test_logout_ends_the_session(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        browser = await signed_in(server)
        cookies = [*browser.client.cookies.jar]
        answer = await browser.post("/ui/logout")
        assert (answer.status_code, answer.headers["location"]) == (303, "/ui/login")
        for cookie in cookies:
            browser.client.cookies.jar.set_cookie(cookie)
        assert (await browser.get("/ui/")).status_code == 303
        assert (await browser.post("/ui/logout")).headers["location"] == "/ui/login"

    with_server(tmp_path, work)


def test_rotated_token_file_ends_its_sessions(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        browser = await signed_in(server)
        server.token.rotate()
        assert (await browser.get("/ui/")).status_code == 303
        assert (await browser.get("/ui/?live=vms")).status_code == 401

    with_server(tmp_path, work)


def test_session_ends_with_the_life_of_its_token(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        _, text = await server.tokens.add("short", Role.READ, "test", life_s=60.0)
        browser = Browser(server)
        assert (await browser.login(text)).status_code == 303
        assert (await browser.get("/ui/")).status_code == 200
        server.now_s += 61.0
        assert (await browser.get("/ui/")).status_code == 303
        assert (await browser.login(text)).status_code == 401

    with_server(tmp_path, work)


def test_replaced_secret_ends_its_sessions(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        browser = await signed_in(server, Role.READ)
        await server.tokens.rotate("a-read")
        assert (await browser.get("/ui/")).status_code == 303

    with_server(tmp_path, work)


def test_revoked_token_ends_its_sessions_alone(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        reader, admin = await signed_in(server, Role.READ), await signed_in(server)
        await server.tokens.revoke("a-read")
        assert (await reader.get("/ui/")).status_code == 303
        assert (await admin.get("/ui/")).status_code == 200

    with_server(tmp_path, work)


@pytest.mark.parametrize(
    "token, status, text",
    [
        ("", 401, "Enter a token"),
        ("wrong", 401, "not known here"),
        ("not a token", 401, "not the form of a token"),
    ],
)
def test_wrong_login_is_counted_as_at_the_api(
    tmp_path: Path, token: str, status: int, text: str
) -> None:
    async def work(server: AdminServer) -> None:
        browser = Browser(server)
        before = server.services.failed_tokens.counts.total()
        answer = await browser.login(token)
        assert (answer.status_code, text in text_of(answer)) == (status, True)
        assert server.services.failed_tokens.counts.total() == before + 1

    with_server(tmp_path, work)


def test_many_wrong_logins_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(server: AdminServer) -> None:
        waits: list[float] = []

        async def wait(seconds: float) -> None:
            waits.append(seconds)

        failures = FailedTokens(lambda: 0.0, server.notices.append)
        monkeypatch.setattr("openimds.admin.auth.Authenticator.__init__.__defaults__", (wait,))
        server.use(structs.replace(server.services, failed_tokens=failures))
        browser = Browser(server)
        for _ in range(FREE + 1):
            await browser.login("wrong")
        assert waits == [pytest.approx(0.1)]

    with_server(tmp_path, work)


def test_token_that_reads_nothing_gets_no_session(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        _, text = await server.tokens.add("joiner", Role.ENROL, "test")
        answer = await Browser(server).login(text)
        assert (answer.status_code, "reads no page" in text_of(answer)) == (403, True)

    with_server(tmp_path, work)


def test_token_that_is_bound_to_vms_gets_no_session(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        _, text = await server.tokens.add("web", Role.READ, "test", select="tag=team:web")
        answer = await Browser(server).login(text)
        assert answer.status_code == 403
        assert "The token web is bound to tag=team:web" in text_of(answer)

    with_server(tmp_path, work)


@pytest.mark.parametrize(
    "headers, status",
    [
        ({}, 303),
        ({"Origin": "http://LOCALHOST:8170"}, 303),
        ({"Origin": "http://localhost:8171"}, 403),
        ({"Origin": "http://localhost"}, 403),
        ({"Origin": "https://localhost:8170"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 303),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_form_of_another_origin_is_refused(
    tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    async def work(server: AdminServer) -> None:
        browser = await signed_in(server)
        assert (await browser.post("/ui/logout", None, **headers)).status_code == status
        assert (await browser.get("/ui/")).status_code == (303 if status == 303 else 200)

    with_server(tmp_path, work)


def test_form_without_origin_is_refused(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        browser = await signed_in(server)
        answer = await browser.client.post("/ui/logout", data={"csrf": browser.csrf})
        assert answer.status_code == 403
        assert "Origin: saw none, expected http://localhost:8170" in text_of(answer)

    with_server(tmp_path, work)


@pytest.mark.parametrize("csrf", ["", "x", "ü"])
def test_form_without_its_csrf_token_is_refused(tmp_path: Path, csrf: str) -> None:
    async def work(server: AdminServer) -> None:
        browser, other = await signed_in(server), await signed_in(server)
        for sent in (csrf, other.csrf):
            answer = await browser.post("/ui/logout", {"csrf": sent})
            assert (answer.status_code, "another session" in text_of(answer)) == (403, True)
        assert (await browser.get("/ui/")).status_code == 200

    with_server(tmp_path, work)


def test_login_without_its_form_is_refused(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        browser, other = Browser(server), Browser(server)
        await other.get("/ui/login")
        fields = {"token": file_token(server), "csrf": other.csrf}
        assert (await browser.post("/ui/login", fields)).status_code == 403
        await browser.get("/ui/login")
        assert (await browser.post("/ui/login", fields)).status_code == 403

    with_server(tmp_path, work)


@pytest.mark.parametrize(
    "body, media, status",
    [
        (b"csrf=x", "text/plain", 415),
        (b"\xff=x", POST, 400),
        (b"&".join(b"a=%d" % number for number in range(MOST_FIELDS + 1)), POST, 400),
        (b"a=" + b"x" * (1 << 20), POST, 413),
    ],
)
def test_body_that_is_no_form_is_refused(
    tmp_path: Path, body: bytes, media: str, status: int
) -> None:
    async def work(server: AdminServer) -> None:
        browser = Browser(server)
        headers = {"Origin": browser.origin, "Content-Type": media}
        answer = await browser.client.post("/ui/login", content=body, headers=headers)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "text/html; charset=utf-8"

    with_server(tmp_path, work)


def test_every_response_has_the_headers(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        browser = await signed_in(server)
        paths = ["/ui", "/ui/login", "/ui/nothing", "/ui/static/x", "/ui/static/page.css"]
        paths += ["/ui" + row.path for row in PAGES if "{" not in row.path]
        for path in paths:
            answer = await browser.get(path)
            for name, text in lazy._HEADERS.items():
                assert answer.headers.get_list(name) == [text]
            cached = "no-cache" if path == "/ui/static/page.css" else "no-store"
            assert answer.headers["cache-control"] == cached
        assert "unsafe" not in lazy._HEADERS["content-security-policy"]

    with_server(tmp_path, work)


def test_wrong_host_is_refused_as_at_the_api(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        browser = await signed_in(server)
        for path in ("/ui/", "/ui/login", "/ui/static/page.css", "/ui/nothing"):
            assert (await browser.get(path, Host="evil.example")).status_code == 421
        answer = await browser.post("/ui/logout", Host="evil.example")
        assert answer.status_code == 421

    with_server(tmp_path, work)


def test_static_file_is_sent_once(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        browser = Browser(server)
        for name, (body, media) in STATIC.items():
            answer = await browser.get(f"/ui/static/{name}")
            assert (answer.content, answer.headers["content-type"]) == (body, media)
            again = await browser.get(
                f"/ui/static/{name}", **{"If-None-Match": answer.headers["etag"]}
            )
            assert (again.status_code, again.content) == (304, b"")
        assert (await browser.get("/ui/static/page.py")).status_code == 404

    with_server(tmp_path, work)


def test_no_page_has_inline_script_or_style(tmp_path: Path) -> None:
    for path in (Path(app.__file__).parent / "templates").glob("*.html"):
        text = path.read_text()
        assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=|javascript:", text)
        assert "| safe" not in text
        assert "autoescape" not in text


def test_unknown_path_and_method_are_pages(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        browser = await signed_in(server)
        for path, status in (("/ui/nothing", 404), ("/ui/login/", 404), ("/ui/?live=x", 404)):
            assert (await browser.get(path)).status_code == status
        for path, status in (("/ui/", 405), ("/ui/nothing", 404), ("/ui/static/page.css", 405)):
            answer = await browser.post(path)
            assert answer.status_code == status
        assert (await browser.client.request("PUT", "/ui/login")).status_code == 405

    with_server(tmp_path, work)


def test_store_that_fails_is_a_page_that_says_so(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        browser = await signed_in(server, Role.READ)

        async def fail(_: str) -> None:
            raise StoreError("fleet.db: the disk is full")

        server.tokens.find_digest = fail  # type: ignore[method-assign, assignment]
        answer = await browser.get("/ui/")
        assert (answer.status_code, "the disk is full" in text_of(answer)) == (503, True)
        answer = await browser.get("/ui/?live=vms")
        assert (answer.status_code, answer.text) == (503, "fleet.db: the disk is full")

    with_server(tmp_path, work)


def test_rows_have_paths_of_their_own_and_pages_for_forms() -> None:
    paths = [row.path for row in PAGES]
    assert len({*paths}) == len(paths)
    assert {row.page for row in FORMS} <= {*paths}
    assert len({row.path for row in FORMS}) == len(FORMS)
    assert all(row.title and row.template.endswith(".html") for row in PAGES)


def test_requests_for_pages_are_counted_by_their_rows(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        browser = await signed_in(server)
        await browser.get("/ui/vms/none")
        await browser.get("/ui/nothing")
        await browser.post("/ui/logout", Origin="null")
        counts = server.services.request_counts.samples()["openimds_admin_requests"]
        expected = {
            ("/ui/", "GET", "200"): 1,
            ("/ui/login", "GET", "200"): 1,
            ("/ui/login", "POST", "303"): 1,
            ("/ui/vms/{name}", "GET", "404"): 1,
            ("/v1/vms/{name}", "GET", "404"): 1,
            ("none", "none", "404"): 1,
            ("/ui/logout", "POST", "403"): 1,
        }
        assert counts == expected

    with_server(tmp_path, work)
