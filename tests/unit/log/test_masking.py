"""No secret and no control character gets into a line."""

import time

import pytest

from openimds.facts.redaction import SECRET_HEADERS, SECRET_MEMBERS, SECRET_PARAMETERS
from openimds.log.masking import _SECRETS, CUT, is_secret_name, printable, shown

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2VjcmV0LXNpZ25hdHVyZQ"
JOIN = "openimds-join-1.host-1.c2VjcmV0c2VjcmV0.0123456789abcdef.12345678"


@pytest.mark.parametrize(
    "text, printed",
    [
        (f"Authorization: Bearer {JWT}", "Authorization: ***"),
        ("got bearer abcdefghijklmnopqrstuvwxyz012345", "got bearer ***"),
        (f"the token {JWT} ended", "the token *** ended"),
        (f"not a token: {JOIN}", "not a token: openimds-join-1.host-1.***"),
        ("postgresql://me:pass@db/x: refused", "postgresql://***@db/x: refused"),
        ("GET /a?sig=abc&b=1", "GET /a?sig=***&b=1"),
        ("client_secret=abc;", "client_secret=***"),
        ("Secret: abc", "Secret: ***"),
        (
            'vms.a.compute.userData: saw "s, expected t", expected a string',
            "vms.a.compute.userData: saw ***, expected a string",
        ),
        (
            'vms.a.identities.details.x.claims.sub: saw "s", expected y',
            "vms.a.identities.details.x.claims.sub: saw ***, expected y",
        ),
        ('{"customData": "abc"}', '{"customData": ***}'),
        ("-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY----- x", "*** x"),
        ("-----BEGIN EC PRIVATE KEY-----\nabc", "***"),
        ("host=h password='a b' user=u", "host=h password=*** user=u"),
        ('{"access_token":"a\\"x", "b": 1}', '{"access_token":***, "b": 1}'),
        ("{'password': 'x', 'b': b'y'}", "{'password': ***, 'b': b'y'}"),
        ('"{\\"access_token\\":\\"xyz\\"}"', '"{\\"access_token\\":***\\"}"'),
        ("client_secret: x", "client_secret: ***"),
        ("authorization=Bearer x", "authorization=***"),
        ("{'authorization': 'Bearer x'}", "{'authorization': ***}"),
        ("sslpassword=x", "sslpassword=***"),
        ("db_password=x", "db_password=***"),
        ("userData: x", "userData: ***"),
        ("postgres://u:p@ss@h/d", "postgres://***@h/d"),
        (f"{'a-' * 40}http://u:p@h", f"{'a-' * 40}http://***@h"),
        ("vms.a.compute.userData: saw 's and its end is c", "vms.a.compute.userData: saw ***"),
    ],
)
def test_secret_in_a_text_is_masked(text: str, printed: str) -> None:
    assert printable(text) == printed


@pytest.mark.parametrize(
    "text",
    [
        "Send the header Authorization, as Bearer TOKEN",
        "/var/lib/x/caller-secret: permission denied",
        'vms.a.reach.address[0]: saw "10.0.0.300", expected an address',
        "tokens are signed by a new key",
        "the exit code: 3, status_code=404",
        "FATAL: password authentication failed",
    ],
)
def test_text_without_a_secret_stays(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    "part",
    [
        "a-",
        "eyJaaaaa-",
        "claims-",
        "claims: saw ",
        "userData: ",
        "password='\\",
        "://a@",
        "Bearer ",
        "openimds-join-1.a-",
        "-----BEGIN PRIVATE KEY",
        'token\\"= ',
        "a.",
        "secret: ",
        "code= ",
    ],
)
def test_time_of_a_search_grows_with_the_length_alone(part: str) -> None:
    text = part * (200_000 // len(part))
    begun_s = time.thread_time()
    for pattern, instead in _SECRETS:
        pattern.sub(instead, text)
    # Linear patterns need less than a tenth of a second, one quadratic pattern minutes.
    assert time.thread_time() - begun_s < 10


@pytest.mark.parametrize(
    "char", ["\n", "\r", "\0", "\x1b", "\x7f", "\x85", "\u2028", "\u202e", "\ud800", "\u200b"]
)
def test_control_character_is_escaped(char: str) -> None:
    assert printable(f"a{char}b") == f"a\\u{ord(char):04x}b"


def test_long_text_is_cut() -> None:
    assert printable("x" * 100, 10) == "x" * 9 + CUT
    assert len(printable("y" * 10**6)) == 512


def test_fields_with_the_name_of_a_secret_are_masked() -> None:
    names = [*SECRET_HEADERS, *SECRET_PARAMETERS, *(path.split(".")[-1] for path in SECRET_MEMBERS)]
    for name in names:
        assert is_secret_name(name), name
        assert shown(name, "abc") == "***"
    assert shown("vm", "web") == "web"
    assert shown("names", ("a\n", "b")) == ("a\\u000a", "b")
    assert shown("count", 3) == 3
