"""The checks before every page: Host, session, origin and CSRF token of a form.

The cookie is never the token: it is the id of a session. Its name has the port, for browsers share
cookies among the ports of a host. Over plain HTTP a server at another port of the same host can set
cookies of this name, and replace the one that is here: a session ends, or becomes one that the
server has opened with its own token. Cookies that it sets beside the first do not hide it. Over TLS
the name has the prefix `__Host-`, which needs the path `/`: a server without TLS cannot set it.
"""

import hashlib
import hmac
import secrets
from http import HTTPStatus
from urllib.parse import parse_qsl

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from openimds.admin.auth import Authenticator, body_of, check_media
from openimds.admin.page.sessions import SESSION_S, Session, Sessions
from openimds.admin.problem import ProblemError
from openimds.admin.roles import TokenGrant

CSRF_FIELD = "csrf"
FORM = "application/x-www-form-urlencoded"
MOST_FIELDS = 100
_LONGEST_NONCE = 64
_MOST_COOKIES = 8
"""So many cookies of one name are tried."""
_PORTS = {"http": 80, "https": 443}
_LOGIN_S = 3600
"""The longest time between opening the login page and sending it."""


class Admitted(Struct, frozen=True):
    """The session of a request, and the grant of its token."""

    session: Session
    grant: TokenGrant


class SessionGate:
    """Admits requests by their session cookie, and makes and ends sessions."""

    def __init__(self, authenticator: Authenticator, sessions: Sessions) -> None:
        """Check tokens with an authenticator."""
        self._authenticator, self.sessions = authenticator, sessions
        self._key = secrets.token_bytes(32)

    def check_host(self, request: Request) -> None:
        """Refuse a wrong Host, as the API does.

        Raises:
            ProblemError: 421.
        """
        self._authenticator.check_host(request)

    async def admit(self, request: Request) -> Admitted | None:
        """Return the session of a request and its token's grant, or None.

        Raises:
            Error: the token file or the tokens in the store cannot be read.
        """
        for text in _cookies(request, "session"):
            session = self.sessions.find(text)
            if session is None:
                continue
            if grant := await self._authenticator.grant_of(request, session.digest):
                return Admitted(session, grant)
            self.sessions.close(text)  # Its token was revoked or replaced.
        return None

    def open(self, request: Request, response: Response, digest: str) -> None:
        """Begin a session with a new id and cookie; end that of the request."""
        self._end_session(request)
        text, _ = self.sessions.open(digest)
        _set_cookie(request, response, "session", text, SESSION_S)
        _set_cookie(request, response, "login", "", 0)

    def close(self, request: Request, response: Response) -> None:
        """End the session of a request, and remove its cookie."""
        self._end_session(request)
        _set_cookie(request, response, "session", "", 0)

    def begin_login(self, request: Request) -> tuple[str, str]:
        """Return a nonce for the cookie of a login form, and the form's CSRF token."""
        known = filter(_is_nonce, _cookies(request, "login"))
        nonce = next(known, "") or secrets.token_urlsafe(16)
        return nonce, self._login_token(nonce)

    @staticmethod
    def keep_nonce(request: Request, response: Response, nonce: str) -> None:
        """Set the cookie of a login form."""
        _set_cookie(request, response, "login", nonce, _LOGIN_S)

    def check_login(self, request: Request, fields: dict[str, str]) -> None:
        """Check that a login was sent by the form that this browser got.

        Raises:
            ProblemError: 403.
        """
        nonces = filter(_is_nonce, _cookies(request, "login"))
        _check_csrf(fields, *map(self._login_token, nonces))

    @staticmethod
    def check_form(session: Session, fields: dict[str, str]) -> None:
        """Check that a form is of this session.

        Raises:
            ProblemError: 403.
        """
        _check_csrf(fields, session.csrf)

    def _login_token(self, nonce: str) -> str:
        return hmac.new(self._key, nonce.encode(), hashlib.sha256).hexdigest()

    def _end_session(self, request: Request) -> None:
        for text in _cookies(request, "session"):
            self.sessions.close(text)


def check_origin(request: Request) -> None:
    """Check that an unsafe request comes from a page of this server.

    Raises:
        ProblemError: 403, it has another origin, or none.
    """
    own = f"{request.url.scheme}://{request.headers.get('host', '').strip()}"
    values = request.headers.getlist("origin")
    if len(values) != 1 or _normal(values[0]) != _normal(own):
        shown = ", ".join(values)[:80] or "none"
        raise ProblemError(
            HTTPStatus.FORBIDDEN,
            f"Origin: saw {shown}, expected {own[:80]}. Send the form from a page of this server",
        )
    site = request.headers.get("sec-fetch-site", "same-origin")
    if site != "same-origin":
        raise ProblemError(
            HTTPStatus.FORBIDDEN,
            f"Sec-Fetch-Site: saw {site[:80]}, expected same-origin. Send the form from a page of "
            "this server",
        )


async def fields_of(request: Request) -> dict[str, str]:
    """Return the fields of a form; the last of those with one name counts.

    Raises:
        ProblemError: 415, 413 or 408, as of a body of the API; 400, it has too many fields.
    """
    check_media(request, (FORM,))
    body = await body_of(request)
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError as error:
        detail = f"The body is no form that this page sends: {error}"
        raise ProblemError(HTTPStatus.BAD_REQUEST, detail) from None
    return dict(pairs)


def _check_csrf(fields: dict[str, str], *expected: str) -> None:
    sent = fields.get(CSRF_FIELD, "").encode()
    if not any(secrets.compare_digest(sent, one.encode()) for one in expected):
        raise ProblemError(
            HTTPStatus.FORBIDDEN,
            "The form is of another session or too old; load the page again and repeat the change",
        )


def _normal(origin: str) -> str:
    """Return an origin in lower case with its port."""
    scheme, _, host = origin.strip().lower().partition("://")
    has_port = host.rpartition(":")[2].isdecimal() and not host.endswith("]")
    return f"{scheme}://{host}" + ("" if has_port else f":{_PORTS.get(scheme, '')}")


def _is_nonce(text: str) -> bool:
    return bool(text) and text.isascii() and len(text) <= _LONGEST_NONCE


def _cookie_name(request: Request, kind: str) -> str:
    port = request.url.port or _PORTS.get(request.url.scheme, 0)
    prefix = "__Host-" if request.url.scheme == "https" else ""
    return f"{prefix}openimds-{kind}-{port}"


def _cookies(request: Request, kind: str) -> list[str]:
    """Return the values of a cookie, that of the nearest path first (RFC 6265, 5.4)."""
    name = _cookie_name(request, kind)
    parts = ";".join(request.headers.getlist("cookie")).split(";")
    pairs = (part.strip().partition("=") for part in parts)
    return [value for key, _, value in pairs if key == name and value][:_MOST_COOKIES]


def _set_cookie(request: Request, response: Response, kind: str, text: str, age_s: float) -> None:
    is_tls = request.url.scheme == "https"
    response.set_cookie(
        _cookie_name(request, kind),
        text,
        max_age=int(age_s),
        path="/" if is_tls else "/ui/",
        secure=is_tls,
        httponly=True,
        samesite="strict",
    )
