"""Records of libraries become lines, without the texts of their errors."""

import logging
import warnings
from collections.abc import Iterator

import pytest

from openimds.log.event import Level, LogMessage
from openimds.log.library_records import LibraryHandler, claim_libraries


@pytest.fixture
def messages() -> Iterator[list[LogMessage]]:
    """Messages of a log that has claimed the libraries."""
    found: list[LogMessage] = []

    def note(message: str) -> None:
        assert isinstance(message, LogMessage)
        found.append(message)

    give_back = claim_libraries(note)
    yield found
    give_back()


def test_record_has_its_level_and_the_name_of_its_logger(messages: list[LogMessage]) -> None:
    logging.getLogger("some.library").warning("%s is slow", "disk")
    logging.getLogger("some.library").error("it failed\nTraceback: secret")
    assert messages == ["disk is slow", "it failed"]
    assert [message.level for message in messages] == [Level.WARNING, Level.ERROR]
    assert messages[0].fields == {"logger": "some.library"}


def test_error_has_its_type_and_place_but_no_text(messages: list[LogMessage]) -> None:
    try:
        int("s3cret")
    except ValueError:
        logging.getLogger("asyncio").exception("it failed")
    (message,) = messages
    assert message.fields["error"] == "ValueError"
    assert "test_library_records.py:" in str(message.fields["place"])
    assert "s3cret" not in f"{message} {message.fields}"


def test_warnings_of_python_are_lines(messages: list[LogMessage]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert "DeprecationWarning: old" in messages[0]


def test_azure_libraries_stay_quiet(messages: list[LogMessage]) -> None:
    logging.getLogger("azure.identity").warning("request of a token")
    assert messages == []


def test_mistake_of_a_library_ends_no_caller(messages: list[LogMessage]) -> None:
    record = logging.LogRecord("x", logging.ERROR, "x.py", 1, "%d", ("no number",), None)
    (handler,) = (one for one in logging.getLogger().handlers if isinstance(one, LibraryHandler))
    handler.handle(record)
    assert messages == []


def test_libraries_are_given_back() -> None:
    before = [*logging.getLogger().handlers]
    claim_libraries(lambda _: None)()
    assert logging.getLogger().handlers == before
