"""The response of a server between client and IMDS: named, or your own."""

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from http import HTTPStatus

from openimds.errors import ConfigError
from openimds.facts.evidence import chosen
from openimds.facts.fault_parameters import LONGEST_HEADER, LONGEST_REASON, MOST_BODY_BYTES
from openimds.facts.headers import INTERPOSED
from openimds.facts.pages import PAGES, NamedPage
from openimds.parameters import path_of
from openimds.protocol.faults.fault import Value
from openimds.protocol.response import Response

BODY, BODY_BASE64 = "body", "body_base64"
NO_BODY = (HTTPStatus.NO_CONTENT, HTTPStatus.RESET_CONTENT, HTTPStatus.NOT_MODIFIED)
"""The statuses whose responses end with their head."""
SERVERS_OWN = {
    "connection": "",
    "content-length": 'The fault "wrong-length" makes it wrong',
    "content-type": "Write it as content_type",
    "date": "",
    "keep-alive": "",
    "te": "",
    "trailer": "",
    "transfer-encoding": "",
    "upgrade": "",
}
"""The headers that the server writes itself, in lower case, with a remedy where there is one."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NO_PAGE = NamedPage("", "", chosen("no page"), HTTPStatus.OK, "", media="")
_EXAMPLE = "a header such as Via: 1.1 proxy"


def check_response(parameters: Mapping[str, Value], where: str) -> None:
    """Check the parameters of a response, each of which fits its row, for their contents.

    Raises:
        ConfigError: nothing is given, a text has control characters, a header is malformed or
            the server's own, or the body is no base64, too large, or of a status without one.
    """
    if "page" not in parameters and "status" not in parameters:
        seen = "neither page nor status"
        raise ConfigError(where or "body", seen, "one of the two", "Write page: proxy-502")
    if BODY in parameters and BODY_BASE64 in parameters:
        raise ConfigError(path_of(where, BODY_BASE64), "body beside it", "one of the two")
    for name in ("reason", "content_type"):
        if name in parameters:
            _check_line(str(parameters[name]), path_of(where, name), "one line of text")
    lines = parameters.get("headers", ())
    assert isinstance(lines, tuple)
    for place, line in enumerate(lines):
        _check_header(line, f"{path_of(where, 'headers')}[{place}]")
    _check_body(parameters, where)


def response_of(parameters: Mapping[str, Value]) -> Response:
    """Return the response of parameters that `check_response` accepts."""
    page = PAGES[str(parameters["page"])] if "page" in parameters else _NO_PAGE
    lines = parameters.get("headers", ())
    assert isinstance(lines, tuple)
    given = tuple(_split(line) for line in lines)
    names = {name.lower() for name, _ in given}
    status = parameters.get("status", page.status)
    assert isinstance(status, int)
    # The words of a page belong to its status.
    reason = page.reason if status == page.status else ""
    return Response(
        _body_of(parameters, page),
        str(parameters.get("content_type", page.media)),
        status,
        (*(header for header in page.headers if header[0].lower() not in names), *given),
        family=INTERPOSED,
        reason=str(parameters.get("reason", reason)),
        closes=page.closes,
    )


def body_member(content: bytes) -> tuple[str, str]:
    """Return the parameter that holds a body, and its value.

    The value is text if the body is UTF-8, else base64.
    """
    try:
        return BODY, content.decode()
    except UnicodeDecodeError:
        return BODY_BASE64, b64encode(content).decode()


def _body_of(parameters: Mapping[str, Value], page: NamedPage) -> bytes:
    if BODY_BASE64 in parameters:
        return b64decode(str(parameters[BODY_BASE64]), validate=True)
    return str(parameters.get(BODY, page.body)).encode()


def _check_body(parameters: Mapping[str, Value], where: str) -> None:
    member = BODY_BASE64 if BODY_BASE64 in parameters else BODY
    try:
        response = response_of(parameters)
    except ValueError:
        hint = f"{BODY} takes text"
        raise ConfigError(path_of(where, member), "no base64", "base64 (RFC 4648)", hint) from None
    size = len(response.body)
    if size > MOST_BODY_BYTES:
        seen, expected = f"a body of {size} bytes", f"at most {MOST_BODY_BYTES} bytes"
        raise ConfigError(path_of(where, member), seen, expected)
    if size and response.status in NO_BODY:
        seen = f"{response.status} with a body of {size} bytes"
        hint = 'Write body: ""'
        raise ConfigError(path_of(where, "status"), seen, "a status that has a body", hint)


def _check_header(line: str, where: str) -> None:
    if len(line) > LONGEST_HEADER:
        seen, expected = f"a header of {len(line)} characters", f"at most {LONGEST_HEADER}"
        raise ConfigError(where, seen, expected)
    _check_line(line, where, _EXAMPLE)
    name, colon, _ = line.partition(":")
    if not colon or not _TOKEN.fullmatch(name):
        raise ConfigError(where, f'"{line[:LONGEST_REASON]}"', _EXAMPLE)
    if name.lower() in SERVERS_OWN:
        seen, hint = f"the header {name}", SERVERS_OWN[name.lower()]
        raise ConfigError(where, seen, "a header that the server does not write itself", hint)


def _check_line(text: str, where: str, expected: str) -> None:
    """Check that a text cannot end its line in the head of a response.

    Raises:
        ConfigError: the text has a control character.
    """
    for letter in text:
        if not letter.isprintable() and letter != "\t":
            raise ConfigError(where, f"the character U+{ord(letter):04X}", expected)


def _split(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name, value.strip()
