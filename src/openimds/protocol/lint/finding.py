"""The report: all checks over the requests of all VMs."""

from collections.abc import Iterable, Mapping
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
    addresses = secondary or {}
    by_vm: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: (record.now_s, record.number)):
        if record.vm:
            by_vm.setdefault(record.vm, []).append(record)
    return tuple(
        finding
        for vm in sorted(by_vm)
        for finding in _findings(vm, by_vm[vm], addresses.get(vm, frozenset()))
    )


def _findings(vm: str, records: list[Record], secondary: AbstractSet[str]) -> list[Finding]:
    requests = [parse_record(record) for record in records]
    by_rule: dict[str, list[Example]] = {}
    for check in _CHECKS:
        for example in check(requests):
            by_rule.setdefault(example.rule, []).append(example)
    other = [Example(_SECONDARY, one) for one in records if one.peer in secondary]
    if other:
        by_rule[_SECONDARY] = other
    return [_finding(vm, by_rule[row.key]) for row in RULES if row.key in by_rule]


def _finding(vm: str, examples: list[Example]) -> Finding:
    first = examples[0]
    numbers = tuple(example.record.number for example in examples[:MOST_NUMBERS])
    return Finding(first.rule, vm, len(examples), numbers, first.text or first.record.line)
