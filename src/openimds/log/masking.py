"""Values without secrets, and without characters that could forge or style a line."""

import re

from openimds.facts.redaction import MASKED, SECRET_HEADERS, SECRET_MEMBERS, SECRET_PARAMETERS
from openimds.log.event import Value

MOST_VALUE_CHARACTERS = 512
"""Longer values of fields are cut."""
MOST_SENTENCE_CHARACTERS = 1536
"""Longer sentences are cut."""
CUT = "…"

_CODE = "code"
"""A parameter whose name is a word of prose, too."""
_PARAMETERS = "|".join(
    map(re.escape, [*(name for name in SECRET_PARAMETERS if name != _CODE), "sslpassword"])
)
_HEADERS = "|".join(map(re.escape, sorted(SECRET_HEADERS)))
_HELPFUL = {"identities", "reach"}
"""Groups whose mistakes the operator has to see: addresses and resource ids, but no claims."""
_MEMBERS = "|".join(
    [*(path.rpartition(".")[2] for path in SECRET_MEMBERS if path not in _HELPFUL), "claims"]
)
_MARKED = "access_token|client_assertion|client_secret|refresh_token|customData|userData"
"""Names that are no words of prose: the word behind their colon is a value."""
# A guest chooses much of a text, and the search keeps all threads waiting: each pattern takes a
# time that grows with the length of the text, and not with its square.
_SECRETS = (
    # A bearer token, wherever it stands; shorter words are prose.
    (re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{16,}", re.IGNORECASE), rf"\1 {MASKED}"),
    # A signed token (JWT): parts of base64url, also one whose end is cut off.
    (re.compile(r"\beyJ[A-Za-z0-9_-]{5,}(?:\.{1,2}[A-Za-z0-9_-]+){0,4}"), MASKED),
    # The join token of a host: its name is no secret.
    (re.compile(r"\b(openimds-join-\d+\.[A-Za-z0-9_-]+)\.[A-Za-z0-9._-]+"), rf"\1.{MASKED}"),
    # A private key, also one whose end is cut off.
    (
        re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*-----|\Z)", re.DOTALL),
        MASKED,
    ),
    # The user of a URL; its password may have an @, which should be escaped.
    (re.compile(r"://[^\s/?#\"']+@"), rf"://{MASKED}@"),
    # A header, to the end of its line.
    (re.compile(rf"(?<![\w/.-])((?:{_HEADERS}): *)[^\r\n]+", re.IGNORECASE), rf"\1{MASKED}"),
    # A misfit of a secret member: where: saw X, expected Y.
    (
        re.compile(
            rf"(\b(?:{_MEMBERS})\b[^\s:]{{0,256}}: saw )(?:.*(?=, expected )|.*)", re.DOTALL
        ),
        rf"\1{MASKED}",
    ),
    # A quoted value of JSON, YAML, TOML, Python or libpq, also one whose end is cut off.
    (
        re.compile(
            rf"((?<![A-Za-z0-9])(?:{_PARAMETERS}|{_CODE}|{_HEADERS}|{_MEMBERS})"
            r"\\{0,4}[\"']?\s{0,64}[:=]\s{0,64})"
            r"(?:\\{1,4}[\"'][^\"'\\]*|b?\"(?:[^\"\\]|\\.?)*\"?|b?'(?:[^'\\]|\\.?)*'?)",
            re.IGNORECASE | re.DOTALL,
        ),
        rf"\1{MASKED}",
    ),
    # A bare value: a parameter of a query or a form, or a header written like one.
    (
        re.compile(
            rf"((?:(?<![A-Za-z0-9])(?:{_PARAMETERS}|{_HEADERS}|{_MEMBERS})"
            rf"|(?:^|[?&;,\s\"'({{]){_CODE})\s{{0,64}}=\s{{0,64}})"
            r"(?:(?:bearer|basic)\s{1,64})?[^&#\s\"']+",
            re.IGNORECASE,
        ),
        rf"\1{MASKED}",
    ),
    # A bare value of YAML.
    (
        re.compile(
            rf"((?<![A-Za-z0-9])(?:{_MARKED}|(?<![\w/.-])(?:ssl)?password)[\"']?:\s{{1,64}})"
            r"(?!saw )[^\s,;&\"'})]+",
            re.IGNORECASE,
        ),
        rf"\1{MASKED}",
    ),
)
_UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff"
    r"\ufff9-\ufffb]"
)
_SECRET_FIELDS = frozenset(
    {
        *(name.replace("-", "").lower() for name in SECRET_HEADERS),
        *(name.replace("_", "").lower() for name in SECRET_PARAMETERS),
        *(path.rpartition(".")[2].lower() for path in SECRET_MEMBERS),
    }
)


def is_secret_name(name: str) -> bool:
    """Tell whether a field, header, parameter or member of this name has a secret."""
    return name.replace("-", "").replace("_", "").lower() in _SECRET_FIELDS


def printable(text: str, most: int = MOST_VALUE_CHARACTERS) -> str:
    """Return a text without secrets or control characters, cut to a length."""
    # Cut before the search, but not inside of a secret: its whole end is gone with the cut.
    text = text[: 4 * most]
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    text = _UNPRINTABLE.sub(_escaped, text)
    return text if len(text) <= most else text[: most - 1] + CUT


def shown(name: str, value: Value) -> Value:
    """Return the value of a field as it may be shown."""
    if is_secret_name(name):
        return MASKED
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, tuple):
        return tuple(map(printable, value))
    return value


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
