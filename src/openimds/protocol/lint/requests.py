"""A record together with what its request asks, and what was seen in it."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from msgspec import Struct

from openimds.facts.endpoints import ENDPOINTS
from openimds.facts.faults import EFFECTS, EffectMode
from openimds.facts.refusals import refusal_row
from openimds.protocol.request import query
from openimds.protocol.request_log import Record

_PLAYED = frozenset(key for key, row in EFFECTS.items() if row.mode is not EffectMode.DELIVERY)
_EXTRAS = frozenset(row.setting for row in ENDPOINTS if row.setting)
TOO_MANY = refusal_row("throttled", "").status


class LintedRequest(Struct, frozen=True):
    """A record, the path in lower case, the route below it, and the parameters of the query.

    `category` and `limit` are the keys of the endpoint's category and of its limiter class.
    """

    record: Record
    path: str
    route: tuple[str, ...]
    parameters: dict[str, str]
    category: str
    limit: str

    @property
    def what(self) -> tuple[object, ...]:
        """What two requests for the same have in common, in whatever order they say it."""
        return (self.record.method, self.path, *sorted(self.parameters.items()))

    @property
    def is_played(self) -> bool:
        """Tell whether a fault took the place of the answer, which then says nothing of this."""
        return self.record.fault in _PLAYED


class Example(Struct, frozen=True):
    """A request that shows the breach of a rule; `words` say how, if the request does not."""

    rule: str
    record: Record
    words: str = ""


Check: TypeAlias = Callable[[Sequence[LintedRequest]], Iterator[Example]]
"""Looks through the requests of one VM, which are in the order of their times."""


def asked(record: Record) -> LintedRequest:
    """Return what a request asks, at whatever endpoints some server has."""
    known = query(record.method, record.target.encode("latin-1", "replace"), extras=_EXTRAS)
    return LintedRequest(
        record,
        known.path.removesuffix("/").lower(),
        tuple(part.lower() for part in known.route),
        known.parameters,
        known.category.key,
        known.category.limit,
    )
