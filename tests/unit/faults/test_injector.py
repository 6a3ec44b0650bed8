"""The counts of each fault, the fault that is played, refused connections."""

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from openimds.faults import ActiveFault, FaultInjector
from openimds.protocol.faults.input import read_fault
from openimds.protocol.faults.public_request import public_request
from openimds.protocol.request import parse_query

BEGUN_S = 1_795_377_286.0
INSTANCE = parse_query("GET", b"/metadata/instance?api-version=2021-02-01")
TOKEN = parse_query("GET", b"/metadata/identity/oauth2/token?api-version=2018-02-01")
GONE = {"effect": "status", "status": 410}


def injector(*values: dict[str, object]) -> FaultInjector:
    faults = FaultInjector()
    specs = [spec for value in values for spec in read_fault(value)]
    faults.running = tuple(
        ActiveFault(str(n), spec, "api", BEGUN_S, {}) for n, spec in enumerate(specs, 1)
    )
    return faults


def effects_played(faults: FaultInjector, number: int, vm: str = "a") -> list[str]:
    """Send so many requests of a VM, and return the effects that were played."""
    hits = [faults.fault(vm, INSTANCE, BEGUN_S) for _ in range(number)]
    return [hit.spec.effect if hit else "" for hit in hits]


def test_fault_has_the_vm_and_number_of_its_request() -> None:
    faults = injector({**GONE, "skip": 1})
    hits = [faults.fault("a", INSTANCE, BEGUN_S) for _ in range(3)]
    assert [hit and (hit.vm, hit.number) for hit in hits] == [None, ("a", 2), ("a", 3)]
    assert (faults.running[0].seen, faults.running[0].played) == (3, 2)


def test_vms_are_counted_apart() -> None:
    faults = injector({**GONE, "nth": 2})
    assert [effects_played(faults, 1, vm) for vm in ("a", "b", "a", "b")] == [
        [""],
        [""],
        ["status"],
        ["status"],
    ]


def test_request_that_does_not_match_is_not_counted() -> None:
    faults = injector({**GONE, "endpoint": "token", "nth": 1})
    assert effects_played(faults, 2) == ["", ""]
    assert faults.fault("a", TOKEN, BEGUN_S) is not None


def test_fault_counts_only_inside_its_window() -> None:
    faults = injector({**GONE, "from_s": 10, "until_s": 20, "first": 1})
    times = [0, 9.9, 20, 10, 15]
    assert [bool(faults.fault("a", INSTANCE, BEGUN_S + at_s)) for at_s in times] == [
        *(False, False, False),
        True,
        False,
    ]
    assert faults.running[0].seen == 2


def test_first_of_several_hits_is_played_and_each_counts() -> None:
    faults = injector(
        {"effect": "reset", "nth": 2},
        {"effect": "hang", "first": 3},
        {"effect": "garbage", "every": 2},
    )
    assert effects_played(faults, 5) == ["hang", "reset", "hang", "garbage", ""]
    assert faults.played == {"hang": 2, "reset": 1, "garbage": 1}
    assert [active.seen for active in faults.running] == [5, 5, 5]


LISTS = {"effect": "revocation-list"}


def lists_hit(faults: FaultInjector, number: int) -> list[bool]:
    """Send so many requests for a list, and tell which of them a fault hit."""
    asked = public_request("GET", "/pkiops/crl/a.crl", "h")
    assert asked
    return [faults.public_fault(asked, BEGUN_S) is not None for _ in range(number)]


def test_verifiers_are_counted_together_and_apart_from_guests() -> None:
    faults = injector({**LISTS, "skip": 1, "first": 2}, {"effect": "reset", "nth": 1})
    assert effects_played(faults, 2) == ["reset", ""]
    assert lists_hit(faults, 4) == [False, True, True, False]
    assert faults.played == {"reset": 1, "revocation-list": 2}
    assert [active.seen for active in faults.running] == [4, 2]


def test_fault_of_another_document_does_not_count() -> None:
    faults = injector({"effect": "ocsp-response"}, {**LISTS, "address": "second"})
    assert lists_hit(faults, 1) == [False]
    assert [active.seen for active in faults.running] == [0, 0]


def test_window_and_order_hold_for_verifiers() -> None:
    faults = injector({**LISTS, "until_s": 0.001, "from_s": 0}, {**LISTS, "answer": "stale"})
    asked = public_request("GET", "/pkiops/crl/a.crl", "h")
    assert asked
    hits = [faults.public_fault(asked, BEGUN_S + at_s) for at_s in (0, 1)]
    assert [hit and hit.text("answer") for hit in hits] == ["missing", "stale"]


@given(st.text(max_size=8), st.lists(st.sampled_from(["a", "b", "c"]), max_size=60))
def test_seed_decides_the_hits_beside_other_faults(seed: str, callers: list[str]) -> None:
    fault = {"effect": "reset", "probability": 0.5, "seed": seed}
    alone = injector(fault)
    beside = injector({"effect": "hang", "probability": 0.5, "seed": "x"}, fault)

    def played(faults: FaultInjector) -> list[bool]:
        hits = [faults.fault(vm, INSTANCE, BEGUN_S) for vm in callers]
        return [hit is not None and hit.spec.effect == "reset" for hit in hits]

    first = played(alone)
    assert played(injector(fault)) == first
    # A fault before it may hide a hit, and never moves one.
    assert all(was or not now for was, now in zip(first, played(beside), strict=True))


def test_named_vms_are_refused_inside_the_window() -> None:
    faults = injector({"effect": "refused", "vms": ["a"], "until_s": 5})
    assert faults.refuses("a", BEGUN_S)
    assert not faults.refuses("b", BEGUN_S)
    assert not faults.refuses("a", BEGUN_S + 5)
    assert faults.played == {"refused": 1}
    assert effects_played(faults, 1) == ["refused"]
    assert not faults.is_shut(BEGUN_S)


def test_other_effects_refuse_no_connection() -> None:
    faults = injector(GONE)
    assert not faults.refuses("a", BEGUN_S)
    assert not faults.is_shut(BEGUN_S)
    assert faults.next_s(BEGUN_S) == inf


def test_unanswered_vms_are_those_of_active_faults() -> None:
    hole: dict[str, object] = {"effect": "blackhole"}
    faults = injector(
        {**hole, "vms": ["a", "b"], "until_s": 8},
        {**hole, "vms": ["c"], "from_s": 5},
        {**hole, "from_s": 20, "until_s": 30},
    )
    names = [faults.unanswered(BEGUN_S + at_s) for at_s in (0, 5, 8, 20, 30)]
    assert names == [{"a", "b"}, {"a", "b", "c"}, {"c"}, None, {"c"}]
    edges = [faults.next_s(BEGUN_S + at_s) - BEGUN_S for at_s in (0, 5, 8, 20, 30)]
    assert edges == [5, 8, 20, 30, inf]
    assert not faults.is_shut(BEGUN_S)
    assert not faults.refuses("a", BEGUN_S)
    assert injector().unanswered(BEGUN_S) == frozenset()


def test_injector_is_shut_while_every_vm_is_refused() -> None:
    faults = injector(
        {"effect": "refused", "from_s": 5, "until_s": 8}, {"effect": "refused", "from_s": 90}
    )
    assert [faults.is_shut(BEGUN_S + at_s) for at_s in (0, 5, 7.9, 8, 89, 90)] == [
        *(False, True, True),
        *(False, False, True),
    ]
    edges = [faults.next_s(BEGUN_S + at_s) - BEGUN_S for at_s in (-1, 0, 5, 8, 90)]
    assert edges == [5, 5, 8, 90, inf]
