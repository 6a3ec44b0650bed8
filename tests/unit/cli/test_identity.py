"""`openimds identity` against a fake admin API."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from click.testing import Result

from openimds.cli import client as client_module
from openimds.cli import identity
from openimds.cli.client import ChangedError, Client, ServerError
from openimds.vm.fleet_file import merge_patch
from openimds.vm.fleet_file import parse_vm as read_vm
from openimds.vm.serialize import encode_vm
from tests.unit.cli.runner import CliRunner

C, P, D = (
    "c0000000-0000-0000-0000-000000000001",
    "b0000000-0000-0000-0000-000000000002",
    "d0000000-0000-0000-0000-000000000003",
)
GROUP = "/subscriptions/s/resourceGroups/Lab/providers"
APP = f"{GROUP}/Microsoft.ManagedIdentity/userAssignedIdentities/app"
OPS = f"{GROUP}/Microsoft.ManagedIdentity/userAssignedIdentities/ops"
ROW = {
    "vm": "a",
    "kind": "system",
    "clientId": "c",
    "principalId": "p",
    "tenantId": "t",
    "source": "local",
    "forged": False,
}


class Api:
    """One VM, changed by merge patches; `before` is called before a patch."""

    def __init__(self) -> None:
        self.body: dict[str, Any] = {}
        self.revision = 1
        self.before: list[Callable[[], None]] = []
        self.calls: list[tuple[str, str, object]] = []
        self.rows: list[dict[str, Any]] = []

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        media: str = "application/json",
        revision: int | None = None,
    ) -> Any:
        self.calls.append((method, path, body))
        if path.endswith("/token"):
            return {"access_token": "eyJ", "client_id": C}
        if path.endswith("/identities") or path.startswith(("/v1/identities", "/v1/keys")):
            return {"items": self.rows, "next": None}
        if method == "PATCH":
            if self.before:
                self.before.pop()()
            assert media == "application/merge-patch+json"
            if revision != self.revision:
                raise ChangedError("a: it is at another revision; read it again and retry")
            self.change(body)
        return {"name": "a", "revision": self.revision, "origin": "api", **self.body}

    def change(self, patch: object) -> None:
        """Change the VM as a server does, or refuse a patch that does not fit."""
        changed = read_vm("a", merge_patch(self.body, patch))
        self.body = msgspec.json.decode(encode_vm(changed))
        self.revision += 1

    @property
    def identities(self) -> Any:
        return self.body.get("identities", {})


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Api:
    double = Api()
    (tmp_path / "token").write_text("x")
    monkeypatch.setenv("OPENIMDS_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setattr(
        Client, "ask", lambda _, *arguments, **named: double.ask(*arguments, **named)
    )
    return double


def run(*arguments: str) -> Result:
    return CliRunner().invoke(identity.command, arguments)


def done(*arguments: str) -> Result:
    got = run(*arguments)
    assert got.exit_code == 0, (got.output, got.exception)
    return got


def test_assigned_identity_is_added_to_the_others(api: Api) -> None:
    done("assign", "a", "--system")
    done("assign", "a", "--user", APP, "--client-id", C, "--principal-id", P)
    done("assign", "a", "--user", OPS, "--source", "entra")
    assert api.identities == {
        "system": True,
        "user": [APP, OPS],
        "details": {APP: {"clientId": C, "principalId": P}, OPS: {"source": "entra"}},
    }


def test_assigned_again_in_other_letter_case_is_changed(api: Api) -> None:
    done("assign", "a", "--user", APP, "--client-id", C)
    done("assign", "a", "--user", APP.upper(), "--source", "forge:expired")
    assert api.identities["user"] == [APP]
    assert api.identities["details"] == {APP: {"clientId": C, "source": "forge:expired"}}
    done("assign", "a", "--system", "--client-id", D)
    done("assign", "a", "--system")
    assert api.identities["details"]["system"] == {"clientId": D}


def test_assigned_claims_are_added_replaced_and_taken_back(api: Api) -> None:
    done(
        *("assign", "a", "--system", "--role", "Task.Read", "--role", "Task.Write", "--group", P),
        *("--claim", "level=3", "--claim", "on=[true]", "--claim", "text=a=b", "--claim", 'q="1"'),
    )
    assert api.identities["details"]["system"] == {
        "roles": ["Task.Read", "Task.Write"],
        "groups": [P],
        "claims": {"level": 3, "on": [True], "text": "a=b", "q": "1"},
    }
    done("assign", "a", "--system", "--role", "", "--claim", "on=", "--claim", "level=4")
    assert api.identities["details"]["system"] == {
        "groups": [P],
        "claims": {"level": 4, "text": "a=b", "q": "1"},
    }


@pytest.mark.parametrize("text", ["level", "=3", ""])
def test_claim_without_a_name_or_value_is_a_usage_error(api: Api, text: str) -> None:
    got = run("assign", "a", "--system", "--claim", text)
    assert got.exit_code == 2
    assert f'--claim: saw "{text}", expected NAME=JSON, such as level=3' in got.stderr
    assert api.calls == []


def test_removed_identity_takes_its_details_along(api: Api) -> None:
    for which in (["--system"], ["--user", APP], ["--user", OPS]):
        done("assign", "a", *which, "--client-id", C)
    got = done("remove", "a", "--user", APP.lower())
    assert got.stderr == f"a has lost the identity {APP.lower()} (revision 5)\n"
    assert api.identities["user"] == [OPS]
    assert api.identities["details"].keys() == {"system", OPS}
    done("remove", "a", "--system")
    assert (api.identities["user"], api.identities["details"].keys()) == ([OPS], {OPS})
    done("remove", "a", "--user", OPS)
    assert api.body == {}


@pytest.mark.parametrize("which", [["--system"], ["--user", OPS]])
def test_unassigned_identity_cannot_be_removed(api: Api, which: list[str]) -> None:
    done("assign", "a", "--user", APP)
    got = run("remove", "a", *which)
    assert isinstance(got.exception, identity.NoIdentityError)
    title = "the identity " + OPS if len(which) > 1 else "the system-assigned identity"
    hint = f'. Did you mean "{APP}"?' if len(which) > 1 else "; openimds identity list shows all"
    assert str(got.exception) == f"a does not have {title}{hint}"
    assert api.identities == {"user": [APP]}


def test_change_after_a_412_keeps_the_other_change(api: Api) -> None:
    api.before = [
        lambda: api.change({"identities": {"user": [OPS]}}),
        lambda: api.change({"identities": {"user": [OPS, f"{OPS}-2"], "system": True}}),
    ]
    done("assign", "a", "--user", APP)
    assert api.identities == {"system": True, "user": [OPS, APP]}
    api.before = [lambda: api.change({"identities": {"user": [OPS, f"{OPS}-3", APP]}})]
    done("remove", "a", "--user", APP)
    assert api.identities["user"] == [OPS, f"{OPS}-3"]


def test_change_is_refused_after_a_412_at_every_try(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "_MOST_TRIES", 3)
    api.before = [lambda: api.change({"classic": True})] * 9
    got = run("assign", "a", "--system")
    assert isinstance(got.exception, ServerError)
    assert str(got.exception) == "a: it is at another revision; read it again and retry"
    assert [method for method, _, _ in api.calls].count("PATCH") == 3


@pytest.mark.parametrize("command", ["assign", "remove"])
@pytest.mark.parametrize("which", [[], ["--system", "--user", APP], ["--user", ""]])
def test_no_identity_or_two_is_a_usage_error(api: Api, command: str, which: list[str]) -> None:
    got = run(command, "a", *which)
    assert got.exit_code == 2
    assert "Name one identity: --system, or --user RESOURCE_ID" in got.stderr
    assert api.calls == []


def test_assign_prints_the_client_id_or_json(api: Api) -> None:
    api.rows = [ROW, {**ROW, "kind": "user", "resourceId": APP, "clientId": "u"}]
    got = done("assign", "a", "--system")
    assert got.stderr == "a has the system-assigned identity, client id c (revision 2)\n"
    assert got.stdout == ""
    got = done("assign", "a", "--user", APP.upper(), "--json")
    assert (json.loads(got.stdout), got.stderr) == ([api.rows[1]], "")


def test_list_is_columns_for_a_pipe_or_json(api: Api) -> None:
    api.rows = [ROW, {**ROW, "kind": "user", "resourceId": APP}]
    got = done("list")
    assert got.stdout == (
        "VM\tKIND\tCLIENT ID\tPRINCIPAL ID\tSOURCE\tRESOURCE\n"
        "a\tsystem\tc\tp\tlocal\t\n"
        f"a\tuser\tc\tp\tlocal\t{APP}\n"
    )
    assert got.stderr == ""
    assert json.loads(done("list", "--json").stdout) == api.rows
    assert done("list", "--vm", "ä b").stdout == got.stdout
    assert [path for _, path, _ in api.calls] == [
        "/v1/identities?limit=1000",
        "/v1/identities?limit=1000",
        "/v1/vms/%C3%A4%20b/identities",
    ]


def test_list_warns_of_forged_tokens(api: Api) -> None:
    api.rows = [ROW, {**ROW, "source": "forge:unsigned", "forged": True}]
    got = done("list")
    assert "forge:unsigned" in got.stdout
    assert got.stderr == "1 of these give forged tokens: see the column SOURCE\n"


def test_forged_row_has_another_colour() -> None:
    forged = {**ROW, "forged": True}
    rows = [[column.cell(one) for column in identity.COLUMNS] for one in (ROW, forged)]
    styles = [{cell[1] for cell in row} for row in rows]
    assert styles == [{""}, {"bold red"}]


@pytest.mark.parametrize(
    "flags, selector",
    [
        ((), {}),
        (("--user", APP), {"resourceId": APP}),
        (("--client-id", C), {"clientId": C}),
    ],
)
def test_token_is_printed_alone(api: Api, flags: tuple[str, ...], selector: dict[str, str]) -> None:
    got = done("token", "ä b", "--resource", "https://vault.azure.net", *flags)
    assert (got.stdout, got.stderr) == ("eyJ\n", "")
    body = {"resource": "https://vault.azure.net", **selector}
    assert api.calls == [("POST", "/v1/vms/%C3%A4%20b/token", body)]


def test_token_as_json_is_the_whole_answer(api: Api) -> None:
    got = done("token", "a", "--resource", "https://vault.azure.net", "--json")
    assert json.loads(got.stdout) == {"access_token": "eyJ", "client_id": C}
    assert [method for method, _, _ in api.calls] == ["POST"]


@pytest.mark.parametrize(
    "flags, says",
    [
        (("--resource", "https://a", "--user", APP, "--client-id", C), "Name one identity"),
        ((), "Missing option '--resource'"),
    ],
)
def test_token_takes_a_resource_and_one_identity(
    api: Api, flags: tuple[str, ...], says: str
) -> None:
    got = run("token", "a", *flags)
    assert got.exit_code == 2
    assert says in got.stderr
    assert api.calls == []


def test_rotate_prints_the_new_key_and_the_end_of_the_old(api: Api) -> None:
    api.rows = [
        {"kid": "new", "began": "1", "retired": None, "publishedUntil": None},
        {"kid": "old", "began": "0", "retired": "1", "publishedUntil": "2026-11-23T21:54:46"},
    ]
    got = done("rotate")
    assert got.stderr == "new signs from now on\nold published until 2026-11-23T21:54:46\n"
    assert api.calls == [("POST", "/v1/keys", None)]
    assert json.loads(done("rotate", "--json").stdout) == api.rows


def test_client_sends_the_revision_as_if_match(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, str]] = []

    class Http:
        headers: ClassVar[dict[str, str]] = {}

        def __init__(self, *_: object, **__: object) -> None:
            self.status = 412

        def request(self, _m: str, _p: str, _d: object, headers: dict[str, str]) -> None:
            sent.append(headers)

        def getresponse(self) -> "Http":
            return self

        def read(self) -> bytes:
            return b'{"detail": "it is at another revision"}'

    (tmp_path / "token").write_text("x")
    monkeypatch.setenv("OPENIMDS_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setattr(client_module, "HTTPConnection", Http)
    with pytest.raises(ChangedError, match="it is at another revision"):
        Client().ask("PATCH", "/v1/vms/a", {}, revision=7)
    with pytest.raises(ChangedError):
        Client().ask("PATCH", "/v1/vms/a", {})
    assert [headers.get("If-Match") for headers in sent] == ['"7"', None]


def test_client_prints_the_warning_of_an_answer(capsys: pytest.CaptureFixture[str]) -> None:
    for value in ('299 openimds "until_s is \x1b[1mold"', "bare", ""):
        client_module._print_warning(value)
    assert capsys.readouterr().err == "openimds: until_s is \\x1b[1mold\nopenimds: bare\n"
