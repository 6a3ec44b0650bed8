"""The tables of docs/use/failures.md: each fault's line, and the results of two clients.

`test_fault_table.py` plays each row for both clients; the page has these tables to the letter.
"""

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

AUTHENTICATION, UNAVAILABLE = "ClientAuthenticationError", "CredentialUnavailableError"


class Outcome(Struct, frozen=True):
    """The result of one call: token or error, requests, waits in seconds."""

    error: str = ""
    requests: int = 1
    waits: tuple[float, ...] = ()
    is_expired: bool = False

    @property
    def text(self) -> str:
        """The result in words."""
        result = f"`{self.error}`" if self.error else "a token"
        if self.is_expired:
            result = "an expired token"
        counts = {0: "", 1: ", 1 request"}
        count = counts.get(self.requests, f", {self.requests} requests")
        waits = f", waits {' and '.join(f'{wait:g}' for wait in self.waits)} s"
        return f"{result}{count}{waits if self.waits else ''}"


class Row(Struct, frozen=True):
    """One fault: the client's view in words, the line to type, the results."""

    about: str
    line: str
    azure: Outcome
    msal: Outcome


def _status(line: str, msal: str, wait_s: float = 1.6) -> tuple[Row, ...]:
    """Return the rows of a status, for each kind of Retry-After."""
    outcomes = {
        "first=2": Outcome(requests=3, waits=(wait_s,)),
        "first=1 retry_after=5": Outcome(requests=2, waits=(5,)),
        "first=1 retry_after=date+30": Outcome(requests=2, waits=(30,)),
        "first=1 retry_after=date-60": Outcome(requests=2),
        "first=1 retry_after=soon": Outcome(UNAVAILABLE),
    }
    return tuple(
        Row("", f"{line} {more}", outcome, Outcome(msal)) for more, outcome in outcomes.items()
    )


STATUSES = {
    404: _status("status status=404", "Not Found"),
    410: _status("status status=410", "JSONDecodeError", 5),
    429: _status("status status=429", "invalid_request"),
    500: _status("status status=500", "unknown"),
    502: _status("response page=proxy-502", "JSONDecodeError"),
    503: _status("status status=503", "Service unavailable"),
    504: _status("response page=proxy-504", "JSONDecodeError"),
}

ANSWERS = (
    Row(
        "200 with HTML",
        "response page=portal-200",
        Outcome(UNAVAILABLE),
        Outcome("JSONDecodeError"),
    ),
    Row(
        "200 with nothing",
        "response page=empty-200",
        Outcome(UNAVAILABLE),
        Outcome("JSONDecodeError"),
    ),
    Row(
        "half a body",
        "cut keep_bytes=40",
        Outcome(AUTHENTICATION, 6),
        Outcome("ChunkedEncodingError"),
    ),
    Row(
        "the head, then a reset",
        "cut keep_bytes=0 ends_by=reset",
        Outcome(AUTHENTICATION, 6),
        Outcome("ChunkedEncodingError"),
    ),
    Row(
        "a reset before the head",
        "reset",
        Outcome(UNAVAILABLE, 4, (1.6, 3.2)),
        Outcome("ConnectionError"),
    ),
    Row(
        "bytes that are not HTTP",
        "garbage",
        Outcome(UNAVAILABLE, 4, (1.6, 3.2)),
        Outcome("ConnectionError"),
    ),
    Row(
        "a stall of a second, then the end",
        "hang hang_s=1",
        Outcome(UNAVAILABLE, 4, (1.6, 3.2)),
        Outcome("ConnectionError"),
    ),
    Row(
        "a token that is expired by its fields",
        "edited-token expires_s=-60",
        Outcome(is_expired=True),
        Outcome(),
    ),
    Row(
        "a token that is expired by its claims",
        "forged-token forgery=expired",
        Outcome(),
        Outcome(),
    ),
    Row("no `expires_in`", "edited-token drop=expires_in", Outcome(UNAVAILABLE), Outcome()),
    Row(
        "a word for `expires_in`",
        "edited-token set=expires_in=soon",
        Outcome(UNAVAILABLE),
        Outcome("ValueError"),
    ),
    Row(
        "connections are refused",
        "refused",
        Outcome(UNAVAILABLE, 0, (1.6, 3.2)),
        Outcome("ConnectionError", 0),
    ),
)
BLACKHOLE = Row(
    "connections are swallowed",
    "blackhole",
    Outcome(UNAVAILABLE, 0, (1.6, 3.2)),
    Outcome("ConnectTimeout", 0),
)
ARC = Row(
    "Arc's 401 without its challenge",
    "missing-challenge",
    Outcome(AUTHENTICATION),
    Outcome("ManagedIdentityError"),
)


def tables() -> list[str]:
    """Return the tables of the page, in Markdown."""
    statuses = _table(
        ("fault", "`first=2`", "`retry_after=5`", "`date+30`", "`date-60`", "`soon`", "msal"),
        (
            (
                f"`{rows[0].line.removesuffix(' first=2')}`",
                *(row.azure.text for row in rows),
                rows[0].msal.text,
            )
            for rows in STATUSES.values()
        ),
    )
    others = _table(
        ("the client meets", "`openimds fault set`", "azure-identity", "msal"),
        (
            (row.about, f"`{row.line}`", row.azure.text, row.msal.text)
            for row in (*ANSWERS, BLACKHOLE, ARC)
        ),
    )
    return [statuses, others]


def outcome_of(result: dict[str, Any]) -> Outcome:
    """Return the outcome of a result of `programs/playbook.py`.

    A wait for a date in 30 seconds is a little shorter, by the time since the response.
    """
    waits = tuple(30 if 5 < wait < 30 else wait for wait in result["waits"])
    is_expired = result.get("expired", False)
    return Outcome(result.get("error", ""), result["requests"], waits, is_expired)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = (head, ("---",) * len(head), *rows)
    return (
        "".join(f"| {' | '.join(line)} |\n" for line in lines)
        .replace("| --- ", "|---")
        .replace("|--- |", "|---|")
    )
