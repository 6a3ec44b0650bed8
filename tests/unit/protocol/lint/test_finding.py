import pytest

from openimds.facts.evidence import SOURCES, Mark
from openimds.facts.lint import RULES, rule
from openimds.protocol import lint
from openimds.protocol.lint import broken_rules, finding, report, request_rules
from tests.unit.protocol.lint.records import LEAF, TOKEN, a_record, numbered, refused


def test_findings_are_by_vm_and_then_in_the_order_of_the_rules() -> None:
    records = numbered(
        refused("leaf_needs_text", LEAF, 0.0, vm="b"),
        refused("forwarded", TOKEN, 1.0, vm="b"),
        refused("leaf_needs_text", LEAF, 2.0, vm="a"),
    )
    assert [(one.vm, one.rule, one.numbers) for one in report(records)] == [
        ("a", "leaf_needs_text", (3,)),
        ("b", "forwarded", (2,)),
        ("b", "leaf_needs_text", (1,)),
    ]


def test_unknown_callers_are_not_judged() -> None:
    assert report([refused("unknown_caller", vm="", status=404), a_record(vm="")]) == ()


def test_records_may_come_in_any_order() -> None:
    records = numbered(refused("header_missing", TOKEN), a_record(TOKEN, 0.1))
    assert report(reversed(records)) == report(records) == ()


def test_all_breaches_are_counted_and_the_first_ones_named() -> None:
    many = numbered(*(refused("leaf_needs_text", LEAF, at * 9.0) for at in range(30)))
    (one,) = report(many)
    assert (one.times, one.numbers) == (30, tuple(range(1, 21)))


def test_every_breach_is_named_by_its_request() -> None:
    records = numbered(
        *(refused("leaf_needs_text", LEAF, at * 9.0) for at in range(30)),
        a_record(at_s=400.0),
        refused("forwarded", TOKEN, 500.0, vm="b"),
        refused("unknown_caller", vm="", status=404),
    )
    broken = broken_rules(reversed(records))
    assert broken.keys() == {*range(1, 31), 32}
    assert all("leaf_needs_text" in broken[number] for number in range(1, 31))
    assert broken[32] == ("forwarded",)


def test_request_names_a_rule_once_that_it_breaks_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = (request_rules.refusals, request_rules.refusals)
    monkeypatch.setattr(finding, "_CHECKS", checks)
    assert broken_rules([refused("forwarded", TOKEN)]) == {1: ("forwarded",)}


def test_every_rule_has_its_texts_and_evidence() -> None:
    for row in RULES:
        assert row.says, row.key
        assert row.detection, row.key
        assert set(row.evidence.sources) <= SOURCES.keys(), row.key
        assert row.evidence.note if row.evidence.mark is Mark.CHOSEN else row.evidence.sources
        assert rule(row.key) is row
    assert len({row.key for row in RULES}) == len(RULES)


def test_the_package_exports_the_report() -> None:
    assert lint.__all__ == ["Finding", "Record", "broken_rules", "most_in", "report"]


def test_other_address_is_found_on_demand_alone() -> None:
    records = numbered(a_record(), a_record(peer="10.0.0.5"), a_record(vm="b", peer="10.0.0.5"))
    assert report(records) == ()
    (one,) = report(records, {"vm-1": frozenset({"10.0.0.5"})})
    assert (one.rule, one.vm, one.numbers) == ("address_secondary", "vm-1", (2,))
    assert rule("address_secondary").is_optional
