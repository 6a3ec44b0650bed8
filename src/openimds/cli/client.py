"""The admin API from the command line: find the server, ask it, make errors sentences."""

import os
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec.json

from openimds.errors import ConfigError, Error
from openimds.fleet.store.state import TOKEN_NAME, default_folder
from openimds.settings import setting

URL_VARIABLE = "OPENIMDS_ADMIN"
TOKEN_VARIABLE = "OPENIMDS_TOKEN_FILE"  # noqa: S105 - the name of a variable
_TIMEOUT_S = 60
_DATA = b"data: "


class ServerError(Error):
    """The server cannot be reached, or said no."""


class ChangedError(ServerError):
    """Somebody else was quicker: what was to be changed is not what it was."""


class MissingError(ServerError):
    """There is nothing of that name."""


class Client:
    """A connection to the admin API of a running server."""

    def __init__(self, state: str = "") -> None:
        """Find the server: OPENIMDS_ADMIN and OPENIMDS_TOKEN_FILE, else port and folder of old.

        Raises:
            ConfigError: there is no token to be read, or the URL is none.
        """
        text = os.environ.get(URL_VARIABLE) or setting("admin").default
        parts = urlsplit(text if "://" in text else f"http://{text}")
        if parts.scheme != "http" or not parts.hostname or not parts.port:
            raise ConfigError(URL_VARIABLE, f'"{text}"', "http://HOST:PORT")
        self.url = f"http://{parts.netloc}"
        folder = Path(state) if state else default_folder()
        self.token_path = path = Path(os.environ.get(TOKEN_VARIABLE) or folder / TOKEN_NAME)
        try:
            self._token = path.read_text("ascii").strip()
        except (OSError, ValueError) as error:
            raise ConfigError(
                TOKEN_VARIABLE,
                f"{path} ({error})",
                "the token file that the server named when it was ready",
                f"Set {TOKEN_VARIABLE}",
            ) from None
        self._http = HTTPConnection(parts.hostname, parts.port, timeout=_TIMEOUT_S)

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        media: str = "application/json",
        revision: int | None = None,
    ) -> Any:  # noqa: ANN401 - whatever JSON the server gives
        """Return the decoded answer of an operation; a `revision` is what it means to change.

        Raises:
            ChangedError: it is at another revision.
            MissingError: it is not there.
            ServerError: nobody answers, or the answer is a problem.
        """
        headers = self._headers()
        if revision is not None:
            headers["If-Match"] = f'"{revision}"'
        data = None
        if body is not None:
            data, headers["Content-Type"] = msgspec.json.encode(body), media
        try:
            self._http.request(method, path, data, headers)
            got = self._http.getresponse()
            text = got.read()
        except (OSError, HTTPException) as error:
            raise self._lost(error) from None
        if got.status == HTTPStatus.PRECONDITION_FAILED:
            raise ChangedError(_detail(text, got.status))
        if got.status == HTTPStatus.NOT_FOUND:
            raise MissingError(_detail(text, got.status))
        if got.status >= HTTPStatus.BAD_REQUEST:
            raise ServerError(_detail(text, got.status))
        return msgspec.json.decode(text) if text else None

    def vms(self) -> Iterator[dict[str, Any]]:
        """Yield every VM, page by page."""
        return self.items("/v1/vms")

    def items(
        self, path: str, only: Mapping[str, object] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield every item of a list, page by page; `only` are parameters that choose some."""
        asked: dict[str, object] = {"limit": 1000, **(only or {})}
        while True:
            page = self.ask("GET", f"{path}?{urlencode(asked)}")
            yield from page["items"]
            if page["next"] is None:
                return
            asked["cursor"] = page["next"]

    def follow(self, path: str) -> Iterator[dict[str, Any]]:
        """Yield what the events of a feed bring, until the server ends it.

        Raises:
            ServerError: nobody answers any more, or the answer is a problem.
        """
        try:
            self._http.request("GET", path, headers=self._headers())
            got = self._http.getresponse()
            if got.status >= HTTPStatus.BAD_REQUEST:
                raise ServerError(_detail(got.read(), got.status))
            for line in got:
                if line.startswith(_DATA):
                    yield msgspec.json.decode(line.removeprefix(_DATA))
        except (OSError, HTTPException) as error:
            raise self._lost(error) from None

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"}

    def _lost(self, error: Exception) -> ServerError:
        return ServerError(
            f"{self.url}: {error}; start a server with openimds serve, or say where one is with "
            f"{URL_VARIABLE}"
        )


def vm_path(name: str, more: str = "") -> str:
    """Return the path of a VM."""
    return f"/v1/vms/{quote(name, safe='')}{more}"


def _detail(text: bytes, status: int) -> str:
    try:
        return str(msgspec.json.decode(text)["detail"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return f"the server answered with status {status}"
