"""`openimds fault` against a fake admin API."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.shell_completion import ShellComplete
from click.testing import Result

from openimds.cli import fault
from openimds.errors import ConfigError
from openimds.facts.faults import EFFECTS
from openimds.facts.pages import PAGES
from openimds.facts.playbooks import PLAYBOOKS
from tests.unit.cli.runner import CliRunner

ROW = {
    "id": "7",
    "origin": "api",
    "effect": "status",
    "status": 410,
    "vms": ["a", "b"],
    "untilS": 70.0,
    "begun": "2026-11-22T19:54:46.000Z",
    "seen": 3,
    "played": 2,
}


class Api:
    """Records its calls."""

    def __init__(self) -> None:
        self.answer: Any = {"items": [ROW, {**ROW, "id": "8", "playbook": "throttled"}]}
        self.calls: list[tuple[str, str, object]] = []

    def ask(self, method: str, path: str, body: object = None) -> Any:
        self.calls.append((method, path, body))
        return self.answer


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    double = Api()
    monkeypatch.setattr(fault, "Client", lambda _: double)
    return double


def call(*arguments: str) -> Result:
    got = CliRunner().invoke(fault.command, arguments)
    if isinstance(got.exception, ConfigError):
        raise got.exception
    assert got.exit_code == 0, got.output
    return got


def test_set_sends_each_value_in_its_type(api: Api) -> None:
    got = call(
        *("set", "status", "status=410", "until_s=70", "seed=a=b", "probability=.5"),
        *("path=/metadata/*", "--vm", "a", "--vm", "b"),
    )
    assert got.output == "7\n8\n"
    assert api.calls == [
        (
            "POST",
            "/v1/faults",
            {
                "effect": "status",
                "status": 410,
                "untilS": 70.0,
                "seed": "a=b",
                "probability": 0.5,
                "path": "/metadata/*",
                "vms": ["a", "b"],
            },
        )
    ]


@pytest.mark.parametrize("key", ["until_s", "untilS"])
def test_set_takes_a_key_in_both_spellings(api: Api, key: str) -> None:
    call("set", "status", "status=410", f"{key}=70")
    body = {"effect": "status", "status": 410, "untilS": 70}
    assert api.calls == [("POST", "/v1/faults", body)]
    with pytest.raises(ConfigError, match="twice"):
        call("set", "status", "until_s=70", f"{key}=70")


def test_set_plays_a_playbook_by_its_name(api: Api) -> None:
    got = call("set", "partial-document", "fields=network,compute.tags", "--json")
    assert json.loads(got.output) == api.answer["items"]
    body = {"playbook": "partial-document", "fields": ("network", "compute.tags")}
    assert api.calls == [("POST", "/v1/faults", body)]


def test_set_reads_the_body_of_a_response_from_a_file(api: Api, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_bytes(b"<p>a=b</p>\n")
    (tmp_path / "raw").write_bytes(b"\xff")
    call(
        *("set", "response", "status=502", f"body_file={tmp_path}/page.html"),
        *("headers=Via: 1.1 a, 1.0 b", "headers=X: y"),
    )
    call("set", "response", "page=empty-200", f"bodyFile={tmp_path}/raw")
    assert [body for _, _, body in api.calls] == [
        {
            "effect": "response",
            "status": 502,
            "body": "<p>a=b</p>\n",
            "headers": ("Via: 1.1 a, 1.0 b", "X: y"),
        },
        {"effect": "response", "page": "empty-200", "bodyBase64": "/w=="},
    ]


def test_set_sends_the_edits_of_a_token_and_a_date(api: Api) -> None:
    call("set", "edited-token", "set=a=1,2", "set=b=", "drop=c,d", "expires_s=-60")
    call("set", "status", "status=503", "retry_after=date-60", "header=absent")
    edited = {"set": ("a=1,2", "b="), "drop": ("c", "d"), "expiresS": -60.0}
    dated = {"status": 503, "retryAfter": "date-60", "header": "absent"}
    assert [body for _, _, body in api.calls] == [
        {"effect": "edited-token", **edited},
        {"effect": "status", **dated},
    ]


def test_missing_file_of_a_body_is_reported(api: Api, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        call("set", "response", "status=502", f"body_file={tmp_path}/none")
    assert caught.value.where == "body_file"
    assert "no such file" in caught.value.seen
    assert api.calls == []


def test_list_shows_the_beginning_of_a_body_in_one_line(api: Api) -> None:
    body = "<p>\n\t" + "x" * 100
    row = {"id": "7", "origin": "api", "seen": 0, "played": 0, "effect": "response"}
    api.answer = {"items": [{**row, "status": 502, "body": body, "headers": ["A: b", "C: d"]}]}
    line = call("list").output.splitlines()[1]
    assert line.endswith(f"\tstatus=502 body=<p> {'x' * 56}… headers=A: b,C: d")
    assert json.loads(call("list", "--json").output)[0]["body"] == body


def test_describe_lists_the_pages_of_a_response() -> None:
    text = call("describe", "response").output
    pages = text.partition("\nPages:\n")[2].splitlines()
    assert [line.split()[0] for line in pages] == [*PAGES]
    value = json.loads(call("describe", "response", "--json").output)
    assert [page["key"] for page in value["pages"]] == [*PAGES]


@pytest.mark.parametrize(
    "arguments, where, hint",
    [
        (("statsu",), "NAME", 'Did you mean "status"?'),
        (("status", "statsu=1"), "statsu=1", 'Did you mean "status"?'),
        (("status", "status=gone"), "status", ""),
        (("delay", "delay_s=soon"), "delay_s", ""),
        (("status", "probability=nan"), "probability", ""),
        (("status", "until_s=inf"), "until_s", ""),
        (("status", "status=410", "status=404"), "status=404", ""),
        (("status", "effect=cut"), "effect=cut", ""),
        (("restart", "until_s=1"), "until_s=1", ""),
        (("status", "body_file=x"), "body_file=x", ""),
        (("response", "body=x", "body=y"), "body=y", ""),
        (("response", *(["headers=A: b"] * 33)), "headers", ""),
    ],
)
def test_mistake_is_reported_before_the_server_is_called(
    api: Api, arguments: tuple[str, ...], where: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        call("set", *arguments)
    assert (caught.value.where, caught.value.hint) == (where, hint)
    assert api.calls == []


def test_list_shows_parameters_and_counts(api: Api) -> None:
    assert call("list").output == (
        "ID\tFAULT\tSEEN\tPLAYED\tORIGIN\tPARAMETERS\n"
        "7\tstatus\t3\t2\tapi\tstatus=410 vms=a,b until_s=70\n"
        "8\tstatus\t3\t2\tthrottled\tstatus=410 vms=a,b until_s=70\n"
    )
    assert json.loads(call("list", "--json").output) == api.answer["items"]


def test_list_shows_large_numbers_to_the_last_digit(api: Api) -> None:
    api.answer = {"items": [{**ROW, "nth": 1234567}]}
    assert "nth=1234567\n" in call("list").output


def test_clear_deletes_all_faults_or_the_named_ones(api: Api) -> None:
    call("clear")
    call("clear", "7", "a/b")
    assert [one[:2] for one in api.calls] == [
        ("DELETE", "/v1/faults"),
        ("DELETE", "/v1/faults/7"),
        ("DELETE", "/v1/faults/a%2Fb"),
    ]


def test_describe_lists_everything_without_a_server() -> None:
    text = call("describe").output
    assert all(f"  {key} " in text for key in (*EFFECTS, *PLAYBOOKS))


@pytest.mark.parametrize("name", [*EFFECTS, *PLAYBOOKS])
def test_describe_prints_reason_evidence_and_parameters(name: str) -> None:
    text = call("describe", name).output
    one = EFFECTS.get(name) or PLAYBOOKS[name]
    assert text.startswith(f"{one.about}\n\nWhy: {one.why}\nEvidence: {one.evidence.mark}")
    is_public = any(
        EFFECTS[str(line["effect"])].resource
        for line in (PLAYBOOKS[name].lines if name in PLAYBOOKS else ({"effect": name},))
    )
    assert ("  vms " in text) is not is_public
    for row in one.parameters:
        assert f"  {row.name} " in text


def completed(*words: str) -> list[str]:
    """Return the completions of the last word of `openimds fault`."""
    complete = ShellComplete(fault.command, {}, "fault", "_FAULT_COMPLETE")
    *before, last = words
    return [item.value for item in complete.get_completions(before, last)]


@pytest.mark.parametrize(
    "words, expected",
    [
        (("set", "edi"), ["edited-token"]),
        (("set", "b"), ["blackhole", "boot-race"]),
        (("describe", "missing-c"), ["missing-challenge"]),
        (("set", "edited-token", "e"), ["endpoint=", "every=", "expires_s="]),
        (("set", "status", "status=429", "re"), ["retry_after="]),
        (("set", "blackhole", ""), ["vms=", "from_s=", "until_s="]),
        (("set", "cut", "h"), ["header="]),
        (("set", "unknown", ""), []),
    ],
)
def test_shell_completes_faults_and_their_keys(words: tuple[str, ...], expected: list[str]) -> None:
    assert completed(*words) == expected


def test_show_is_a_hidden_alias_of_describe() -> None:
    assert call("show", "status").output == call("describe", "status").output
    assert json.loads(call("show", "--json").output) == json.loads(
        call("describe", "--json").output
    )
    listed = call("--help").output.partition("Commands:")[2]
    assert " describe " in listed
    assert " show " not in listed


def test_describe_prints_defaults_and_choices() -> None:
    text = call("describe", "missing-fields").output
    assert (
        "  leave        Whether the fields are missing or empty. Default: missing. "
        "One of missing, empty.\n" in text
    )


def test_describe_prints_json() -> None:
    every = json.loads(call("describe", "--json").output)
    assert [one.get("effect") or one["playbook"] for one in every] == [*EFFECTS, *PLAYBOOKS]
    one = json.loads(call("describe", "missing-fields", "--json").output)
    assert one in every
    assert one["evidence"]["mark"] == "documented"
    assert one["parameters"][-1] == {
        "name": "leave",
        "sort": "a string",
        "about": "Whether the fields are missing or empty.",
        "default": "missing",
        "least": None,
        "most": None,
        "choices": ["missing", "empty"],
        "required": False,
    }
    with pytest.raises(ConfigError, match='Did you mean "trickle"'):
        call("describe", "trikle", "--json")
