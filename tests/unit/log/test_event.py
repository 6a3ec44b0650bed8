"""Rows of events, and the messages made of them."""

import re

import pytest

from openimds.log.event import Level, LogEvent, LogMessage, sentences_only
from openimds.log.events import LOG_EVENTS, VM_RETURNED

EVENT = LogEvent("thing.made", Level.INFO, "A thing is made.", ("name",))


def test_message_is_its_sentence_and_knows_its_event() -> None:
    message = EVENT.message("web is made", name="web")
    assert message == "web is made"
    assert (message.event, message.level, message.fields) == (EVENT, Level.INFO, {"name": "web"})


def test_text_made_of_a_message_is_plain() -> None:
    assert not isinstance(f"{EVENT.message('x')}!", LogMessage)


def test_field_that_the_row_lacks_is_refused() -> None:
    with pytest.raises(AssertionError, match="size"):
        EVENT.message("x", size=1)


def test_levels_have_the_priorities_of_syslog() -> None:
    assert [level.priority for level in sorted(Level)] == [7, 6, 5, 4, 3]


def test_rows_have_distinct_names_of_one_form() -> None:
    names = [row.name for row in LOG_EVENTS]
    assert len(set(names)) == len(names) > 50
    assert all(re.fullmatch(r"[a-z]+\.[a-z_]+", name) for name in names)


def test_names_of_fields_are_single_words_of_no_other_use() -> None:
    for row in LOG_EVENTS:
        for name in row.fields:
            assert re.fullmatch(r"[a-z]+", name), row
            assert name not in {"time", "level", "event", "message", "cut"}, row
        assert row.about.endswith("."), row


def test_command_without_a_log_prints_sentences_of_weight() -> None:
    printed: list[str] = []
    notify = sentences_only(printed.append)
    for message in (EVENT.message("quiet"), VM_RETURNED.message("web is back"), "plain"):
        notify(message)
    assert printed == ["web is back", "plain"]
    assert {type(text) for text in printed} == {str}
