"""All checks over all VMs, and what comes of them."""

from collections.abc import Iterable

from msgspec import Struct

from openimds.facts.lint import RULES
from openimds.protocol.lint import credential_rules, rate_rules, request_rules
from openimds.protocol.lint.requests import Check, Example, asked
from openimds.protocol.request_log import Record

MOST_NUMBERS = 20

_CHECKS: tuple[Check, ...] = (
    request_rules.refusals,
    request_rules.ways,
    request_rules.contents,
    rate_rules.limits,
    rate_rules.polls,
    rate_rules.retries,
    rate_rules.ends,
    rate_rules.vain,
    credential_rules.tokens,
    credential_rules.approvals,
)


class Finding(Struct, frozen=True):
    """A rule that the clients of a VM have broken.

    `rule` is the key of a row of `spec.strict`, `times` how many requests show it, `numbers` are
    those of the first of them, `example` is the first one in words.
    """

    rule: str
    vm: str
    times: int
    numbers: tuple[int, ...]
    example: str


def report(records: Iterable[Record]) -> tuple[Finding, ...]:
    """Return what the clients of each VM did wrong: by VM, then in the order of the rules.

    Records in any order; callers who are no VM are not judged.
    """
    by_vm: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: (record.now_s, record.number)):
        if record.vm:
            by_vm.setdefault(record.vm, []).append(record)
    return tuple(one for vm in sorted(by_vm) for one in _judged(vm, by_vm[vm]))


def _judged(vm: str, records: list[Record]) -> list[Finding]:
    every = [asked(record) for record in records]
    seen: dict[str, list[Example]] = {}
    for check in _CHECKS:
        for one in check(every):
            seen.setdefault(one.rule, []).append(one)
    found = [(row.key, seen[row.key]) for row in RULES if row.key in seen]
    return [
        Finding(
            key,
            vm,
            len(those),
            tuple(one.record.number for one in those[:MOST_NUMBERS]),
            those[0].words or those[0].record.line,
        )
        for key, those in found
    ]
