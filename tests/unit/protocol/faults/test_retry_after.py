"""Retry-After on the responses of faults: seconds, dates and any other text."""

from typing import Any

import pytest

from openimds.facts.fault_parameters import LONGEST_RETRY
from openimds.facts.faults import EFFECTS
from openimds.facts.versions import NEWEST, catalog
from openimds.protocol.faults.fault import Fault
from openimds.protocol.faults.input import effect_rows, read_fault, read_faults
from openimds.protocol.faults.substitute import substitute
from openimds.protocol.handle import Subject
from openimds.protocol.request import parse_query
from openimds.protocol.response import Refusal, Response
from openimds.vm.fleet_file import parse_vm
from tests.unit.vm.refused import Refused, refused

STATUS: dict[str, Any] = {"effect": "status", "status": 429}
NOW_S = 1_795_377_286.9
"""2026-11-22T19:54:46.9Z."""


def header(**members: Any) -> list[str]:
    """Return the values of Retry-After in the response of a fault."""
    (spec,) = read_fault(members)
    subject = Subject(parse_vm("web", {}), catalog(NEWEST))
    query = parse_query("GET", b"/metadata/versions", has_metadata_header=True)
    reply = substitute(Fault(spec, "web", 1), query, subject, NOW_S)
    assert isinstance(reply, Response | Refusal)
    return [value for name, value in reply.headers if name.lower() == "retry-after"]


@pytest.mark.parametrize(
    "given, value",
    [
        (5, "5"),
        (0, "0"),
        (-3, "-3"),
        ("5", "5"),
        ("date", "Sun, 22 Nov 2026 19:54:46 GMT"),
        ("date+30", "Sun, 22 Nov 2026 19:55:16 GMT"),
        ("date-60", "Sun, 22 Nov 2026 19:53:46 GMT"),
        ("soon", "soon"),
        ("date+", "date+"),
        ("", ""),
        ("Sun, 22 Nov 2026 19:54:46 GMT", "Sun, 22 Nov 2026 19:54:46 GMT"),
    ],
)
def test_value_is_seconds_a_date_or_any_text(given: object, value: str) -> None:
    assert header(**STATUS, retry_after=given) == [value]


def test_every_refusal_may_have_it_and_has_none_by_default() -> None:
    effects = [key for key in EFFECTS if "retry_after" in {row.name for row in effect_rows(key)}]
    assert effects == ["status", "proxy-500", "response"]
    assert header(**STATUS) == []
    assert header(effect="proxy-500", retry_after=1) == ["1"]
    assert header(effect="response", page="proxy-504", retry_after=1) == ["1"]
    own = {"effect": "response", "status": 503, "headers": ["Retry-after: 7"]}
    assert header(**own) == ["7"]


@pytest.mark.parametrize("farthest", ["date+999999999", "date-999999999"])
def test_farthest_date_is_written(farthest: str) -> None:
    (value,) = header(**STATUS, retry_after=farthest)
    assert value.endswith(" GMT")


@pytest.mark.parametrize(
    "members, expected",
    [
        (
            {**STATUS, "retry_after": 1.5},
            Refused(
                "faults[0].retry_after",
                "the number 1.5",
                f"a whole number, or a string of at most {LONGEST_RETRY} characters",
            ),
        ),
        (
            {**STATUS, "retry_after": "1\r\nX: y"},
            Refused(
                "faults[0].retry_after", r"'1\r\nX: y'", "seconds, date+SECONDS or printable ASCII"
            ),
        ),
        (
            {**STATUS, "retry_after": "1" * (LONGEST_RETRY + 1)},
            Refused(
                "faults[0].retry_after",
                f'the string "{"1" * 60}…"',
                f"a whole number, or a string of at most {LONGEST_RETRY} characters",
            ),
        ),
        (
            {
                "effect": "response",
                "status": 503,
                "headers": ["retry-after: 1"],
                "retry_after": 1,
            },
            Refused("faults[0].retry_after", "a header Retry-After beside it", "one of the two"),
        ),
    ],
)
def test_mistake_is_refused(members: object, expected: Refused) -> None:
    assert refused(read_faults, [members]) == expected
