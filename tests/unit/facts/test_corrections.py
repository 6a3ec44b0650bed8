"""Every finding is accounted for, and the bodies of the front are the recorded ones."""

from openimds.facts.corrections import CORRECTIONS, Adoption
from openimds.facts.refusals import refusal_row


def test_every_finding_has_a_row_in_order() -> None:
    assert [row.number for row in CORRECTIONS] == [*range(1, 71)]


def test_every_finding_has_an_answer() -> None:
    assert [row.number for row in CORRECTIONS if not row.fact or not row.answer] == []


def test_finding_that_leaves_azure_open_has_a_question() -> None:
    open_ones = [row for row in CORRECTIONS if row.verdict is Adoption.CHOSEN]
    assert [row.number for row in open_ones if not row.question] == []
    assert [row.number for row in CORRECTIONS if bool(row.question) != bool(row.nearest)] == []
    assert [row.number for row in CORRECTIONS if row.question and row.question[-1] != "?"] == []


def test_partial_and_absent_answers_are_three() -> None:
    partial = {row.number for row in CORRECTIONS if row.verdict is Adoption.PARTLY}
    absent = {row.number for row in CORRECTIONS if row.verdict is Adoption.ABSENT}
    assert (partial, absent) == ({36, 38}, {18})


def test_front_bodies_have_their_recorded_lengths() -> None:
    sizes = [len(refusal_row(key, "").body) for key in ("head", "updating")]
    assert sizes == [323, 313]
