"""The memory of the tokens that VMs asked for lately."""

from msgspec.structs import replace

from openimds.credentials.remote.asked_tokens import ASKED_S, AskedTokens
from tests.unit.credentials.remote.control_setup import token_of
from tests.unit.credentials.tokens.cache_setup import NOW_S, PENDING


def resources(asked: AskedTokens, vm: str = "web-1", now_s: float = NOW_S) -> list[str]:
    return [one.resource for one in asked.of(vm, now_s)]


def test_token_is_remembered_for_a_day_after_the_last_request() -> None:
    asked = AskedTokens()
    asked.note(token_of("web-1", "a"), NOW_S)
    asked.note(token_of("web-1", "b"), NOW_S)
    asked.note(token_of("web-1", "a"), NOW_S + 10)
    assert resources(asked, now_s=NOW_S + ASKED_S) == ["b", "a"]
    assert resources(asked, now_s=NOW_S + ASKED_S + 1) == ["a"]
    assert resources(asked, now_s=NOW_S + ASKED_S + 11) == []
    assert len(asked) == 0


def test_wishes_of_one_request_are_not_remembered() -> None:
    asked = AskedTokens()
    asked.note(replace(PENDING, is_fresh=True, outdated="ab", proof="x"), NOW_S)
    assert asked.of("web-1", NOW_S) == [PENDING]
    asked.forget(replace(PENDING, is_fresh=True))
    asked.forget(PENDING)
    assert len(asked) == 0


def test_tokens_of_a_vm_are_bounded_and_the_eldest_goes() -> None:
    asked = AskedTokens(most_per_vm=2)
    for resource in ("a", "b", "a", "c"):
        asked.note(token_of("web-1", resource), NOW_S)
    assert resources(asked) == ["a", "c"]
    assert len(asked) == 2


def test_tokens_of_all_vms_are_bounded_and_the_eldest_goes() -> None:
    asked = AskedTokens(most=4)
    for vm, resource in (("one", "a"), ("two", "a"), ("two", "b"), ("one", "b"), ("three", "a")):
        asked.note(token_of(vm, resource), NOW_S)
    assert len(asked) == 4
    assert (resources(asked, "one"), resources(asked, "two")) == (["a", "b"], ["b"])


def test_turns_reach_every_vm_once_in_a_lap() -> None:
    asked = AskedTokens()
    for vm in ("one", "two", "three"):
        asked.note(token_of(vm), NOW_S)
    assert [*asked.take_turns(2)] == ["one", "two"]
    asked.forget_vm("three")
    asked.forget_vm("unknown")
    assert [*asked.take_turns(2)] == ["three"], "the lap ends, although that VM is forgotten"
    assert [*asked.take_turns(9)] == ["one", "two"]
    assert len(asked) == 2


def test_clock_set_back_lets_no_token_stay_for_longer() -> None:
    asked = AskedTokens()
    asked.note(PENDING, NOW_S)
    asked.forget_future(NOW_S + 5)
    asked.forget_future(NOW_S - 100)
    assert resources(asked, now_s=NOW_S - 100 + ASKED_S) == [PENDING.resource]
    assert resources(asked, now_s=NOW_S - 99 + ASKED_S) == []
