import pytest

from openimds.dataplane.recording import redact
from openimds.facts.endpoints import ENDPOINTS
from openimds.protocol.request_log import MOST_BODY_BYTES

TOKEN = b'{"access_token":"eyJ0.e30.c2ln","expires_in":"86399","expires_on":"1795463986"}'


@pytest.mark.parametrize(
    "raw, kept",
    [
        (
            b"/metadata/instance?api-version=2021-02-01&format=text",
            "/metadata/instance?api-version=2021-02-01&format=text",
        ),
        (b"/a?resource=https%3A%2F%2Fvault.azure.net", "/a?resource=https%3A%2F%2Fvault.azure.net"),
        (b"/a?client_secret=hush&x=1", "/a?client_secret=***&x=1"),
        (b"/a?x=1&Access_Token=hush", "/a?x=1&Access_Token=***"),
        (b"/a%3Fs%65cret=hush%26b=%2F", "/a?secret=***&b=/"),
        (b"http://ann:hush@169.254.169.254/a", "http://***@169.254.169.254/a"),
        (b"/a?token_sha256_to_refresh=00ff", "/a?token_sha256_to_refresh=00ff"),
        (b"/\xff", "/\xff"),
        (b"", ""),
    ],
)
def test_target_is_kept_without_its_secrets(raw: bytes, kept: str) -> None:
    assert redact.target(raw) == kept


def test_headers_are_filtered_and_masked() -> None:
    every = (
        ("metadata", "true"),
        ("if-none-match", '"3"'),
        ("x-custom", "anything"),
        ("authorization", "Basic aHVzaA=="),
        ("secret", "hush"),
        ("x-identity-header", "hush"),
        ("cookie", "session=hush"),
        ("referer", "http://shop.example/?sig=hush&a=1"),
        ("user-agent", "a" * 1000),
    )
    assert redact.headers(every) == (
        ("metadata", "true"),
        ("if-none-match", '"3"'),
        ("authorization", "***"),
        ("secret", "***"),
        ("x-identity-header", "***"),
        ("cookie", "***"),
        ("referer", "http://shop.example/?sig=***&a=1"),
        ("user-agent", "a" * redact.MAX_VALUE_CHARACTERS),
    )


def test_header_count_is_bounded() -> None:
    assert len(redact.headers((("via", "1.1 a"),) * 60)) == redact.MAX_HEADERS


def test_bodies_without_secrets_are_kept() -> None:
    kept = {row.key for row in ENDPOINTS if redact.body(row.key, TOKEN, is_refusal=False)}
    assert kept == {
        "arc_info",
        "arc_instance",
        "arc_status",
        "endorsement",
        "identity_info",
        "instance",
        "loadbalancer",
        "platform_metadata",
        "root",
        "scheduledevents",
        "versions",
    }
    assert all(redact.body(row.key, b"no", is_refusal=True) == b"no" for row in ENDPOINTS)
    assert len(redact.body("instance", b"a" * 99_999, is_refusal=False)) == MOST_BODY_BYTES


def test_sent_bodies_are_kept_for_approvals_only() -> None:
    assert redact.sent("scheduledevents", b"{}") == b"{}"
    assert len(redact.sent("scheduledevents", b"a" * 99_999)) == MOST_BODY_BYTES
    assert redact.sent("issue_credential", b'{"csr":"hush"}') == b""


def test_token_expiry_is_kept_without_the_token() -> None:
    assert redact.token_until_s("token", TOKEN) == 1795463986.0
    assert redact.token_until_s("azure_ml", b'{"expires_on":1795463986}') == 1795463986.0
    # App Service of 2017 writes a date.
    assert (
        redact.token_until_s("app_service", b'{"expires_on":"11/22/2026 19:54:46 +00:00"}') == 0.0
    )
    assert redact.token_until_s("instance", TOKEN) == 0.0
