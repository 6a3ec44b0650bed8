"""Fields of forms from rows, and the JSON that they make."""

import json

import pytest

from openimds.admin.page.form_fields import body_of_form, form_fields
from openimds.parameters import DURATION, Parameter

TEXT = Parameter("text", str, "Like `this`.")
ROWS = (
    TEXT,
    Parameter("vms", tuple, "Names.", required=True),
    Parameter("in_s", float, "For --in.", metavar=DURATION),
    Parameter("count", int, "A number."),
    Parameter("is_on", bool, "A switch."),
    Parameter("word", str, "Either.", takes_whole=True),
    Parameter("needs", str, "A choice.", choices=("any", "all")),
)


def test_field_is_drawn_by_its_row() -> None:
    fields = {one.name: one for one in form_fields(ROWS, {"text": "typed"})}
    assert [one.kind for one in fields.values()] == [
        "text",
        "lines",
        "number",
        "number",
        "checkbox",
        "text",
        "choice",
    ]
    assert [one.label for one in fields.values()] == [
        "Text",
        "VMs, one a line",
        "In (seconds, or as 2h30m)",
        "Count",
        "Is on",
        "Word",
        "Needs",
    ]
    assert (fields["text"].value, fields["text"].help) == ("typed", "Like this.")
    assert (fields["vms"].is_required, fields["vms"].value) == (True, "")
    assert fields["in_s"].help == "For in."
    assert fields["needs"].choices == ("any", "all")


@pytest.mark.parametrize(
    "name, text, member, value",
    [
        ("text", " a\r\nb ", "text", " a\nb "),
        ("vms", "a, b\r\n\r\n <c> \n", "vms", ["a, b", "<c>"]),
        ("in_s", " 60 ", "inS", 60),
        ("in_s", "0.5", "inS", 0.5),
        ("in_s", "2h30m", "inS", 9000),
        ("in_s", "1e999", "inS", "1e999"),
        ("in_s", "nan", "inS", "nan"),
        ("in_s", "soon", "inS", "soon"),
        ("count", "-3", "count", -3),
        ("count", "3.5", "count", "3.5"),
        ("is_on", "true", "isOn", True),
        ("is_on", "on", "isOn", True),
        ("is_on", "perhaps", "isOn", "perhaps"),
        ("word", "410", "word", 410),
        ("word", "soon", "word", "soon"),
        ("needs", "all", "needs", "all"),
    ],
)
def test_text_becomes_a_member_of_its_type(
    name: str, text: str, member: str, value: object
) -> None:
    found = json.loads(body_of_form(ROWS, {name: text, "unknown": "x"}, kind="k"))
    assert found == {"kind": "k", member: value}


def test_empty_fields_make_no_members() -> None:
    assert body_of_form(ROWS, {row.name: " " for row in ROWS}) == b"{}"
