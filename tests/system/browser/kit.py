"""A real Chromium for tests: visitors with profiles of their own.

Chromium is the machine's own (`scripts/host-tools` installs Debian's package), Playwright drives
it, and axe-core judges accessibility. Chromium resolves no name, so that no page reaches past
loopback.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Page,
    Request,
    expect,
    sync_playwright,
)

Scheme: TypeAlias = Literal["light", "dark"]
AXE = (Path(__file__).parent / "axe.min.js").read_text(encoding="utf-8")
"""axe-core, unmodified; NOTICE has its version, licence and digest."""
WIDE, NARROW = 1280, 390
_HEIGHT = 900
_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_ARGUMENTS = (
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
_TIMEOUT_MS = 30_000
_SERIOUS = {"serious", "critical"}
_RUN_AXE = "axe.run(document, {resultTypes: ['violations']})"
OVERFLOWING = """() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return [];
  return [...document.body.querySelectorAll('*')]
    .filter(element => {
      const box = element.getBoundingClientRect();
      return Math.max(box.right, box.left + element.scrollWidth) > width + 1;
    })
    .map(element => element.tagName + '.' + element.className).slice(0, 5);
}"""
"""The elements that make a page wider than its window, as JavaScript finds them."""


def _refuse(reason: str) -> None:
    """Skip the test, or fail it where everything has to run."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Chromium. Its event loop stays in this thread until the end."""
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None:
        _refuse("chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*_ARGUMENTS])
        try:
            yield browser
        finally:
            browser.close()


class Visitor:
    """A page with a profile of its own, and a record of what it did.

    Attributes:
        dialogs: the texts of dialogs; each is dismissed.
        errors: what the console shows as an error, with violations of the content policy.
        requests: the requests that left.
    """

    def __init__(self, context: BrowserContext, origin: str) -> None:
        self.context, self.origin = context, origin
        self.dialogs: list[str] = []
        self.errors: list[str] = []
        self.requests: list[Request] = []
        context.set_default_timeout(_TIMEOUT_MS)
        expect.set_options(timeout=_TIMEOUT_MS)
        context.on("request", self._record)
        self.page: Page = context.new_page()
        self.page.on("dialog", self._dismiss)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on(
            "console",
            lambda line: self.errors.append(line.text) if line.type == "error" else None,
        )

    def _record(self, request: Request) -> None:
        self.requests.append(request)

    def _dismiss(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def open(self, path: str) -> int:
        """Open a page of the origin; return its status."""
        answer = self.page.goto(self.origin + path, wait_until="load")
        assert answer
        return answer.status

    def sign_in(self, token: str) -> None:
        """Send the form of the login page."""
        self.open("/ui/login")
        self.page.get_by_label("Token").fill(token)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url(f"{self.origin}/ui/")

    def resize(self, width: int) -> None:
        """Change the width of the window, in pixels."""
        self.page.set_viewport_size({"width": width, "height": _HEIGHT})

    @property
    def text(self) -> str:
        """The text that a reader sees."""
        return self.page.locator("body").inner_text()

    def elsewhere(self) -> list[str]:
        """Return the URLs of requests that went to another origin."""
        origin = urlsplit(self.origin)[:2]
        urls = [request.url for request in self.requests]
        return [url for url in urls if urlsplit(url)[:2] != origin and not url.startswith("data:")]

    def overflowing(self) -> list[str]:
        """Return elements that make the page wider than its window."""
        found: list[str] = self.page.evaluate(OVERFLOWING)
        return found

    def serious_findings(self, scheme: Scheme) -> list[str]:
        """Return the serious findings of axe about the page, in a colour scheme."""
        self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        self.page.evaluate(AXE)
        result: dict[str, Any] = self.page.evaluate(_RUN_AXE)
        return [
            f"{finding['id']}: {node['target']} {node['failureSummary']}"
            for finding in result["violations"]
            if finding["impact"] in _SERIOUS
            for node in finding["nodes"]
        ]


@contextmanager
def visiting(
    browser: Browser, origin: str, *, width: int = WIDE, script: bool = True
) -> Iterator[Visitor]:
    """Open a window with an empty profile; without `script`, JavaScript is switched off."""
    context = browser.new_context(
        viewport={"width": width, "height": _HEIGHT},
        java_script_enabled=script,
        ignore_https_errors=True,
    )
    try:
        yield Visitor(context, origin)
    finally:
        context.close()
