"""The text of a join token, whole and damaged."""

from base64 import urlsafe_b64encode
from hashlib import sha256

import pytest

from openimds.credentials.hosts.join_token import (
    MAX_TOKEN_CHARACTERS,
    SECRET_BYTES,
    JoinToken,
    new_secret,
    read_join_token,
)
from openimds.errors import ConfigError

TOKEN = JoinToken("rack.1-a_b", bytes(range(SECRET_BYTES)), "ab" * 32)


def checked(body: str) -> str:
    return f"{body}.{sha256(body.encode()).hexdigest()[:8]}"


def test_token_is_one_line_and_read_again() -> None:
    text = TOKEN.text()
    assert text.startswith("openimds-join-1.rack.1-a_b.")
    assert not set(text) & set(" \n")
    assert read_join_token(f"  {text}\n") == TOKEN


def test_secrets_differ() -> None:
    assert len(new_secret()) == SECRET_BYTES
    assert new_secret() != new_secret()


def test_longest_name_fits() -> None:
    token = JoinToken("a" * 128, TOKEN.secret, TOKEN.fingerprint)
    assert read_join_token(token.text()) == token


@pytest.mark.parametrize("kept", [16, 17, 60, 100, -9, -1])
def test_cut_token_is_refused_as_such(kept: int) -> None:
    with pytest.raises(ConfigError, match="saw a join token that was cut or changed") as caught:
        read_join_token(TOKEN.text()[:kept], "--join-token-file /x")
    assert caught.value.where == "--join-token-file /x"


def test_changed_letter_is_noticed() -> None:
    with pytest.raises(ConfigError, match="cut or changed"):
        read_join_token(TOKEN.text().replace("rack", "back"))


def test_endless_line_is_refused() -> None:
    body = f"openimds-join-1.{'a' * MAX_TOKEN_CHARACTERS}.b.c"
    with pytest.raises(ConfigError, match="cut or changed"):
        read_join_token(checked(body))


def test_another_text_is_no_join_token() -> None:
    with pytest.raises(ConfigError, match="saw text that is no join token") as caught:
        read_join_token("secret-of-something-else")
    assert "secret-of" not in str(caught.value)


@pytest.mark.parametrize(
    "parts",
    [
        ("..", TOKEN.secret, "ab" * 32),
        ("a", b"short", "ab" * 32),
        ("a", TOKEN.secret, "AB" * 32),
    ],
)
def test_token_of_another_form_is_refused(parts: tuple[str, bytes, str]) -> None:
    name, secret, fingerprint = parts
    letters = urlsafe_b64encode(secret).rstrip(b"=").decode()
    with pytest.raises(ConfigError, match="saw a join token of another form"):
        read_join_token(checked(f"openimds-join-1.{name}.{letters}.{fingerprint}"))


def test_secret_that_is_no_base64_is_refused() -> None:
    with pytest.raises(ConfigError, match="saw a join token of another form"):
        read_join_token(checked(f"openimds-join-1.a.b.{'ab' * 32}"))
