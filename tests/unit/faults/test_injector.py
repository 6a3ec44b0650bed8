"""What is counted of each fault, which one is played, and when nobody is to be heard."""

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from openimds.faults import ActiveFault, FaultInjector
from openimds.protocol.faults.input import read
from openimds.protocol.request import query

BEGUN_S = 1_795_377_286.0
INSTANCE = query("GET", b"/metadata/instance?api-version=2021-02-01")
TOKEN = query("GET", b"/metadata/identity/oauth2/token?api-version=2018-02-01")
GONE = {"effect": "status", "status": 410}


def engine(*faults: dict[str, object]) -> FaultInjector:
    made = FaultInjector()
    plans = [plan for fault in faults for plan in read(fault)]
    made.running = tuple(
        ActiveFault(str(n), plan, "api", BEGUN_S, {}) for n, plan in enumerate(plans, 1)
    )
    return made


def drawn(made: FaultInjector, number: int, vm: str = "a") -> list[str]:
    """Ask so often, and return the effects that were played."""
    found = [made.fault(vm, INSTANCE, BEGUN_S) for _ in range(number)]
    return [one.plan.effect if one else "" for one in found]


def test_a_fault_knows_which_request_it_is_played_on() -> None:
    made = engine({**GONE, "skip": 1})
    found = [made.fault("a", INSTANCE, BEGUN_S) for _ in range(3)]
    assert [one and (one.vm, one.number) for one in found] == [None, ("a", 2), ("a", 3)]
    assert (made.running[0].seen, made.running[0].played) == (3, 2)


def test_vms_are_counted_apart() -> None:
    made = engine({**GONE, "nth": 2})
    assert [drawn(made, 1, vm) for vm in ("a", "b", "a", "b")] == [
        [""],
        [""],
        ["status"],
        ["status"],
    ]


def test_what_does_not_fit_is_not_counted() -> None:
    made = engine({**GONE, "endpoint": "token", "nth": 1})
    assert drawn(made, 2) == ["", ""]
    assert made.fault("a", TOKEN, BEGUN_S) is not None


def test_outside_its_window_a_fault_does_not_count() -> None:
    made = engine({**GONE, "from_s": 10, "until_s": 20, "first": 1})
    times = [0, 9.9, 20, 10, 15]
    assert [bool(made.fault("a", INSTANCE, BEGUN_S + one)) for one in times] == [
        *(False, False, False),
        True,
        False,
    ]
    assert made.running[0].seen == 2


def test_of_several_the_first_is_played_and_each_one_counts_for_itself() -> None:
    made = engine(
        {"effect": "reset", "nth": 2},
        {"effect": "hang", "first": 3},
        {"effect": "garbage", "every": 2},
    )
    assert drawn(made, 5) == ["hang", "reset", "hang", "garbage", ""]
    assert made.played == {"hang": 2, "reset": 1, "garbage": 1}
    assert [one.seen for one in made.running] == [5, 5, 5]


@given(st.text(max_size=8), st.lists(st.sampled_from(["a", "b", "c"]), max_size=60))
def test_the_same_seed_spoils_the_same_requests_whatever_else_is_set(
    seed: str, callers: list[str]
) -> None:
    plan = {"effect": "reset", "probability": 0.5, "seed": seed}
    alone, beside = engine(plan), engine({"effect": "hang", "probability": 0.5, "seed": "x"}, plan)

    def played(made: FaultInjector) -> list[bool]:
        found = [made.fault(vm, INSTANCE, BEGUN_S) for vm in callers]
        return [one is not None and one.plan.effect == "reset" for one in found]

    first = played(alone)
    assert played(engine(plan)) == first
    # Another one before it may hide it, and never moves it.
    assert all(was or not now for was, now in zip(first, played(beside), strict=True))


def test_connections_are_refused_to_those_who_are_named_while_it_lasts() -> None:
    made = engine({"effect": "refused", "vms": ["a"], "until_s": 5})
    assert made.refuses("a", BEGUN_S)
    assert not made.refuses("b", BEGUN_S)
    assert not made.refuses("a", BEGUN_S + 5)
    assert made.played == {"refused": 1}
    assert drawn(made, 1) == ["refused"]
    assert not made.is_shut(BEGUN_S)


def test_nothing_else_refuses_connections() -> None:
    made = engine(GONE)
    assert not made.refuses("a", BEGUN_S)
    assert not made.is_shut(BEGUN_S)
    assert made.next_s(BEGUN_S) == inf


def test_doors_are_shut_when_everybody_is_refused() -> None:
    made = engine(
        {"effect": "refused", "from_s": 5, "until_s": 8}, {"effect": "refused", "from_s": 90}
    )
    assert [made.is_shut(BEGUN_S + one) for one in (0, 5, 7.9, 8, 89, 90)] == [
        *(False, True, True),
        *(False, False, True),
    ]
    edges = [made.next_s(BEGUN_S + one) - BEGUN_S for one in (-1, 0, 5, 8, 90)]
    assert edges == [5, 5, 8, 90, inf]
