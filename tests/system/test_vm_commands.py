"""The commands that change a running server."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.system.process import Server, run, serving

pytestmark = pytest.mark.system

INPUTS = Path(__file__).parents[1] / "unit" / "interop" / "importers" / "inputs"
HEAD = "NAME\tSIZE\tLOCATION\tZONE\tORIGIN\tREVISION\tSTATE"
LEAF = "/metadata/instance/compute/zone?api-version=2021-02-01&format=text"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving("--state", "lab", cwd=tmp_path) as started:
        yield started


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for commands that fail; its one VM stays as it is."""
    folder = tmp_path_factory.mktemp("unchanged")
    with serving("--state", "lab", cwd=folder) as started:
        yield started
        code, listed, _ = vm(started, folder, "list", "--json")
        assert (code, [row["revision"] for row in json.loads(listed)]) == (0, [1])


def vm(server: Server, cwd: Path, *arguments: str) -> tuple[int, str, str]:
    got = run("vm", *arguments, cwd=cwd, **server.variables)
    return got.returncode, got.stdout, got.stderr


def write(folder: Path, name: str, value: object) -> str:
    (folder / name).write_text(json.dumps(value))
    return name


def test_vm_is_put_patched_shown_listed_and_removed(server: Server, tmp_path: Path) -> None:
    new = write(tmp_path, "new.json", {"name": "db", "compute": {"zone": "1"}})
    assert vm(server, tmp_path, "put", new) == (0, "", "db put (revision 2)\n")
    with httpx2.Client(base_url=server.url, headers={"Metadata": "true"}) as guest:
        assert guest.get(LEAF).text == "1"
        patch = write(tmp_path, "patch.json", {"compute": {"zone": "2"}})
        assert vm(server, tmp_path, "patch", "db", patch) == (0, "", "db changed (revision 4)\n")
        assert guest.get(LEAF).text == "2"
    code, shown, _ = vm(server, tmp_path, "show", "db", "--api-version", "2021-02-01")
    assert (code, json.loads(shown)["compute"]["zone"]) == (0, "2")
    assert vm(server, tmp_path, "list") == (
        0,
        f"{HEAD}\ndb\tStandard_D2s_v5\twesteurope\t2\tapi\t4\tserved\n",
        "",
    )
    assert vm(server, tmp_path, "remove", "db") == (0, "", "db removed\n")
    assert json.loads(vm(server, tmp_path, "list", "--json")[1]) == []


def test_a_fleet_file_is_put_with_its_defaults(server: Server, tmp_path: Path) -> None:
    fleet = {"defaults": {"compute": {"zone": "3"}}, "vms": {"a": {}, "b": {"classic": True}}}
    code, printed, _ = vm(server, tmp_path, "put", write(tmp_path, "f.json", fleet), "--json")
    assert code == 0
    assert [(row["name"], row["compute"]) for row in json.loads(printed)] == [
        ("a", {"zone": "3"}),
        ("b", {"zone": "3"}),
    ]


def test_a_long_list_comes_in_pages(server: Server, tmp_path: Path) -> None:
    fleet: dict[str, dict[str, object]] = {"vms": {f"vm-{number:04}": {} for number in range(1100)}}
    assert vm(server, tmp_path, "put", write(tmp_path, "f.json", fleet))[0] == 0
    names = [row["name"] for row in json.loads(vm(server, tmp_path, "list", "--json")[1])]
    assert names == sorted(fleet["vms"])


def test_a_captured_document_is_imported(server: Server, tmp_path: Path) -> None:
    body = {"compute": {"name": "real", "zone": "2", "newThing": "x"}, "network": {}}
    file = write(tmp_path, "captured.json", body)
    code, _, err = vm(server, tmp_path, "import", file)
    assert (code, err) == (
        0,
        (
            "real: compute.newThing has no place in the metadata and is left out\n"
            "real put (revision 2)\n"
        ),
    )
    code, printed, _ = vm(server, tmp_path, "import", file, "--dry-run")
    assert json.loads(printed)["vms"]["real"]["compute"] == {"name": "real", "zone": "2"}


def test_import_of_an_unreadable_value_changes_nothing(server: Server, tmp_path: Path) -> None:
    compiled = INPUTS / "arm_compiled_functions.json"
    before = vm(server, tmp_path, "list", "--json")[1]
    code, printed, err = vm(server, tmp_path, "import", str(compiled))
    assert (code, printed) == (3, "")
    *_, unread, summary = err.splitlines()
    assert unread == (
        "lab-vm: resources[2].location could not be read: [parameters('place')]: "
        "resourceGroup().location needs --location"
    )
    assert summary == (
        "openimds: 1 value could not be read, and nothing was imported. "
        "Give what is missing, or --partial to import without"
    )
    assert vm(server, tmp_path, "list", "--json")[1] == before
    code, _, err = vm(server, tmp_path, "import", str(compiled), "--location", "westus")
    assert code == 0
    assert "could not be read" not in err
    code, _, err = vm(server, tmp_path, "import", str(compiled), "--partial")
    assert (code, unread in err) == (0, True)


@pytest.mark.parametrize("made_by", ["az_vm_show_identity", "terraform_state_identity"])
def test_program_gets_a_token_by_its_production_client_id(
    server: Server, tmp_path: Path, made_by: str
) -> None:
    path = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net"
    client = "cccccccc-0000-4000-8000-000000000003"
    assert vm(server, tmp_path, "remove", "vm-1")[0] == 0
    file = str(INPUTS / f"{made_by}.json")
    assert vm(server, tmp_path, "import", file)[0] == 0
    with httpx2.Client(base_url=server.url, headers={"Metadata": "true"}) as guest:
        got = guest.get(f"{path}&client_id={client}")
        assert got.status_code == 200
        assert got.json()["client_id"] == client
        payload = got.json()["access_token"].split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
        assert claims["appid"] == client
        assert claims["oid"] == "dddddddd-0000-4000-8000-000000000004"
        assert claims["tid"] == "bbbbbbbb-0000-4000-8000-000000000002"
        other = guest.get(f"{path}&client_id=cccccccc-0000-4000-8000-000000000009")
        assert other.status_code == 400


@pytest.mark.parametrize(
    "arguments,code,message",
    [
        (["show", "nobody"], 1, 'There is no VM "nobody"; GET /v1/vms lists them'),
        (["remove", "nobody"], 1, 'There is no VM "nobody"; GET /v1/vms lists them'),
        (["put", "none.json"], 2, "none.json: saw no such file or directory, expected a file that"),
        (["put", "bad.json"], 2, 'bad.json: vms.a: saw unknown key "x", expected one of'),
        (["put", "odd.json"], 2, "odd.json: top level: saw a list of 0, expected a fleet file, or"),
        (["patch", "vm-1", "bad.json"], 1, 'vms.vm-1: saw unknown key "vms", expected one of'),
    ],
)
def test_impossible_command_is_refused_with_one_line(
    unchanged: Server, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    write(tmp_path, "bad.json", {"vms": {"a": {"x": 1}}})
    write(tmp_path, "odd.json", [])
    got, out, error = vm(unchanged, tmp_path, *arguments)
    assert (got, out) == (code, "")
    assert error.startswith(f"openimds: {message}")
    assert error.count("\n") == 1


def test_command_without_a_server_names_the_remedy(tmp_path: Path) -> None:
    where = {"OPENIMDS_ADMIN": "http://127.0.0.1:1"}
    (tmp_path / "token").write_text("x")
    for more in ({}, {"OPENIMDS_TOKEN_FILE": "token"}):
        got = run("vm", "list", cwd=tmp_path, **where, **more)
        assert (got.returncode, got.stdout) == (1, "")
        assert got.stderr == (
            "openimds: no server answers at http://127.0.0.1:1 (connection refused). Type openimds "
            "serve in another terminal, or set OPENIMDS_ADMIN to the URL of a running server\n"
        )


def test_command_without_the_token_names_its_variable(server: Server, tmp_path: Path) -> None:
    got = run("vm", "list", cwd=tmp_path, **server.variables | {"OPENIMDS_TOKEN_FILE": "none"})
    assert got.returncode == 2
    assert "expected the token file that the server named when it was ready" in got.stderr


def test_rotated_token_replaces_the_old_one(server: Server, tmp_path: Path) -> None:
    where = server.variables
    path = Path(run("token", "path", cwd=tmp_path, **where).stdout.strip())
    old = path.read_text().strip()
    assert run("token", "rotate", cwd=tmp_path, **where).returncode == 0
    assert path.stat().st_mode & 0o777 == 0o600
    url = f"{server.ready['admin']}/v1/vms"
    for token, status in ((old, 401), (path.read_text().strip(), 200)):
        got = httpx2.get(url, headers={"Authorization": f"Bearer {token}"})
        assert got.status_code == status


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_of_the_shell(tmp_path: Path, shell: str) -> None:
    got = run("completion", shell, cwd=tmp_path)
    assert got.returncode == 0
    assert f"_OPENIMDS_COMPLETE={shell}_complete" in got.stdout
