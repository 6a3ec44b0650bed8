"""Every finding is accounted for, and the bodies of the front are the recorded ones."""

from openimds.facts.corrections import CORRECTIONS
from openimds.facts.refusals import refusal_row


def test_every_finding_has_a_row_in_order() -> None:
    assert [row.number for row in CORRECTIONS] == [*range(1, 71)]


def test_every_finding_has_an_answer() -> None:
    assert [row.number for row in CORRECTIONS if not row.fact or not row.answer] == []


def test_front_bodies_have_their_recorded_lengths() -> None:
    sizes = [len(refusal_row(key, "").body) for key in ("head", "updating")]
    assert sizes == [323, 313]
