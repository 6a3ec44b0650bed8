"""Every row has evidence, and every source belongs to a row."""

import pkgutil
from collections.abc import Iterator
from importlib import import_module

import pytest
from msgspec import Struct

import openimds.facts
from openimds.facts import attested, balancer, tokens
from openimds.facts.clients import ChainPin, ClientFault, ClientLibrary, Verifier
from openimds.facts.clouds import Cloud
from openimds.facts.confidential import AmdProduct
from openimds.facts.effects import Effect
from openimds.facts.endpoints import AbsentPath, Category, Endpoint, EndpointParameter
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
from openimds.facts.faults import FaultStatus
from openimds.facts.fields import Field, Rename
from openimds.facts.headers import HeaderOrder
from openimds.facts.kinds import VmKind
from openimds.facts.limits import Limit
from openimds.facts.pages import NamedPage
from openimds.facts.playbooks import Playbook
from openimds.facts.protocols import Dialect, TokenRoute
from openimds.facts.redaction import DocumentMember
from openimds.facts.refusal import RefusalRow
from openimds.facts.versions import ApiVersion

ROW_TYPES = (
    Activation,
    ApiVersion,
    Category,
    ChainPin,
    ClientFault,
    ClientLibrary,
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
    NamedPage,
    Playbook,
    Prefix,
    RefusalRow,
    Rename,
    AllowedTransition,
    AbsentPath,
    VmKind,
    AmdProduct,
    TokenRoute,
    attested.PayloadMember,
    DocumentMember,
    balancer.BalancerList,
    tokens.Claim,
    tokens.TokenMember,
    Verifier,
)


def _structs(value: object) -> Iterator[Struct]:
    """Yield the structs in a module's value, at any depth."""
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        for item in value:
            yield from _structs(item)
    elif isinstance(value, Struct):
        yield value
        for name in value.__struct_fields__:
            yield from _structs(getattr(value, name))


MODULES = {
    module.name: import_module(f"openimds.facts.{module.name}")
    for module in pkgutil.iter_modules(openimds.facts.__path__)
}
STRUCTS = {
    name: [item for value in vars(module).values() for item in _structs(value)]
    for name, module in MODULES.items()
}
EVIDENCE = [
    (f"{name}: {item}", item)
    for name, structs in STRUCTS.items()
    for item in structs
    if isinstance(item, Evidence)
]


@pytest.mark.parametrize("row_type", ROW_TYPES, ids=lambda row_type: row_type.__name__)
def test_rows_of_every_type_are_found(row_type: type[Struct]) -> None:
    assert any(isinstance(item, row_type) for structs in STRUCTS.values() for item in structs)


def test_every_row_has_evidence() -> None:
    rows = [item for structs in STRUCTS.values() for item in structs if isinstance(item, ROW_TYPES)]
    assert [row for row in rows if not isinstance(getattr(row, "evidence", None), Evidence)] == []


def test_named_sources_are_listed() -> None:
    assert [where for where, item in EVIDENCE if not set(item.sources) <= SOURCES.keys()] == []


def test_evidence_without_a_source_is_a_guess_with_a_reason() -> None:
    bare = [(where, item) for where, item in EVIDENCE if not item.sources]
    guesses = (Mark.CHOSEN, Mark.INFERRED)
    assert [where for where, item in bare if item.mark not in guesses or not item.note] == []


def test_chosen_evidence_has_no_source() -> None:
    assert [where for where, item in EVIDENCE if item.mark is Mark.CHOSEN and item.sources] == []


def test_sources_of_a_row_are_unique() -> None:
    assert [where for where, item in EVIDENCE if len(set(item.sources)) < len(item.sources)] == []


def test_every_listed_source_is_used() -> None:
    used = {source for _, item in EVIDENCE for source in item.sources}
    assert SOURCES.keys() - used == set()
