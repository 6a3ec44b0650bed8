"""The alert rules and the dashboard name only metrics and commands that exist."""

import json
import re
from typing import Any

import click
import pytest

from openimds.admin.metrics import METRICS
from openimds.cli.main import command as openimds
from scripts.monitoring import FOLDER, queries, rules

UNITS = ("status ", "reload ", "edit ", "-u ")
"""Words before the name of a unit of systemd."""
EXPOSED = {name for row in METRICS.values() for name in row.sample_names}
LABELS = {
    name: {*row.labels, "le", "instance", "job"}
    for row in METRICS.values()
    for name in row.sample_names
}
QUERIES = {**queries(), **{rule["alert"]: rule["expr"] for rule in rules()}}
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text("utf-8"))


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES.keys())
def test_query_names_only_metrics_and_labels_that_exist(query: str) -> None:
    for name, labels in re.findall(r"\b(openimds_[a-z_]+)(?:{([^}]*)})?", query):
        assert name in EXPOSED
        assert {*re.findall(r"(\w+)(?==)", labels)} <= LABELS[name]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_rule_says_what_happened_and_what_to_type(rule: dict[str, Any]) -> None:
    notes = rule["annotations"]
    assert notes.keys() == {"summary", "runbook"}
    assert notes["summary"].endswith(".")
    assert notes["runbook"].endswith((".", ":"))
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_commands_and_options_of_a_runbook_exist(rule: dict[str, Any]) -> None:
    text = rule["annotations"]["runbook"]
    for found_words in re.finditer(r"openimds ((?:[a-z]+ ?)+)", text):
        words = found_words[1]
        if text[: found_words.start()].endswith(UNITS):
            continue
        command: click.Command = openimds
        context = click.Context(openimds)
        for word in words.split():
            if not isinstance(command, click.Group):
                break
            found = command.get_command(context, word)
            assert found is not None, f"openimds {words}"
            command = found
    options = set(re.findall(r"--[a-z-]+", text))
    assert options <= known_options()


def known_options() -> set[str]:
    """Return every option of every command."""
    found: set[str] = set()
    commands: list[click.Command] = [openimds]
    while commands:
        command = commands.pop()
        found |= {option for one in command.params for option in one.opts}
        if isinstance(command, click.Group):
            context = click.Context(command)
            names = command.list_commands(context)
            commands += [one for name in names if (one := command.get_command(context, name))]
    return found


def test_every_alert_has_a_unit_test() -> None:
    tested = re.findall(r"name: (\w+)", (FOLDER / "rules.test.yaml").read_text("utf-8"))
    assert tested == [rule["alert"] for rule in rules()]


def test_dashboard_has_its_variables_rows_and_all_queries() -> None:
    names = [variable["name"] for variable in DASHBOARD["templating"]["list"]]
    assert names == ["datasource", "instance"]
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows == ["Now", "Guests", "Control", "Hosts", "Trust"]
    shown = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
    assert sorted(shown) == sorted(queries().values())
    places = [tuple(panel["gridPos"].values()) for panel in DASHBOARD["panels"]]
    assert len({*places}) == len(places)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(places)
