import pytest

from openimds.facts.facts import FACTS, fact


def test_fact_is_found_by_its_name() -> None:
    kind, rows = next(iter(FACTS.items()))
    assert fact(kind, rows[-1].name) is rows[-1]
    with pytest.raises(KeyError, match=rf"'{kind}', 'unknown'"):
        fact(kind, "unknown")


@pytest.mark.parametrize("kind", FACTS)
def test_facts_of_one_name_have_one_evidence(kind: str) -> None:
    # Two refusals may have one text, such as those of a missing and an unknown version.
    for row in FACTS[kind]:
        assert fact(kind, row.name) == row
