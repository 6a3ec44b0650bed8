"""Lines as logfmt and JSON, each a single one of bounded length."""

import json

import pytest

from openimds.log.event import Level, LogEvent, Value
from openimds.log.events import NOTICE
from openimds.log.formats import MOST_LINE_BYTES, LineFormat, as_json, as_logfmt, timestamp

EVENT = LogEvent(
    "thing.made", Level.WARNING, "A thing.", ("name", "count", "is", "names", "a", "b", "c")
)
AT_S = 1_764_504_000.1234


def test_json_line_has_time_level_event_sentence_and_fields() -> None:
    line = LineFormat(as_json).line(EVENT.message("it is", name="web", count=2), AT_S, NOTICE)
    assert line.endswith(b"}\n")
    assert json.loads(line) == {
        "time": "2025-11-30T12:00:00.123Z",
        "level": "warning",
        "event": "thing.made",
        "message": "it is",
        "name": "web",
        "count": 2,
    }


def test_logfmt_quotes_values_that_need_it() -> None:
    values: dict[str, Value] = {"name": "", "is": True, "names": ("a", "b"), "count": 1.5}
    message = EVENT.message('say "hi" \\', **values)
    line = LineFormat(as_logfmt).line(message, AT_S, NOTICE)
    assert line == (
        b"time=2025-11-30T12:00:00.123Z level=warning event=thing.made "
        b'message="say \\"hi\\" \\\\" name="" is=true names=a,b count=1.5\n'
    )


def test_plain_text_is_a_line_of_the_default_event() -> None:
    record = json.loads(LineFormat(as_json).line("a plain text", AT_S, NOTICE))
    assert (record["event"], record["level"]) == ("server.notice", "warning")


def test_journal_gets_a_priority_and_no_time() -> None:
    line = LineFormat(as_json, is_journal=True).line(EVENT.message("x"), AT_S, NOTICE)
    assert line == b'<4>{"level":"warning","event":"thing.made","message":"x"}\n'


@pytest.mark.parametrize("form", [as_json, as_logfmt])
def test_values_forge_no_line(form: object) -> None:
    evil = 'x"\nlevel=error event=forged\r\u2028{"level":"error"}\x1b[2J'
    made = LineFormat(form)  # type: ignore[arg-type]
    line = made.line(EVENT.message(evil, name=evil), AT_S, NOTICE)
    assert line.count(b"\n") == 1
    assert b"\r" not in line
    assert b"\x1b" not in line
    assert "\u2028".encode() not in line
    if form is as_json:
        assert json.loads(line)["event"] == "thing.made"
    else:
        assert line.count(b" event=") == 3  # Two of them inside quotes.


@pytest.mark.parametrize("form", [as_json, as_logfmt])
def test_long_line_loses_its_last_fields(form: object) -> None:
    big = "\N{SNOWMAN}" * 500
    made = LineFormat(form)  # type: ignore[arg-type]
    line = made.line(EVENT.message("x" * 9999, name="web", a=big, b=big, c=big), AT_S, NOTICE)
    assert len(line) <= MOST_LINE_BYTES
    assert b"web" in line
    assert b"cut" in line
    if form is as_json:
        assert json.loads(line)["cut"] is True


def test_escapes_never_make_a_line_too_long() -> None:
    line = LineFormat(as_json).line("\x1b" * 9999, AT_S, NOTICE)
    assert len(line) <= MOST_LINE_BYTES


def test_timestamp_rounds_to_milliseconds() -> None:
    assert timestamp(0.9996) == "1970-01-01T00:00:01.000Z"
