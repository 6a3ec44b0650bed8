"""A reader of the page in the browser: signs in, gets pages, refreshes live parts."""

import re
import urllib.parse
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

_CSRF = re.compile(rb'name="csrf" value="([^"]+)"')
_FORM = "application/x-www-form-urlencoded"
_OK = {200, 304}


class PageReader:
    """A connection to the admin port with a session of its own."""

    def __init__(self, url: str, token_file: Path) -> None:
        """Sign in with the token of a file."""
        self._origin = url
        self._http = HTTPConnection(url.removeprefix("http://"), timeout=60)
        self._cookies: dict[str, str] = {}
        self._tags: dict[str, str] = {}
        csrf = _CSRF.search(self._send("GET", "/ui/login")[1])
        assert csrf, "the login page has a form"
        fields = {"csrf": csrf[1].decode(), "token": token_file.read_text("ascii").strip()}
        self._send("POST", "/ui/login", urllib.parse.urlencode(fields))

    def get(self, path: str) -> int:
        """Get a page whole; return its octets.

        Raises:
            RuntimeError: it was refused.
        """
        answer, body = self._send("GET", path)
        if answer.status not in _OK:
            raise RuntimeError(f"{path}: {answer.status} {body[:200]!r}")
        return len(body)

    def refresh(self, path: str) -> int:
        """Get a live part as the script does; return its octets, 0 if unchanged."""
        answer, body = self._send("GET", path, tag=self._tags.get(path, ""))
        if answer.status not in _OK:
            raise RuntimeError(f"{path}: {answer.status} {body[:200]!r}")
        self._tags[path] = answer.headers.get("etag", "")
        return len(body)

    def _send(
        self, method: str, path: str, body: str | None = None, tag: str = ""
    ) -> tuple[HTTPResponse, bytes]:
        headers = {"Cookie": "; ".join(f"{key}={text}" for key, text in self._cookies.items())}
        if tag:
            headers["If-None-Match"] = tag
        if body is not None:
            headers |= {"Content-Type": _FORM, "Origin": self._origin}
        self._http.request(method, path, body, headers)
        answer = self._http.getresponse()
        read = answer.read()
        for cookie in answer.headers.get_all("set-cookie", []):
            key, _, text = cookie.partition(";")[0].partition("=")
            self._cookies[key] = text
        return answer, read
