"""Client of the admin API: finds the running server, calls it, turns problems into errors."""

import os
import socket
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import click
import msgspec.json

from openimds.cli.table import printable
from openimds.cli.tls import remedy_of, tls_context
from openimds.errors import ConfigError, Error
from openimds.fleet.store.state import TOKEN_NAME, default_folder, token_names
from openimds.settings import setting

URL_VARIABLE = "OPENIMDS_ADMIN"
TOKEN_VARIABLE = "OPENIMDS_TOKEN_FILE"  # noqa: S105 - the name of a variable
REDACTED_HEADER = "OpenIMDS-Redacted"
"""As `admin.guarded_members` has it, which help must not load."""
_TIMEOUT_S = 60
_CONNECT_S = 5
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

        An https URL is checked against the CAs in OPENIMDS_CA, else against those of the system.

        Args:
            state: the state folder that holds the token file; by default the user's own.

        Raises:
            ConfigError: the token file cannot be read, OPENIMDS_ADMIN is not a URL, or a file of
                certificates cannot be used.
            ServerError: there is no token file, and no server.
        """
        text = os.environ.get(URL_VARIABLE) or setting("admin").default
        scheme, place, self._host, port = _parts_of(text)
        self.is_quiet = False
        """Whether warnings of the server are left out, as while a shell completes a word."""
        self.redacted = ""
        """The members that the last answer leaves out for the token's role, by commas."""
        self.url, self._is_tls = f"{scheme}://{place}", scheme == "https"
        self.token_path = path = self._token_path(state, port)
        try:
            self._token = path.read_text("ascii").strip()
        except (OSError, ValueError) as error:
            self._check_listening(port)
            raise ConfigError(
                TOKEN_VARIABLE,
                f"{path} ({error})",
                "the token file that the server named when it was ready",
                f"Set {TOKEN_VARIABLE}",
            ) from None
        self._http = (
            HTTPSConnection(self._host, port, timeout=_TIMEOUT_S, context=tls_context())
            if self._is_tls
            else HTTPConnection(self._host, port, timeout=_TIMEOUT_S)
        )

    def _token_path(self, state: str, port: int) -> Path:
        if named := os.environ.get(TOKEN_VARIABLE):
            return Path(named)
        if state:
            return Path(state) / TOKEN_NAME
        paths = [default_folder() / name for name in token_names(self._host, port)]
        return next((path for path in paths if path.exists()), paths[0])

    def _check_listening(self, port: int) -> None:
        """Check that a server listens, before a lacking token is the fault.

        Raises:
            ServerError: none does.
        """
        try:
            socket.create_connection((self._host, port), _CONNECT_S).close()
        except OSError as error:
            raise self._lost(error) from None

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
            revision: the revision of the VM that the change is based on, sent as If-Match; 0 if
                the VM must not exist yet.

        Raises:
            ChangedError: status 412, the VM is at another revision, or exists.
            MissingError: status 404.
            ServerError: the server does not answer, or answers with another error status.
        """
        headers = self._headers()
        if revision:
            headers["If-Match"] = f'"{revision}"'
        elif revision is not None:
            headers["If-None-Match"] = "*"
        data = None
        if body is not None:
            data, headers["Content-Type"] = msgspec.json.encode(body), media
        try:
            self._http.request(method, path, data, headers)
            response = self._http.getresponse()
            text = response.read()
            self.redacted = response.headers.get(REDACTED_HEADER, "")
            if not self.is_quiet:
                _print_warning(response.headers.get("Warning", ""))
        except (OSError, HTTPException) as error:
            raise self._lost(error) from None
        if response.status == HTTPStatus.PRECONDITION_FAILED:
            raise ChangedError(_detail(text, response.status))
        if response.status == HTTPStatus.NOT_FOUND:
            raise MissingError(_detail(text, response.status))
        if response.status >= HTTPStatus.BAD_REQUEST:
            raise ServerError(_detail(text, response.status))
        return self._decoded(text) if text else None

    def _decoded(self, text: bytes) -> Any:  # noqa: ANN401 - any JSON value
        try:
            return msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise ServerError(
                f"{self.url} answers, but not as the admin API of OpenIMDS does: its answer is not "
                f"JSON. Set {URL_VARIABLE} to the URL of a running server"
            ) from None

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

    def page(self, path: str, query: Mapping[str, object]) -> list[dict[str, Any]]:
        """Return the items of the first page of a list."""
        items: list[dict[str, Any]] = self.ask("GET", f"{path}?{urlencode(query)}")["items"]
        return items

    def follow(self, path: str) -> Iterator[dict[str, Any]]:
        """Open a feed; return an iterator of the data of its server-sent events.

        It ends when the server ends the feed.

        Raises:
            ServerError: the connection is lost, or the status is an error.
        """
        try:
            self._http.request("GET", path, headers=self._headers())
            response = self._http.getresponse()
            if response.status >= HTTPStatus.BAD_REQUEST:
                raise ServerError(_detail(response.read(), response.status))
        except (OSError, HTTPException) as error:
            raise self._lost(error) from None
        return self._data_of(response)

    def _data_of(self, response: HTTPResponse) -> Iterator[dict[str, Any]]:
        try:
            for line in response:
                if line.startswith(_DATA):
                    yield self._decoded(line.removeprefix(_DATA))
        except (OSError, HTTPException) as error:
            raise self._lost(error) from None

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"}

    def _lost(self, error: Exception) -> ServerError:
        if remedy := remedy_of(error, self._host, is_tls=self._is_tls):
            return ServerError(f"{self.url}: {remedy}")
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        return ServerError(
            f"no server answers at {self.url} ({reason.lower()}). Type openimds serve in another "
            f"terminal, or set {URL_VARIABLE} to the URL of a running server"
        )


def _parts_of(text: str) -> tuple[str, str, str, int]:
    """Return scheme, network location, host and port of the URL in OPENIMDS_ADMIN.

    Raises:
        ConfigError: it is no URL of a server.
    """
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname or "", parts.port or 0  # A port beyond 65535 is a ValueError.
        host.encode("idna")
    except ValueError:
        parts, host, port = urlsplit(""), "", 0
    is_host = bool(host) and host.isprintable() and " " not in host
    if parts.scheme not in {"http", "https"} or not is_host or not port:
        raise ConfigError(URL_VARIABLE, f'"{text}"', "http://HOST:PORT or https://HOST:PORT")
    return parts.scheme, parts.netloc, host, port


def vm_path(name: str, more: str = "") -> str:
    """Return the path of a VM in the admin API, with `more` behind it."""
    return f"/v1/vms/{quote(name, safe='')}{more}"


def _print_warning(value: str) -> None:
    """Print the text of a Warning header on stderr."""
    if value:
        text = value.partition('"')[2].rpartition('"')[0] or value
        click.echo(f"openimds: {printable(text)}", err=True)


def _detail(text: bytes, status: int) -> str:
    """Return the `detail` of an RFC 9457 problem."""
    try:
        return str(msgspec.json.decode(text)["detail"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return f"the server answered with status {status}"
