"""Client of the admin API: finds the running server, calls it, turns problems into errors."""

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
    """The server cannot be reached, or refused the request."""


class ChangedError(ServerError):
    """412: the VM changed since it was read."""


class MissingError(ServerError):
    """404: the named resource does not exist."""


class Client:
    """A connection to the admin API of a running server."""

    def __init__(self, state: str = "") -> None:
        """Find the server by OPENIMDS_ADMIN and OPENIMDS_TOKEN_FILE, else by the defaults.

        Args:
            state: the state folder that holds the token file; by default the user's own.

        Raises:
            ConfigError: the token file cannot be read, or OPENIMDS_ADMIN is not a URL.
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
    ) -> Any:  # noqa: ANN401 - any JSON value
        """Call an operation and return its decoded body, None if it is empty.

        Args:
            method: GET, POST, PUT, PATCH or DELETE.
            path: the path with its query.
            body: a value to send as JSON.
            media: the media type of `body`.
            revision: the revision of the VM that the change is based on, sent as If-Match.

        Raises:
            ChangedError: status 412, the VM is at another revision.
            MissingError: status 404.
            ServerError: the server does not answer, or answers with another error status.
        """
        headers = self._headers()
        if revision is not None:
            headers["If-Match"] = f'"{revision}"'
        data = None
        if body is not None:
            data, headers["Content-Type"] = msgspec.json.encode(body), media
        try:
            self._http.request(method, path, data, headers)
            response = self._http.getresponse()
            text = response.read()
        except (OSError, HTTPException) as error:
            raise self._lost(error) from None
        if response.status == HTTPStatus.PRECONDITION_FAILED:
            raise ChangedError(_detail(text, response.status))
        if response.status == HTTPStatus.NOT_FOUND:
            raise MissingError(_detail(text, response.status))
        if response.status >= HTTPStatus.BAD_REQUEST:
            raise ServerError(_detail(text, response.status))
        return msgspec.json.decode(text) if text else None

    def vms(self) -> Iterator[dict[str, Any]]:
        """Yield every VM, page by page."""
        return self.items("/v1/vms")

    def items(
        self, path: str, only: Mapping[str, object] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield every item of a list, page by page; `only` are its query parameters."""
        query: dict[str, object] = {"limit": 1000, **(only or {})}
        while True:
            page = self.ask("GET", f"{path}?{urlencode(query)}")
            yield from page["items"]
            if page["next"] is None:
                return
            query["cursor"] = page["next"]

    def follow(self, path: str) -> Iterator[dict[str, Any]]:
        """Yield the data of each server-sent event of a feed, until the server ends it.

        Raises:
            ServerError: the connection is lost, or the status is an error.
        """
        try:
            self._http.request("GET", path, headers=self._headers())
            response = self._http.getresponse()
            if response.status >= HTTPStatus.BAD_REQUEST:
                raise ServerError(_detail(response.read(), response.status))
            for line in response:
                if line.startswith(_DATA):
                    yield msgspec.json.decode(line.removeprefix(_DATA))
        except (OSError, HTTPException) as error:
            raise self._lost(error) from None

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"}

    def _lost(self, error: Exception) -> ServerError:
        return ServerError(
            f"{self.url}: {error}; start a server with openimds serve, or set {URL_VARIABLE} to "
            "the URL of a running one"
        )


def vm_path(name: str, more: str = "") -> str:
    """Return the path of a VM in the admin API, with `more` behind it."""
    return f"/v1/vms/{quote(name, safe='')}{more}"


def _detail(text: bytes, status: int) -> str:
    """Return the `detail` of an RFC 9457 problem."""
    try:
        return str(msgspec.json.decode(text)["detail"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return f"the server answered with status {status}"
