"""A case: one request, the expected reply, and the evidence for it."""

from dataclasses import dataclass, field

from tests.golden.additions import NEWEST
from tests.golden.document import Json

JSON = "application/json; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
SPEC = "imds-wire.md"

INSTANCE = "/metadata/instance"
V2021 = "api-version=2021-02-01"
V_NEWEST = f"api-version={NEWEST}"

# Every well-behaved client sends this beyond Host.
METADATA = {"Metadata": "true"}


@dataclass(frozen=True)
class Reply:
    """The expected reply. None means "not known" for the content type and the body."""

    status: int
    body: str | None = None
    content_type: str | None = JSON
    body_of: str | None = None  # the file that holds the body, instead of `body`
    json_has: dict[str, Json] = field(default_factory=dict)  # members of the body, with values
    has_headers: dict[str, str | None] = field(default_factory=dict)  # None: any value
    lacks_headers: tuple[str, ...] = ()


def text(body: str) -> Reply:
    """A reply to format=text."""
    return Reply(200, body, TEXT)


@dataclass(frozen=True)
class Case:
    """One exchange."""

    name: str
    method: str
    target: str
    headers: dict[str, str]
    reply: Reply
    evidence: str

    def row(self) -> dict[str, object]:
        """The row of cases.json; empty optional members are left out."""
        reply = self.reply
        row: dict[str, object] = {
            "name": self.name,
            "method": self.method,
            "target": self.target,
            "headers": self.headers,
            "status": reply.status,
            "content_type": reply.content_type,
            "body": reply.body,
        }
        optional = {
            "body_of": reply.body_of,
            "json_has": reply.json_has,
            "has_headers": reply.has_headers,
            "lacks_headers": list(reply.lacks_headers),
        }
        row |= {key: value for key, value in optional.items() if value}
        return row | {"evidence": f"{SPEC} {self.evidence}"}


def ask(
    evidence: str,
    reply: Reply,
    targets: dict[str, str],
    *,
    method: str = "GET",
    headers: dict[str, str] | None = None,
) -> list[Case]:
    """Cases that differ in name and target alone."""
    sent = METADATA if headers is None else headers
    return [Case(name, method, target, sent, reply, evidence) for name, target in targets.items()]


def as_rows(cases: list[Case]) -> list[dict[str, object]]:
    """The rows of cases.json; no two share a name."""
    names = [case.name for case in cases]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"two cases of one name: {sorted(twice)}")
    return [case.row() for case in cases]
