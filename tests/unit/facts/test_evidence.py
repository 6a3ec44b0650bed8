"""Every row says where it was learned, and every source is there for some row."""

import pkgutil
from collections.abc import Iterator
from importlib import import_module

import pytest
from msgspec import Struct

import openimds.facts
from openimds.facts import attested, balancer, tokens
from openimds.facts.clouds import Cloud
from openimds.facts.endpoints import Category, Endpoint, EndpointParameter
from openimds.facts.events import (
    Activation,
    AllowedTransition,
    EventCause,
    EventMember,
    EventType,
    Prefix,
)
from openimds.facts.evidence import SOURCES, Evidence, Mark
from openimds.facts.facts import Fact
from openimds.facts.faults import Effect, FaultStatus
from openimds.facts.fields import Field, Rename
from openimds.facts.headers import HeaderOrder
from openimds.facts.limits import Limit
from openimds.facts.playbooks import Playbook
from openimds.facts.protocols import Dialect, TokenRoute
from openimds.facts.redaction import DocumentMember
from openimds.facts.refusal import RefusalRow
from openimds.facts.versions import ApiVersion

ROW_TYPES = (
    Activation,
    ApiVersion,
    Category,
    Cloud,
    Dialect,
    Effect,
    Endpoint,
    EventType,
    Fact,
    FaultStatus,
    Field,
    HeaderOrder,
    Limit,
    EventMember,
    EventCause,
    EndpointParameter,
    Playbook,
    Prefix,
    RefusalRow,
    Rename,
    AllowedTransition,
    TokenRoute,
    attested.PayloadMember,
    DocumentMember,
    balancer.BalancerList,
    tokens.Claim,
    tokens.TokenMember,
)


def _structs(value: object) -> Iterator[Struct]:
    """Yield every struct in a module's value, however deep it stands."""
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        for one in value:
            yield from _structs(one)
    elif isinstance(value, Struct):
        yield value
        for name in value.__struct_fields__:
            yield from _structs(getattr(value, name))


MODULES = {
    module.name: import_module(f"openimds.facts.{module.name}")
    for module in pkgutil.iter_modules(openimds.facts.__path__)
}
STRUCTS = {
    name: [one for value in vars(module).values() for one in _structs(value)]
    for name, module in MODULES.items()
}
EVIDENCE = [
    (f"{name}: {one}", one)
    for name, structs in STRUCTS.items()
    for one in structs
    if isinstance(one, Evidence)
]


@pytest.mark.parametrize("row_type", ROW_TYPES, ids=lambda row_type: row_type.__name__)
def test_the_rows_of_every_table_were_looked_at(row_type: type[Struct]) -> None:
    assert any(isinstance(one, row_type) for structs in STRUCTS.values() for one in structs)


def test_every_row_has_evidence() -> None:
    rows = [one for structs in STRUCTS.values() for one in structs if isinstance(one, ROW_TYPES)]
    assert [row for row in rows if not isinstance(getattr(row, "evidence", None), Evidence)] == []


def test_every_source_that_a_row_names_is_listed() -> None:
    assert [where for where, one in EVIDENCE if not set(one.sources) <= SOURCES.keys()] == []


def test_without_a_source_it_is_a_guess_and_says_why() -> None:
    bare = [(where, one) for where, one in EVIDENCE if not one.sources]
    guesses = (Mark.CHOSEN, Mark.INFERRED)
    assert [where for where, one in bare if one.mark not in guesses or not one.note] == []


def test_what_was_chosen_rests_on_nothing() -> None:
    assert [where for where, one in EVIDENCE if one.mark is Mark.CHOSEN and one.sources] == []


def test_no_source_is_named_twice_in_one_row() -> None:
    assert [where for where, one in EVIDENCE if len(set(one.sources)) < len(one.sources)] == []


def test_every_listed_source_is_used() -> None:
    used = {source for _, one in EVIDENCE for source in one.sources}
    assert SOURCES.keys() - used == set()
