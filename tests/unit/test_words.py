"""The word list: each rule is broken here on purpose."""

from pathlib import Path

import pytest

from scripts.check_words import breaches, fog, twins


@pytest.mark.parametrize(
    "source, reason",
    [
        ('"""What a VM is."""\n', 'docstring begins with "What"'),
        ('def f() -> None:\n    """' + "word " * 16 + '."""\n', "first line of"),
        ("told = 1\n", 'name "told"'),
        ("def f(last_heard: int) -> None: ...\n", 'name "last_heard"'),
        ('message = "whoever asks gets 404"\n', '"whoever"'),
        ("x = 1  # It was " + "sa" + "id before.\n", '"said"'),
        ("def test_" + "x" * 60 + "() -> None: ...\n", "test name of 65 characters"),
        ("def test_what_is_served() -> None: ...\n", "begin with the subject"),
    ],
)
def test_a_breach_is_reported_with_its_reason(source: str, reason: str) -> None:
    ((line, text),) = breaches(source, is_test=True)
    assert reason in text
    assert line == source[: source.index(source.strip().splitlines()[-1])].count("\n") + 1


def test_plain_words_are_no_breach() -> None:
    source = '"""Cached responses of one VM."""\n\ncached = {}  # By the bytes of the request.\n'
    assert list(breaches(source, is_test=True)) == []


def test_marked_line_may_have_a_banned_word() -> None:
    source = 'name = "said"  # words: the name on disk\n'
    assert list(breaches(source)) == []
    assert list(breaches("told = 1  # words: a public name\n")) == []


def test_class_names_that_stand_twice_are_reported(tmp_path: Path) -> None:
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text("class Row:\n    pass\n")
    assert [text.split(" stands")[0] for text in twins(tmp_path)] == ['class name "Row"']


def test_fog_is_counted_by_word(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("# what and whatever\nx = 1\n")
    assert fog(tmp_path) == (2, 2)
