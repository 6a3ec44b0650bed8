"""Parameter rows and the reader: types, bounds, choices, paths and suggestions."""

from typing import Any

import pytest

from openimds.errors import SpellingError
from openimds.parameters import (
    DURATION,
    LARGEST,
    MOST_OLD_NAMES,
    MisfitError,
    Parameter,
    camel_case,
    check_names,
    describe,
    nearest,
    old_names,
    old_names_notice,
    parse_time,
    quote_hint,
    read_fields,
    read_value,
)
from tests.unit.vm.refused import Refused, refused

TEXT = Parameter("name", str, "A name.")
FLAG = Parameter("flag", bool, "A flag.", default=False)
COUNT = Parameter("count", int, "A count.", minimum=1, maximum=9)
WAIT = Parameter("wait_s", float, "", minimum=-1, maximum=86401, metavar=DURATION)
SPAN = Parameter("span_s", float, "A span.", minimum=0)
NAMES = Parameter("vms", tuple, "Names.", minimum=1, maximum=3)
SOURCE = Parameter("source", str, "A source.", choices=("Platform", "User"))
STATUS = Parameter("status", int, "A status.", choices=(404, 410), required=True)
WORD = Parameter("retry_after", str, "A word.", maximum=4, takes_whole=True)
ROWS = (TEXT, FLAG, COUNT, SPAN, NAMES, SOURCE)


def _port(text: str) -> int:
    host, _, port = text.rpartition(":")
    if not host:
        raise MisfitError("HOST:PORT")
    return int(port)


ADDRESS = Parameter("listen", str, "An address.", convert=_port)


@pytest.mark.parametrize(
    "row, value, expected",
    [
        (TEXT, "a", "a"),
        (TEXT, "", ""),
        (FLAG, True, True),
        (COUNT, 9, 9),
        (SPAN, 0, 0),
        (SPAN, 2.5, 2.5),
        (SPAN, 60.0, 60.0),
        (SPAN, LARGEST, LARGEST),
        (NAMES, ["a", "b"], ("a", "b")),
        (NAMES, ("a",), ("a",)),
        (SOURCE, "User", "User"),
        (STATUS, 410, 410),
        (ADDRESS, "a:80", 80),
        (WORD, 5, "5"),
        (WORD, "soon", "soon"),
    ],
)
def test_typed_value_that_fits_is_returned(row: Parameter, value: object, expected: object) -> None:
    got = read_value(row, value)
    assert (got, type(got)) == (expected, type(expected))
    assert read_value(row, value, text=True) == expected


@pytest.mark.parametrize(
    "row, value, seen, expected",
    [
        (TEXT, 1, "the number 1", "a string"),
        (TEXT, None, "nothing (null)", "a string"),
        (FLAG, 1, "the number 1", "true or false"),
        (FLAG, "true", 'the string "true"', "true or false"),
        (COUNT, 0, "the number 0", "a whole number from 1 to 9"),
        (COUNT, 10, "the number 10", "a whole number from 1 to 9"),
        (COUNT, 2.0, "the number 2.0", "a whole number from 1 to 9"),
        (COUNT, True, "the boolean true", "a whole number from 1 to 9"),
        (COUNT, "2", 'the string "2"', "a whole number from 1 to 9"),
        (SPAN, -0.5, "the number -0.5", "a number of at least 0"),
        (SPAN, float("nan"), "the number nan", "a number of at least 0"),
        (SPAN, float("inf"), "the number inf", "a number of at least 0"),
        (SPAN, 2**53, f"the number {2**53}", "a number of at least 0"),
        (SPAN, False, "the boolean false", "a number of at least 0"),
        (NAMES, [], "a list of 0", "a list of 1 to 3 strings"),
        (NAMES, ["a"] * 4, "a list of 4", "a list of 1 to 3 strings"),
        (NAMES, "a", 'the string "a"', "a list of 1 to 3 strings"),
        (NAMES, {"a": 1}, "a mapping with a", "a list of 1 to 3 strings"),
        (TEXT, ["a"], "a list of 1", "a string"),
        (SOURCE, 1, "the number 1", "one of Platform, User"),
        (ADDRESS, "a", 'the string "a"', "HOST:PORT"),
        (TEXT, "a\udc80", "half of a surrogate pair", "text that UTF-8 can carry"),
    ],
)
def test_typed_value_that_misfits_is_refused(
    row: Parameter, value: object, seen: str, expected: str
) -> None:
    assert refused(read_value, row, value) == Refused(row.name, seen, expected)


def test_number_too_long_to_write_is_refused() -> None:
    assert refused(read_value, SPAN, 16**5000).seen == "the number of very many digits"


def test_misfit_of_an_item_names_its_place() -> None:
    assert refused(read_value, NAMES, ["a", 1]) == Refused("vms[1]", "the number 1", "a string")
    assert refused(read_value, NAMES, ["\ud800"], "faults[0].vms") == Refused(
        "faults[0].vms[0]", "half of a surrogate pair", "text that UTF-8 can carry"
    )


@pytest.mark.parametrize(
    "row, value, hint",
    [
        (SOURCE, "user", 'Did you mean "User"?'),
        (SOURCE, "x", ""),
        (STATUS, 41, 'Did you mean "410"?'),
    ],
)
def test_word_that_is_no_choice_brings_the_nearest(row: Parameter, value: Any, hint: str) -> None:
    assert refused(read_value, row, value).hint == hint


@pytest.mark.parametrize(
    "row, text, expected",
    [
        (TEXT, "1", "1"),
        (TEXT, "\udc80", "\udc80"),
        *((FLAG, word, True) for word in ("true", "True", "1", "YES")),
        *((FLAG, word, False) for word in ("false", "0", "No")),
        (COUNT, "7", 7),
        (COUNT, "007", 7),
        (SPAN, "7", 7),
        (SPAN, "7.50", 7.5),
        (SPAN, "1e3", 1000.0),
        (SPAN, "+.5", 0.5),
        (SPAN, "5.", 5.0),
        (NAMES, "a, b,", ("a", "b")),
        (STATUS, "410", 410),
        (SOURCE, "User", "User"),
        (ADDRESS, "a:80", 80),
        (WORD, 5, "5"),
        (WORD, "soon", "soon"),
        (WAIT, "7", 7),
        (WAIT, "1.5", 1.5),
        (WAIT, "-1", -1),
        (WAIT, "90s", 90),
        (WAIT, "2h30m", 9000),
        (WAIT, "1d1s", 86401),
        (WAIT, "0.25s", 0.25),
        (WAIT, "-0.5s", -0.5),
        (Parameter("life", int, "", metavar=DURATION), "1.5m", 90),
    ],
)
def test_text_is_parsed_by_the_type_of_its_row(row: Parameter, text: str, expected: object) -> None:
    got = read_value(row, text, text=True)
    assert (got, type(got)) == (expected, type(expected))


@pytest.mark.parametrize(
    "row, value, seen",
    [
        (TEXT, 1, "the number 1"),
        (FLAG, "maybe", '"maybe"'),
        (FLAG, "", '""'),
        (FLAG, 2, "the number 2"),
        (FLAG, 1.0, "the number 1.0"),
        (COUNT, "-1", '"-1"'),
        (COUNT, "5.0", '"5.0"'),
        (COUNT, 5.0, "the number 5.0"),
        (COUNT, "\u0665", '"\u0665"'),
        (COUNT, "9" * 61, f'"{"9" * 60}…"'),
        (SPAN, "nan", '"nan"'),
        (SPAN, "inf", '"inf"'),
        (SPAN, "1_0", '"1_0"'),
        (SPAN, " 1", '" 1"'),
        (SPAN, "1e300", '"1e300"'),
        (SPAN, "", '""'),
        (NAMES, "", '""'),
        (STATUS, "41", '"41"'),
        (ADDRESS, "a", '"a"'),
        *(
            (WAIT, text, f'"{text}"')
            for text in ("", "-", "10M", "10 m", "m", "1m1h", "-2m", "1ms", "2d", "1e3s")
        ),
        (SPAN, "90s", '"90s"'),
        (Parameter("life", int, "", metavar=DURATION), "0.5s", '"0.5s"'),
    ],
)
def test_text_that_cannot_be_parsed_is_refused(row: Parameter, value: object, seen: str) -> None:
    def read() -> None:
        read_value(row, value, "--x", text=True)

    assert refused(read)[:2] == ("--x", seen)


def test_expectation_of_a_duration_has_examples() -> None:
    assert WAIT.expected_text == (
        "a number from -1 to 86401: seconds, or a duration such as 90s, 10m or 2h30m"
    )
    assert SPAN.expected_text == SPAN.expected


def test_typed_duration_is_a_number() -> None:
    assert refused(lambda: read_value(WAIT, "90s"))[1] == 'the string "90s"'


@pytest.mark.parametrize(
    "row, expected",
    [
        (COUNT, "a whole number from 1 to 9"),
        (SPAN, "a number of at least 0"),
        (Parameter("most", int, "", maximum=9), "a whole number of at most 9"),
        (Parameter("name", str, "", minimum=1, maximum=64), "a string of 1 to 64 characters"),
        (Parameter("names", tuple, ""), "a list of strings"),
        (NAMES, "a list of 1 to 3 strings"),
        (FLAG, "true or false"),
        (STATUS, "one of 404, 410"),
    ],
)
def test_expectation_gives_type_bounds_and_choices(row: Parameter, expected: str) -> None:
    assert row.expected == expected


def test_length_of_a_string_is_bounded() -> None:
    row = Parameter("name", str, "A name.", minimum=1, maximum=3)
    assert read_value(row, "abc") == "abc"
    assert refused(read_value, row, "").where == refused(read_value, row, "abcd").where == "name"


@pytest.mark.parametrize(
    "text, at_s",
    [
        ("2026-11-22T19:54:46Z", 1_795_377_286),
        ("2026-11-22T20:54:46.5+01:00", 1_795_377_286.5),
    ],
)
def test_time_with_a_zone_is_read(text: str, at_s: float) -> None:
    assert parse_time(text) == at_s


@pytest.mark.parametrize("text", ["2026-11-22T19:54:46", "yesterday", ""])
def test_text_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(MisfitError, match="a time with its zone"):
        parse_time(text)


def test_fields_are_read_each_by_its_row() -> None:
    fields = {"name": "a", "count": 2, "vms": ["a"], "source": None}
    assert read_fields(ROWS, fields) == {"name": "a", "count": 2, "vms": ("a",), "flag": False}
    assert read_fields(ROWS, {"count": "2", "flag": "yes"}, text=True) == {"count": 2, "flag": True}


def test_absent_field_takes_its_default() -> None:
    assert read_fields(ROWS, {}) == {"flag": False}
    assert read_fields(ROWS, {"flag": None}) == {"flag": False}


@pytest.mark.parametrize("fields", [{}, {"status": None}])
def test_missing_required_field_is_refused(fields: dict[str, object]) -> None:
    assert refused(read_fields, [STATUS], fields) == Refused(
        "body", "no status", "status: one of 404, 410"
    )


@pytest.mark.parametrize("value, seen", [([], "a list of 0"), (None, "nothing (null)")])
def test_value_that_is_no_mapping_is_refused(value: object, seen: str) -> None:
    expected = "a mapping of names to values"
    assert refused(read_fields, ROWS, value) == Refused("body", seen, expected)
    assert refused(read_fields, ROWS, value, "events[0]").where == "events[0]"


def test_unknown_field_brings_the_nearest() -> None:
    names = "one of name, flag, count, span_s, vms, source"
    seen = 'unknown key "coumt"'
    expected = Refused("faults[0]", seen, names, 'Did you mean "count"?')
    assert refused(read_fields, ROWS, {"coumt": 1}, "faults[0]") == expected
    assert refused(read_fields, ROWS, {1: 1}) == Refused("body", 'unknown key "1"', names)


def test_misfit_of_a_field_names_its_path() -> None:
    assert refused(read_fields, ROWS, {"count": 0}).where == "count"
    assert refused(read_fields, ROWS, {"count": 0}, "a[1].b").where == "a[1].b.count"


@pytest.mark.parametrize("spelling", ["span_s", "spanS"])
def test_field_is_read_in_both_spellings(spelling: str) -> None:
    assert read_fields([SPAN], {spelling: 2}) == {"span_s": 2}
    assert refused(read_fields, [SPAN], {spelling: -1}, "a").where == f"a.{spelling}"


@pytest.mark.parametrize("value", [{"span_s": 1, "spanS": 1}, {"spanS": None, "span_s": 1}])
def test_field_in_both_spellings_at_once_is_refused(value: dict[str, object]) -> None:
    with pytest.raises(SpellingError) as caught:
        read_fields([SPAN], value, "events[0]")
    error = caught.value
    assert (error.where, error.seen) == ("events[0]", 'both "span_s" and "spanS"')
    assert error.hint == 'Keep "spanS"'


@pytest.mark.parametrize(
    "name, expected", [("until_s", "untilS"), ("vms", "vms"), ("api-version", "api-version")]
)
def test_camel_case_joins_the_words_of_a_name(name: str, expected: str) -> None:
    assert camel_case(name) == expected


def test_names_that_are_all_known_pass() -> None:
    check_names(["a", "b"], iter("ba"), "query")
    assert refused(check_names, ["a", "c"], ["a"], "query") == Refused(
        "query", 'unknown key "c"', "one of a"
    )


@pytest.mark.parametrize(
    "value, hint", [(1, "Put it in quotes"), ("a", ""), ([], ""), ({}, ""), (None, "")]
)
def test_bare_scalar_brings_the_advice_to_quote(value: object, hint: str) -> None:
    assert quote_hint(value) == hint


@pytest.mark.parametrize(
    "value,expected",
    [
        (None, "nothing (null)"),
        (False, "the boolean false"),
        (-3, "the number -3"),
        (0.5, "the number 0.5"),
        ("", 'the string ""'),
        ("x" * 60, f'the string "{"x" * 60}"'),
        ("x" * 61, f'the string "{"x" * 60}…"'),
        ([], "a list of 0"),
        ([1, 2], "a list of 2"),
        ({}, "a mapping with no members"),
        ({"a": 1, "b": 2, "c": 3, "d": 4}, "a mapping with a, b, c"),
        ({1: 2}, "a mapping with 1"),
        (b"x", "a value of type bytes"),
    ],
    ids=repr,
)
def test_value_is_described_with_its_type(value: object, expected: str) -> None:
    assert describe(value) == expected


@pytest.mark.parametrize(
    "word,expected",
    [
        ("vmsize", 'Did you mean "vmSize"?'),
        ("VMSIZE", 'Did you mean "vmSize"?'),
        ("vmSizes", 'Did you mean "vmSize"?'),
        ("locaton", 'Did you mean "location"?'),
        ("qqq", ""),
        ("", ""),
    ],
)
def test_nearest_name_is_found_in_any_letter_case(word: str, expected: str) -> None:
    assert nearest(word, ["vmSize", "vmId", "location"]) == expected


def test_old_names_are_collected_with_their_path() -> None:
    with old_names() as found:
        read_fields([SPAN, COUNT], {"span_s": 1, "count": 1}, "faults[0]")
        read_fields([SPAN], {"spanS": 1})
        with old_names() as inner:
            read_fields([WORD], {"retry_after": "1"})
    read_fields([SPAN], {"span_s": 1})
    assert found == {"faults[0].span_s": "spanS"}
    assert inner == {"body.retry_after": "retryAfter"}
    assert old_names_notice(found) == (
        "old names, which 1.0 no longer reads: faults[0].span_s (now spanS)"
    )
    assert old_names_notice({}) == ""


def test_collected_old_names_are_bounded() -> None:
    with old_names() as found:
        for place in range(MOST_OLD_NAMES + 5):
            read_fields([SPAN], {"span_s": 1}, f"events[{place}]")
    assert len(found) == MOST_OLD_NAMES
