"""Responses come whole and in the order of the requests while faults are active."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.talk import a_dispatcher, replies, request
from tests.unit.dataplane.faulty import Line, inject

LEAVES = ("name", "location", "vmSize", "osType")
HEAD = {"Metadata": "true"}
REQUESTS = [
    request(f"/metadata/instance/compute/{leaf}?api-version=2021-02-01&format=text", headers=HEAD)
    for leaf in LEAVES
]
_MATCHERS = st.fixed_dictionaries(
    {"skip": st.integers(0, 3), "every": st.integers(1, 4)},
    optional={"delay_s": st.sampled_from([0, 0.1, 1, 5])},
)
_EFFECTS = st.sampled_from(
    [
        {"effect": "delay", "delay_s": 0.5},
        {"effect": "trickle", "bytes": 7, "pause_s": 0.25},
        {"effect": "trickle", "bytes": 300, "pause_s": 2},
        {"effect": "status", "status": 500},
    ]
)
FAULTS = st.lists(
    st.builds(lambda chosen, effect: {**chosen, **effect}, _MATCHERS, _EFFECTS), max_size=3
)


@settings(deadline=None)
@given(
    FAULTS,
    st.lists(st.lists(st.integers(0, len(LEAVES) - 1), min_size=1, max_size=5), max_size=6),
    st.sampled_from([0.1, 0.7, 50]),
)
def test_responses_keep_the_order_of_the_requests(
    faults: list[dict[str, Any]], chunks: list[list[int]], step_s: float
) -> None:
    clean, faulty = a_dispatcher(), a_dispatcher()
    expected = [reply.body for chunk in chunks for reply in replies(_send(Line(clean), chunk))]
    injector, timers = inject(faulty, *faults)
    line, data = Line(faulty), b""
    for chunk in chunks:
        data += _send(line, chunk)
        while line.state() == "waits":
            timers.pass_s(step_s)
            data += line.send(b"")
    got = replies(data)
    assert len(got) == len(expected)
    for reply, body in zip(got, expected, strict=True):
        assert reply.status == 500 or reply.body == body
    assert [reply.status for reply in got].count(500) == injector.played["status"]
    assert line.state() == "reads"
    assert [timer for timer in timers.scheduled if not timer.is_cancelled] == []


def _send(line: Line, chunk: list[int]) -> bytes:
    return line.send(b"".join(REQUESTS[number] for number in chunk))
