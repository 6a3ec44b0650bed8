"""The rows of faults and playbooks: references, texts and bounds."""

import pytest

from openimds.credentials.pki.invalid_documents import ROTATIONS, SCENARIOS
from openimds.credentials.tokens.jwt import FORGERIES
from openimds.facts.effects import Effect, EffectMode
from openimds.facts.endpoints import CATEGORIES, ENDPOINTS
from openimds.facts.fault_parameters import MATCHERS, PUBLIC_MATCHERS, FaultParameter, ValueKind
from openimds.facts.faults import EFFECTS, STATUSES
from openimds.facts.pages import PAGES, UNREACHABLE, NamedPage
from openimds.facts.playbooks import PLAYBOOKS, ParameterValue, Playbook
from openimds.facts.public_faults import ANSWER
from openimds.facts.refusals import refusal_row
from openimds.protocol.faults.delivery import _SCRIPTS as DELIVERED
from openimds.protocol.faults.input import effect_rows, playbook_rows
from openimds.protocol.faults.substitute import _SUBSTITUTES as ASKED

each = pytest.mark.parametrize("row", EFFECTS.values(), ids=list(EFFECTS))
book = pytest.mark.parametrize("row", PLAYBOOKS.values(), ids=list(PLAYBOOKS))
TARGETS = {row.key for row in ENDPOINTS} | {row.key for row in CATEGORIES}
OF_REQUESTS = {"matchers": MATCHERS, "public": PUBLIC_MATCHERS}
PARAMETERS = [
    (owner, parameter)
    for rows in (EFFECTS, PLAYBOOKS)
    for owner, row in rows.items()
    for parameter in row.parameters
] + [(owner, row) for owner, rows in OF_REQUESTS.items() for row in rows]


def parameter(effect: str, name: str) -> FaultParameter:
    (row,) = [row for row in EFFECTS[effect].parameters if row.name == name]
    return row


def test_no_effect_has_the_name_of_a_playbook() -> None:
    assert EFFECTS.keys() & PLAYBOOKS.keys() == set()


@each
def test_effect_has_a_description_and_a_reason(row: Effect) -> None:
    assert row.about.endswith((".", "document"))
    assert row.why.endswith(".")
    assert set(row.endpoints) <= TARGETS


@each
def test_effect_is_implemented(row: Effect) -> None:
    if row.resource:
        assert parameter(row.key, ANSWER).default in parameter(row.key, ANSWER).choices
    elif row.mode in (EffectMode.INSTEAD, EffectMode.OTHERWISE):
        assert row.key in ASKED
    else:
        assert row.key in DELIVERED or row.key == "delay"


@each
def test_effect_without_response_ends_the_connection(row: Effect) -> None:
    assert row.ends_connection or row.mode is not EffectMode.SILENCE


@each
def test_members_of_an_effect_are_unique(row: Effect) -> None:
    names = [one.name for one in effect_rows(row.key)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "row", [row for _, row in PARAMETERS], ids=[f"{of}-{row.name}" for of, row in PARAMETERS]
)
def test_parameter_is_bounded_and_its_default_fits(row: FaultParameter) -> None:
    assert row.help.endswith(".")
    is_number = row.kind in (ValueKind.NUMBER, ValueKind.WHOLE)
    if is_number and not row.choices:
        assert row.minimum is not None
        assert row.maximum is not None
        if row.default is not None:
            assert isinstance(row.default, int | float)
            assert row.minimum <= row.default <= row.maximum
    if row.choices and row.default is not None:
        assert row.default in row.choices


def test_status_has_a_refusal_in_every_category() -> None:
    for status, row in STATUSES.items():
        assert {refusal_row(row.refusal, one.key).status for one in CATEGORIES} == {status}


def test_choices_are_those_of_the_implementations() -> None:
    assert sorted(parameter("forged-token", "forgery").choices) == sorted(FORGERIES)
    assert parameter("attested-document", "scenario").choices == (*ROTATIONS, *SCENARIOS)


@pytest.mark.parametrize("row", PAGES.values(), ids=list(PAGES))
def test_named_page_has_a_public_report(row: NamedPage) -> None:
    assert row.about.endswith(".")
    assert row.evidence.sources
    assert row.evidence.note
    assert not row.body or row.media or row.key in {"container-403", "agent-405"}


def test_page_of_a_container_has_the_words_that_sdks_look_for() -> None:
    # azidentity (Go) compares the end of the body, Azure.Identity (.NET) and Python a part.
    words = "connectex: A socket operation was attempted to an unreachable network."
    assert UNREACHABLE.endswith(words)
    assert PAGES["container-403"].body == UNREACHABLE


@book
def test_playbook_has_a_reason_and_uses_its_parameters(row: Playbook) -> None:
    assert row.about.endswith(".")
    assert row.why.endswith(".")
    used = {
        one.name for line in row.lines for one in line.values() if isinstance(one, ParameterValue)
    }
    assert used == {one.name for one in row.parameters}
    assert all(one.default is not None for one in row.parameters)


@book
def test_playbook_is_for_guests_or_for_verifiers(row: Playbook) -> None:
    places = {EFFECTS[str(line["effect"])].resource is None for line in row.lines}
    assert len(places) == 1


@book
def test_lines_of_a_playbook_are_faults(row: Playbook) -> None:
    for line in row.lines:
        known = {one.name for one in effect_rows(str(line["effect"]))}
        assert line.keys() <= known
    names = [one.name for one in playbook_rows(row.key)]
    assert len(set(names)) == len(names)


def test_published_playbooks_keep_their_names() -> None:
    assert [*PLAYBOOKS][:8] == [
        "service-update",
        "boot-race",
        "throttled",
        "noisy-neighbour",
        "restart",
        "old-region",
        "ca-rotation",
        "partial-document",
    ]
