"""A record with its request parsed again, and the examples that the rules find."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from msgspec import Struct

from openimds.facts.effects import EffectMode
from openimds.facts.endpoints import ENDPOINTS
from openimds.facts.faults import EFFECTS
from openimds.facts.refusals import refusal_row
from openimds.protocol.request import parse_query
from openimds.protocol.request_log import Record

_SUBSTITUTES = frozenset(key for key, row in EFFECTS.items() if row.mode is not EffectMode.DELIVERY)
"""The faults that take the place of a response; others change its delivery."""
_EXTRAS = frozenset(row.setting for row in ENDPOINTS if row.setting)
TOO_MANY = refusal_row("throttled", "").status


class LintedRequest(Struct, frozen=True):
    """A record with its parsed request.

    `path` is in lower case, `route` is below the path of the endpoint. `category` and `limit` are
    the keys of the endpoint's category and of its limiter class.
    """

    record: Record
    path: str
    route: tuple[str, ...]
    parameters: dict[str, str]
    category: str
    limit: str

    @property
    def key(self) -> tuple[object, ...]:
        """A key that equal requests share, in any order of their parameters."""
        return (self.record.method, self.path, *sorted(self.parameters.items()))

    @property
    def is_substituted(self) -> bool:
        """Tell whether an injected fault took the place of the response."""
        return self.record.fault in _SUBSTITUTES


class Example(Struct, frozen=True):
    """A request that breaks a rule; `text` shows how, if its line does not."""

    rule: str
    record: Record
    text: str = ""


Check: TypeAlias = Callable[[Sequence[LintedRequest]], Iterator[Example]]
"""Goes through the requests of one VM, which are in the order of their times."""


def parse_record(record: Record) -> LintedRequest:
    """Parse the request of a record, as a server with every optional endpoint would."""
    parsed = parse_query(record.method, record.target.encode("latin-1", "replace"), extras=_EXTRAS)
    return LintedRequest(
        record,
        parsed.path.removesuffix("/").lower(),
        tuple(segment.lower() for segment in parsed.route),
        parsed.parameters,
        parsed.category.key,
        parsed.category.limit,
    )
