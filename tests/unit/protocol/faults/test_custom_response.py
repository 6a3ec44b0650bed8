"""The response of a server between client and IMDS: contents, replacements, refusals."""

from base64 import b64encode
from typing import Any

import pytest

from openimds.facts.fault_parameters import (
    HIGHEST_STATUS,
    LONGEST_ENCODED,
    LONGEST_HEADER,
    LONGEST_REASON,
    LOWEST_STATUS,
    MOST_BODY_BYTES,
    MOST_HEADERS,
)
from openimds.facts.pages import PAGES
from openimds.protocol.faults.custom_response import (
    NO_BODY,
    SERVERS_OWN,
    body_member,
    response_of,
)
from openimds.protocol.faults.input import read_fault, read_faults
from openimds.protocol.response import Response
from tests.unit.vm.refused import Refused, refused

MOST_BASE64 = b64encode(b"\xff" * MOST_BODY_BYTES).decode()


def given(**members: Any) -> Response:
    (spec,) = read_fault({"effect": "response", **members})
    return response_of(spec.parameters)


def mistake(**members: Any) -> Refused:
    return refused(read_faults, [{"effect": "response", **members}])


@pytest.mark.parametrize("key", PAGES)
def test_named_page_is_a_whole_response(key: str) -> None:
    page = PAGES[key]
    assert given(page=key) == Response(
        page.body.encode(),
        page.media,
        page.status,
        page.headers,
        family="interposed",
        reason=page.reason,
        closes=page.closes,
    )


def test_own_response_has_nothing_that_is_not_given() -> None:
    assert given(status=418) == Response(b"", "", 418, family="interposed")


def test_parameters_replace_parts_of_a_page() -> None:
    response = given(
        page="proxy-502",
        status=503,
        content_type="text/plain",
        body="düster",
        headers=["via: 1.0 other", "Set-Cookie: a=1, b", "Set-Cookie:c=2"],
    )
    assert response == Response(
        "düster".encode(),
        "text/plain",
        503,
        (
            ("Server", "proxy"),
            ("via", "1.0 other"),
            ("Set-Cookie", "a=1, b"),
            ("Set-Cookie", "c=2"),
        ),
        family="interposed",
    )


def test_reason_of_a_page_goes_with_its_status() -> None:
    assert given(page="container-403").reason.startswith("connecting to")
    assert not given(page="container-403", status=502).reason
    assert given(page="container-403", status=502, reason="No").reason == "No"


def test_empty_body_replaces_that_of_a_page() -> None:
    assert given(page="portal-200", body="").body == b""


@pytest.mark.parametrize("content", [b"", b"text \xc3\xa4", b"\xff\x00", bytes(range(256))])
def test_body_of_any_bytes_has_a_member(content: bytes) -> None:
    name, value = body_member(content)
    assert name == ("body_base64" if b"\xff" in content else "body")
    assert given(status=200, **{name: value}).body == content


def test_largest_response_is_taken() -> None:
    assert len(MOST_BASE64) == LONGEST_ENCODED
    assert len(given(status=HIGHEST_STATUS, body_base64=MOST_BASE64).body) == MOST_BODY_BYTES
    line = "X: " + "x" * (LONGEST_HEADER - 3)
    assert len(given(status=200, headers=[line] * MOST_HEADERS).headers) == MOST_HEADERS
    assert given(status=LOWEST_STATUS, reason="x" * LONGEST_REASON).reason


EXAMPLE = "a header such as Via: 1.1 proxy"
OWN = "a header that the server does not write itself"
MISTAKES: list[tuple[dict[str, Any], Refused]] = [
    (
        {"body": "x"},
        Refused("faults[0]", "neither page nor status", "one of the two", "Write page: proxy-502"),
    ),
    (
        {"page": "portal"},
        Refused(
            "faults[0].page",
            'the string "portal"',
            "one of " + ", ".join(PAGES),
            'Did you mean "portal-200"?',
        ),
    ),
    (
        {"status": LOWEST_STATUS - 1},
        Refused("faults[0].status", "the number 199", "a whole number from 200 to 599"),
    ),
    (
        {"status": HIGHEST_STATUS + 1},
        Refused("faults[0].status", "the number 600", "a whole number from 200 to 599"),
    ),
    (
        {"status": 200, "body": "x", "body_base64": "eA=="},
        Refused("faults[0].body_base64", "body beside it", "one of the two"),
    ),
    (
        {"status": 200, "body_base64": "e"},
        Refused("faults[0].body_base64", "no base64", "base64 (RFC 4648)", "body takes text"),
    ),
    (
        {"status": 200, "body_base64": "ä==="},
        Refused("faults[0].body_base64", "no base64", "base64 (RFC 4648)", "body takes text"),
    ),
    (
        {"status": 200, "body": "ä" * (MOST_BODY_BYTES // 2 + 1)},
        Refused("faults[0].body", "a body of 65538 bytes", "at most 65536 bytes"),
    ),
    (
        {"status": 200, "body_base64": b64encode(b"x" * (MOST_BODY_BYTES + 1)).decode()},
        Refused("faults[0].body_base64", "a body of 65537 bytes", "at most 65536 bytes"),
    ),
    (
        {"page": "portal-200", "status": 204},
        Refused(
            "faults[0].status",
            f"204 with a body of {len(PAGES['portal-200'].body)} bytes",
            "a status that has a body",
            'Write body: ""',
        ),
    ),
    (
        {"status": 200, "headers": []},
        Refused("faults[0].headers", "a list of 0", f"a list of 1 to {MOST_HEADERS} strings"),
    ),
    (
        {"status": 200, "headers": ["X: x"] * (MOST_HEADERS + 1)},
        Refused("faults[0].headers", "a list of 33", f"a list of 1 to {MOST_HEADERS} strings"),
    ),
    (
        {"status": 200, "headers": ["X: " + "x" * LONGEST_HEADER]},
        Refused("faults[0].headers[0]", "a header of 1027 characters", "at most 1024"),
    ),
    (
        {"status": 200, "headers": ["X: x", "X: y\r\nSet-Cookie: z"]},
        Refused("faults[0].headers[1]", "the character U+000D", EXAMPLE),
    ),
    (
        {"status": 200, "headers": ["X: x\ny"]},
        Refused("faults[0].headers[0]", "the character U+000A", EXAMPLE),
    ),
    (
        {"status": 200, "headers": ["X: \x00"]},
        Refused("faults[0].headers[0]", "the character U+0000", EXAMPLE),
    ),
    *(
        ({"status": 200, "headers": [line]}, Refused("faults[0].headers[0]", f'"{line}"', EXAMPLE))
        for line in ("", "X", ": x", "X : x", "a b: x", "Ä: x", "HTTP/1.1 200 OK")
    ),
    *(
        (
            {"status": 200, "headers": [f"{name.title()}: x"]},
            Refused("faults[0].headers[0]", f"the header {name.title()}", OWN, hint),
        )
        for name, hint in SERVERS_OWN.items()
    ),
    (
        {"status": 200, "content_type": "text/html\r\nX: y"},
        Refused("faults[0].content_type", "the character U+000D", "one line of text"),
    ),
    (
        {"status": 200, "reason": "OK\nX: y"},
        Refused("faults[0].reason", "the character U+000A", "one line of text"),
    ),
]


@pytest.mark.parametrize("members, expected", MISTAKES, ids=range(len(MISTAKES)))
def test_mistake_is_refused_with_its_path(members: dict[str, Any], expected: Refused) -> None:
    assert mistake(**members) == expected


def test_mistake_in_a_request_names_the_body_or_the_member() -> None:
    assert refused(read_fault, {"effect": "response"}).where == "body"
    assert refused(read_fault, {"effect": "response", "status": 204, "body": "x"}).where == "status"


@pytest.mark.parametrize("status", NO_BODY)
def test_status_without_a_body_is_taken_alone(status: int) -> None:
    assert given(status=int(status)).status == status


def test_path_of_a_file_is_no_member() -> None:
    # The admin API opens no path that a request names.
    assert mistake(status=200, body_file="/etc/hostname").seen == 'unknown key "body_file"'
