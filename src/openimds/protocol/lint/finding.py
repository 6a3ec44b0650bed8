"""The report: all checks over the requests of all VMs."""

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet

from msgspec import Struct

from openimds.facts.lint import RULES
from openimds.protocol.lint import credential_rules, rate_rules, request_rules
from openimds.protocol.lint.requests import Check, Example, parse_record
from openimds.protocol.request_log import Record

MOST_NUMBERS = 20
_SECONDARY = "address_secondary"

_CHECKS: tuple[Check, ...] = (
    request_rules.refusals,
    request_rules.detours,
    request_rules.discouraged,
    rate_rules.limits,
    rate_rules.polls,
    rate_rules.retries,
    rate_rules.give_ups,
    rate_rules.vain_retries,
    credential_rules.tokens,
    credential_rules.approvals,
)


class Finding(Struct, frozen=True):
    """A rule that the clients of a VM have broken.

    `rule` is the key of a row of `facts.lint`, `times` the number of requests that break it;
    `numbers` are the numbers of the first of them, `example` shows the very first.
    """

    rule: str
    vm: str
    times: int
    numbers: tuple[int, ...]
    example: str


def report(
    records: Iterable[Record], secondary: Mapping[str, AbstractSet[str]] | None = None
) -> tuple[Finding, ...]:
    """Return the mistakes of each VM's clients, by VM and then by rule.

    The records may be in any order; requests of unknown callers are not judged. `secondary` has
    the addresses of each VM that Azure does not answer, for the rule about them.
    """
    addresses, by_vm = secondary or {}, _by_vm(records)
    return tuple(
        finding
        for vm in sorted(by_vm)
        for finding in _findings(vm, by_vm[vm], addresses.get(vm, frozenset()))
    )


def broken_rules(records: Iterable[Record]) -> dict[int, tuple[str, ...]]:
    """Return the keys of the rules that each request breaks, by its number.

    A request without a breach is left out; for the rest it is as with `report`.
    """
    broken: dict[int, list[str]] = {}
    for of_vm in _by_vm(records).values():
        for example in _examples(of_vm):
            rules = broken.setdefault(example.record.number, [])
            if example.rule not in rules:
                rules.append(example.rule)
    return {number: tuple(rules) for number, rules in broken.items()}


def _by_vm(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Return the records of each VM in the order of their times."""
    by_vm: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: (record.now_s, record.number)):
        if record.vm:
            by_vm.setdefault(record.vm, []).append(record)
    return by_vm


def _examples(records: list[Record]) -> Iterator[Example]:
    requests = [parse_record(record) for record in records]
    for check in _CHECKS:
        yield from check(requests)


def _findings(vm: str, records: list[Record], secondary: AbstractSet[str]) -> list[Finding]:
    by_rule: dict[str, list[Example]] = {}
    for example in _examples(records):
        by_rule.setdefault(example.rule, []).append(example)
    other = [Example(_SECONDARY, one) for one in records if one.peer in secondary]
    if other:
        by_rule[_SECONDARY] = other
    return [_finding(vm, by_rule[row.key]) for row in RULES if row.key in by_rule]


def _finding(vm: str, examples: list[Example]) -> Finding:
    first = examples[0]
    numbers = tuple(example.record.number for example in examples[:MOST_NUMBERS])
    return Finding(first.rule, vm, len(examples), numbers, first.text or first.record.line)
