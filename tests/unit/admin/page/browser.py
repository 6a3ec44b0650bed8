"""A browser without a screen: cookies, forms and links, over the application itself."""

import re
from collections.abc import Mapping
from html import unescape
from pathlib import Path
from typing import Any

import httpx2

from openimds.admin.roles import Role
from tests.unit.admin.setup import AdminServer

ORIGIN = "http://localhost:8170"


class Browser:
    """Keeps cookies as a browser does, and sends forms with their CSRF token."""

    def __init__(self, server: AdminServer, origin: str = ORIGIN) -> None:
        transport = httpx2.ASGITransport(server.application)
        self.client = httpx2.AsyncClient(base_url=origin, transport=transport)
        self.origin, self.csrf = origin, ""

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        answer = await self.client.get(path, headers=headers)
        self._look(answer)
        return answer

    async def post(
        self, path: str, fields: Mapping[str, str] | None = None, **headers: str
    ) -> httpx2.Response:
        sent = {"csrf": self.csrf, **(fields or {})}
        answer = await self.client.post(path, data=sent, headers={"Origin": self.origin, **headers})
        self._look(answer)
        return answer

    async def login(self, token: str) -> httpx2.Response:
        await self.get("/ui/login")
        return await self.post("/ui/login", {"token": token})

    def _look(self, answer: httpx2.Response) -> None:
        if found := re.search(r'name="csrf" value="([^"]+)"', answer.text):
            self.csrf = found[1]


async def signed_in(server: AdminServer, role: Role | None = None) -> Browser:
    """Return a browser with a session, by default of the token file."""
    browser = Browser(server)
    text = server.token.path.read_text().strip()
    if role is not None:
        _, text = await server.tokens.add(f"a-{role}", role, "test")
    answer = await browser.login(text)
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/")
    await browser.get("/ui/")
    return browser


def text_of(answer: httpx2.Response) -> str:
    """Return the text of a page without its tags."""
    text = re.sub(r"(?s)<head>.*?</head>|<[^>]*>", " ", answer.text)
    return " ".join(unescape(text).split())


def cells(answer: httpx2.Response) -> list[list[str]]:
    """Return the texts of the cells of the tables' bodies."""
    rows = re.findall(r"(?s)<tr>(.*?)</tr>", answer.text)
    found = [re.findall(r"(?s)<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]
    return [[" ".join(re.sub(r"<[^>]*>", " ", cell).split()) for cell in row] for row in found]


def file_token(server: AdminServer) -> str:
    """Return the token of the token file."""
    path: Path = server.token.path
    return path.read_text().strip()


def members(**more: Any) -> dict[str, Any]:
    """Return the body of a VM."""
    return {"compute": {"vmSize": "Standard_D2s_v5", "location": "westeurope"}, **more}
