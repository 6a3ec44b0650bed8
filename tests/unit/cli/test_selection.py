"""Commands that act on many VMs, against a fake admin API."""

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs

import click
import msgspec
import pytest
from click.testing import Result

from openimds.cli import complete, event, fault, identity, move, requests, selection, vm
from openimds.cli.client import MissingError, ServerError
from openimds.cli.selection import NoVmError, Selection, complete_name, complete_select
from openimds.errors import ConfigError
from tests.unit.cli.runner import CliRunner

MODULES = {
    "vm": vm,
    "event": event,
    "fault": fault,
    "identity": identity,
    "requests": requests,
    "move": move,
}


class Api:
    """A server with some VMs, which notes what is asked of it."""

    def __init__(self) -> None:
        self.names = ["web-1", "web-2", "web-3", "web-4"]
        self.calls: list[tuple[Any, ...]] = []
        self.queries: list[tuple[str, dict[str, object]]] = []
        self.events: list[dict[str, Any]] = []
        self.hosts = dict.fromkeys(self.names, "h1")
        self.is_absent = False
        self.removed: set[str] = set()
        self.refused = ""

    def items(
        self, path: str, only: Mapping[str, object] | None = None
    ) -> Iterator[dict[str, Any]]:
        self.queries.append((path, dict(only or {})))
        if path == "/v1/events":
            yield from self.events
        elif path == "/v1/hosts":
            yield {"name": "h2", "state": "joined"}
        else:
            yield from ({"name": name} for name in self.names)

    def page(self, path: str, query: Mapping[str, object]) -> list[dict[str, Any]]:
        if self.is_absent:
            raise ServerError("no server")
        return [*self.items(path, query)]

    def ask(
        self, method: str, path: str, body: Any = None, media: str = "", revision: int | None = None
    ) -> Any:
        if method != "GET":
            self.calls.append((method, path, body))
        if self.refused and self.refused in path:
            raise ServerError("no")
        name = path.rpartition("/")[2]
        if path.endswith("/placement"):
            return {"lacking": []}
        if method == "PATCH" and path.startswith("/v1/vms?"):
            return self.patched(parse_qs(path.partition("?")[2])["name"][0].split(","))
        if path.startswith("/v1/faults"):
            items = [{"id": "1", "vms": ["web-1"], "isOver": False}]
            items.append({"id": "2", "vms": ["web-2"], "isOver": True})
            return {"items": items}
        if path.startswith("/v1/events/"):
            return {**self.event(path.split("/")[3]), "status": "Started"}
        if path == "/v1/events":
            return {"items": [self.event("X")]}
        if path.endswith("/identities"):
            return {"items": [{"vm": "web-1", "clientId": "c", "forged": False, "kind": "system"}]}
        if method == "PATCH" and "nextHost" in body:
            host = body.get("host", self.hosts[name])
            self.hosts[name] = host
            return {"name": name, "revision": 2, "host": host, "nextHost": body["nextHost"] or ""}
        known = {"identities": {"system": True}, "host": self.hosts.get(name, "")}
        return {"name": name, "revision": 2, **known}

    def patched(self, names: list[str]) -> dict[str, Any]:
        if {*names} <= self.removed:
            raise MissingError("selects no VM")
        return {
            "items": [
                {"name": name, "revision": 7, "existed": name not in self.removed} for name in names
            ]
        }

    def event(self, event_id: str, status: str = "Scheduled", *vms: str) -> dict[str, Any]:
        return {
            "id": event_id,
            "type": "Reboot",
            "status": status,
            "notBefore": "2026-11-22T20:00:00.000Z",
            "approved": False,
            "approvals": [],
            "vms": [*vms],
            "scope": "s",
        }


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    double = Api()
    for module in (complete, event, fault, identity, move, requests, selection):
        monkeypatch.setattr(module, "Client", lambda _: double)
    monkeypatch.setattr(vm, "_client", lambda _: double)
    return double


def call(*words: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(MODULES[words[0]].command, words[1:], input=answer)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "can_ask", lambda: True)


ACTS: dict[str, tuple[str, ...]] = {
    "remove": ("vm", "remove"),
    "schedule": ("event", "schedule", "Reboot"),
    "set": ("fault", "set", "status", "status=410"),
    "clear": ("fault", "clear"),
    "assign": ("identity", "assign", "--system"),
    "take": ("identity", "remove", "--system"),
    "move": ("move", "--to", "h2"),
}


@pytest.mark.parametrize("words", ACTS.values(), ids=ACTS)
@pytest.mark.usefixtures("terminal")
def test_acting_on_many_asks_once_with_count_and_names(api: Api, words: tuple[str, ...]) -> None:
    got = call(*words, "--vm", "web-*", answer="n\n")
    assert got.exit_code == 1
    assert "4 VMs (web-1, web-2, web-3 and 1 more)? [y/N]" in got.stderr
    assert not api.calls
    got = call(*words, "--vm", "web-*", answer="y\n")
    assert got.exit_code == 0, got.stderr
    assert got.stderr.count("[y/N]") == 1
    assert api.calls


@pytest.mark.parametrize("words", ACTS.values(), ids=ACTS)
def test_dry_run_lists_and_changes_nothing(api: Api, words: tuple[str, ...]) -> None:
    got = call(*words, "--select", "tag=env:prod", "--dry-run")
    assert (got.exit_code, got.stdout.split()) == (0, api.names)
    assert ("/v1/vms", {"select": "tag=env:prod", "fields": "name"}) in api.queries
    assert not api.calls


@pytest.mark.parametrize("words", ACTS.values(), ids=ACTS)
@pytest.mark.parametrize("every", [("--all",), ("--vm", "*")])
def test_change_of_all_needs_yes_without_a_terminal(
    api: Api, words: tuple[str, ...], every: tuple[str, ...]
) -> None:
    error = call(*words, *every).exception
    assert isinstance(error, ConfigError)
    assert "4 VMs, expected --yes. Type --dry-run to see them" in str(error)
    assert not api.calls
    assert call(*words, *every, "--yes").exit_code == 0
    assert api.calls


def test_selector_needs_no_yes_without_a_terminal(api: Api) -> None:
    assert call("vm", "remove", "--select", "tag=env:test").exit_code == 0
    assert api.calls == [("PATCH", "/v1/vms?name=web-1,web-2,web-3,web-4", msgspec.Raw(b"null"))]


@pytest.mark.usefixtures("terminal")
def test_typed_names_are_sent_without_a_question(api: Api) -> None:
    got = call("event", "schedule", "Reboot", "--vm", "a", "b", "a")
    assert got.exit_code == 0
    assert api.queries == []
    assert api.calls == [("POST", "/v1/events", {"type": "Reboot", "vms": ["a", "b"]})]


@pytest.mark.usefixtures("terminal")
def test_pattern_asks_even_for_one_vm(api: Api) -> None:
    api.names = ["web-1"]
    got = call("vm", "remove", "web-*", answer="n\n")
    assert "Remove 1 VM (web-1)? [y/N]" in got.stderr
    assert not api.calls


@pytest.mark.usefixtures("terminal")
def test_name_with_wildcards_of_a_vm_needs_no_question(api: Api) -> None:
    api.names = ["web[1]"]
    assert call("vm", "remove", "web[1]").exit_code == 0
    assert api.calls[0][1] == "/v1/vms?name=web%5B%5B%5D1%5D"


@pytest.mark.parametrize(
    "words",
    [
        ("vm", "remove", "--select", "", "--yes"),
        ("vm", "remove", "--vm", "", "--vm", "a", "--yes"),
        ("vm", "remove", "", "web-*", "--yes"),
        ("fault", "clear", "--vm", ""),
        ("fault", "clear", "--select", "tag=a", "--select", ""),
        ("fault", "clear", ""),
        ("fault", "set", "status", "status=410", "--vm", ""),
        ("event", "cancel", "--select", ""),
        ("event", "cancel", "--vm", ""),
        ("identity", "assign", "", "--system"),
        ("requests", "--select", ""),
    ],
    ids=" ".join,
)
def test_empty_text_is_refused_and_hits_nothing(api: Api, words: tuple[str, ...]) -> None:
    got = call(*words)
    assert got.exit_code == 2, got.output
    assert '"" is an empty text; is a variable of the shell unset?' in got.stderr
    assert not api.calls


def test_query_keeps_texts_that_are_empty() -> None:
    assert Selection(("",), ("",)).query == {"name": "", "select": ""}
    assert Selection().query == {}


@pytest.mark.parametrize(
    "words, listed",
    [
        (("fault", "set", "status", "status=410"), ["web-1", "web-2", "web-3", "web-4"]),
        (("fault", "clear"), ["1", "2"]),
        (("fault", "clear", "7"), ["7"]),
    ],
    ids=str,
)
def test_dry_run_of_all_faults_changes_nothing(
    api: Api, words: tuple[str, ...], listed: list[str]
) -> None:
    assert call(*words, "--dry-run").stdout.split() == listed
    assert not api.calls


@pytest.mark.usefixtures("terminal")
def test_clearing_all_faults_asks_on_a_terminal(api: Api) -> None:
    got = call("fault", "clear", answer="n\n")
    assert "Clear 2 faults (1, 2)? [y/N]" in got.stderr
    assert not api.calls
    assert call("fault", "clear", "--yes").exit_code == 0
    assert call("fault", "clear", "7").exit_code == 0
    assert [path for _, path, _ in api.calls] == ["/v1/faults", "/v1/faults/7"]


def test_vm_removed_since_the_look_up_is_not_made(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.removed = {"web-2", "web-4"}
    monkeypatch.setattr(selection, "_TOGETHER", 3)
    got = call("vm", "patch", "web-*", "-", answer="{}")
    assert got.stderr.splitlines() == [f"web-{n} changed (revision 7)" for n in (1, 3)]
    api.removed = {*api.names}
    assert isinstance(call("vm", "remove", "web-*").exception, MissingError)


def test_queries_by_name_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "_LONGEST_QUERY", 10)
    queries = [*selection._queries(["abcd", "efgh", "ijkl", "a,b\\", "x" * 99])]
    assert queries == [
        "name=abcd,efgh",
        "select=name%3Da%5C%2Cb%5C%5C",
        "name=ijkl",
        f"name={'x' * 99}",
    ]


def test_lines_before_an_error_are_printed(api: Api) -> None:
    api.refused = "Y"
    got = call("event", "cancel", "X", "Y")
    assert (got.stderr, str(got.exception)) == ("X Started\n", "no")
    api.refused = "web-2"
    got = call("identity", "assign", "web-1", "web-2", "--system")
    assert got.stderr.startswith("web-1 has the system-assigned identity")
    assert str(got.exception) == "no"


def test_selection_without_a_vm_is_an_error(api: Api) -> None:
    api.names = []
    error = call("vm", "remove", "--vm", "app-*", "--select", "zone=1").exception
    assert isinstance(error, NoVmError)
    assert str(error).startswith("No VM fits --vm app-* --select zone=1; openimds vm list")


def test_typed_name_beside_a_pattern_has_to_exist(api: Api) -> None:
    error = call("vm", "remove", "web-*", "wbe-9").exception
    assert isinstance(error, NoVmError)
    assert 'no VM "wbe-9"' in str(error)
    assert not api.calls


@pytest.mark.parametrize(
    "words",
    [
        ("vm", "remove"),
        ("vm", "patch"),
        ("vm", "patch", "-"),
        ("vm", "remove", "--all", "web-1"),
        ("vm", "remove", "--all", "--select", "zone=1"),
        ("event", "schedule", "Reboot"),
        ("event", "start"),
        ("event", "start", "X", "--vm", "a"),
        ("fault", "clear", "1", "--vm", "a"),
        ("identity", "assign", "--system"),
        ("move", "--to", "h2"),
        ("requests", "--clear", "--vm", "a"),
        ("requests", "--vm", "", "--vm", "a"),
    ],
    ids=" ".join,
)
def test_no_choice_or_two_is_a_usage_error(api: Api, words: tuple[str, ...]) -> None:
    got = call(*words, answer="{}")
    assert got.exit_code == 2, got.output
    assert not api.calls


def test_patch_changes_chosen_vms_together(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "_TOGETHER", 3)
    got = call("vm", "patch", "web-*", "-", answer='{"compute": {"zone": "1"}}')
    assert got.exit_code == 0
    change = {"compute": {"zone": "1"}}
    assert api.calls == [
        ("PATCH", "/v1/vms?name=web-1,web-2,web-3", change),
        ("PATCH", "/v1/vms?name=web-4", change),
    ]
    assert got.stderr.splitlines()[0] == "web-1 changed (revision 7)"


def test_patch_of_typed_names_checks_that_they_exist(api: Api) -> None:
    assert call("vm", "patch", "a", "b", "-", answer="{}").exit_code == 0
    assert api.calls == [("PATCH", "/v1/vms?name=a,b", {})]
    error = call("vm", "patch", "a", "b", "-", answer="null").exception
    assert isinstance(error, ConfigError)


def test_orders_go_to_events_that_hit_a_chosen_vm(api: Api) -> None:
    api.events = [
        api.event("X", "Scheduled", "web-1", "db"),
        api.event("Y", "Started", "web-1"),
        api.event("Z", "Scheduled", "db"),
    ]
    got = call("event", "start", "--vm", "web-1")
    assert got.exit_code == 0
    assert api.calls == [("POST", "/v1/events/X/start", None)]
    assert call("event", "complete", "--vm", "web-1", "--json").exit_code == 0
    assert api.calls[1:] == [("POST", "/v1/events/Y/complete", None)]
    error = call("event", "complete", "--vm", "db").exception
    assert isinstance(error, NoVmError)
    assert str(error) == "No started event hits a VM of --vm db"


def test_orders_of_a_selector_ask_the_server(api: Api) -> None:
    api.events = [api.event("X", "Scheduled", "web-1")]
    assert call("event", "approve", "--select", "tag=a", "--vm", "w*").exit_code == 0
    assert api.queries == [("/v1/events", {"name": "w*", "select": "tag=a"})]


@pytest.mark.usefixtures("terminal")
def test_several_ids_are_ordered_without_a_question(api: Api) -> None:
    got = call("event", "cancel", "X", "Y", "--json")
    assert [one["id"] for one in json.loads(got.stdout)] == ["X", "Y"]


def test_dry_run_of_orders_lists_ids(api: Api) -> None:
    api.events = [api.event("X", "Scheduled", "web-1")]
    got = call("event", "start", "--all", "--dry-run", "--json")
    assert json.loads(got.stdout) == ["X"]


def test_cleared_faults_are_named(api: Api) -> None:
    got = call("fault", "clear", "--vm", "web-*")
    assert got.stderr.splitlines() == ["1 no longer hits web-1", "2 is cleared"]
    assert api.calls == [("DELETE", "/v1/faults?name=web-1,web-2,web-3,web-4", None)]
    assert call("fault", "clear", "--all", "--yes").exit_code == 0
    assert api.calls[1:] == [("DELETE", "/v1/faults", None)]


def test_fault_of_all_vms_names_none(api: Api) -> None:
    assert call("fault", "set", "status", "status=410", "--all", "--yes").exit_code == 0
    assert api.calls == [("POST", "/v1/faults", {"effect": "status", "status": 410})]


def test_identity_is_removed_where_a_chosen_vm_has_it(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = {"web-2"}
    monkeypatch.setattr(identity, "_of", lambda _, name: [{"kind": "system"}] * (name in held))
    got = call("identity", "remove", "web-*", "--system")
    assert got.exit_code == 0
    assert [path for _, path, _ in api.calls] == ["/v1/vms/web-2"]
    held.clear()
    error = call("identity", "remove", "web-*", "--system").exception
    assert str(error) == "No VM of --vm web-* has the system-assigned identity"


def test_move_leaves_out_vms_that_are_there(api: Api) -> None:
    api.hosts |= {"web-1": "h2", "web-2": ""}
    got = call("move", "web-*", "--to", "h2")
    assert got.stderr.splitlines() == ["web-3 moved from h1 to h2", "web-4 moved from h1 to h2"]
    error = call("move", "web-*", "--to", "h2").exception
    assert str(error) == "no VM of --vm web-* is to move"
    assert "is to move" in str(call("move", "web-*", "--cancel").exception)


@pytest.mark.parametrize(
    "words, query",
    [
        (("--vm", "a"), {"vm": "a"}),
        (("--vm", ""), {"vm": ""}),
        (("--vm", "a", "--vm", "b"), {"name": "a,b"}),
        (("--vm", "a*", "--status", "200"), {"name": "a*", "status": 200}),
        (("--select", "zone=1", "--select", "tag=a"), {"select": "zone=1,tag=a"}),
        ((), {}),
    ],
)
def test_requests_of_chosen_vms_are_asked_for(
    api: Api, words: tuple[str, ...], query: dict[str, object]
) -> None:
    api.names = []
    assert call("requests", *words).exit_code == 0
    assert api.queries == [("/v1/requests", query)]


def test_lists_ask_for_the_chosen_vms(api: Api) -> None:
    api.names = []
    assert call("event", "list", "--select", "zone=1").exit_code == 0
    assert call("identity", "list", "--vm", "a*").exit_code == 0
    assert call("identity", "list", "--vm", "web-1", "--output", "name").stdout == "c\n"
    assert api.queries == [
        ("/v1/events", {"select": "zone=1"}),
        ("/v1/identities", {"name": "a*"}),
    ]


def test_shell_completes_names_and_keys(api: Api) -> None:
    context = click.Context(vm.command)
    option = click.Option(["--vm"])
    assert [one.value for one in complete_name(context, option, "we")] == api.names
    assert api.queries == [("/v1/vms", {"name": "we*", "fields": "name", "limit": 100})]
    assert complete_name(context, option, "we*") == []
    api.is_absent = True
    assert complete_name(context, option, "we") == []
    assert [one.value for one in complete_select(context, option, "tag=a,lo")] == [
        "tag=a,location="
    ]


def test_options_are_named_as_they_were_typed() -> None:
    assert Selection(is_all=True).options == "--all"
    assert Selection(("a",), ("b=c",)).options == "--vm a --select b=c"
    assert not Selection().is_given


def test_question_needs_two_ends_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stderr.isatty", lambda: False, raising=False)
    assert not selection.can_ask()
