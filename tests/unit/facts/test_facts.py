import pytest

from openimds.facts.facts import FACTS, fact


def test_a_fact_is_found_by_its_name_alone() -> None:
    kind, rows = next(iter(FACTS.items()))
    assert fact(kind, rows[-1].name) is rows[-1]
    with pytest.raises(KeyError, match=rf"'{kind}', 'of nobody'"):
        fact(kind, "of nobody")


@pytest.mark.parametrize("kind", FACTS)
def test_facts_that_share_a_name_say_the_same(kind: str) -> None:
    # Two rows may refuse in the same words, such as a version that is missing or unknown.
    for row in FACTS[kind]:
        assert fact(kind, row.name) == row
