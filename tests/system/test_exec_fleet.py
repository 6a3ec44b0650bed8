"""openimds exec with a fleet: the choice of VMs, several at once, the admin API."""

import json
import re
import signal
from pathlib import Path

import pytest

from tests.support.waiting import until
from tests.system.sandboxes import CURL, NAME, Place, place

__all__ = ["place"]
pytestmark = [pytest.mark.system, pytest.mark.netns]

FLEET = {
    "vms": {
        # Listeners of the fleet are not opened in a sandbox.
        "web-1": {"availabilitySet": "web", "reach": {"listen": ["127.0.0.1:1"]}},
        "web-2": {"availabilitySet": "web"},
        "db-1": {"identities": {"system": True}},
    }
}
ASK = " ".join([*CURL, f"'{NAME}'"])


@pytest.fixture
def fleet(place: Place) -> Path:
    path = place.folder / "fleet.json"
    path.write_text(json.dumps(FLEET))
    return path


def test_named_vm_answers(place: Place, fleet: Path) -> None:
    got = place.run("--fleet", "fleet.json", "--vm", "web-2", "--", *CURL, NAME)
    assert (got.returncode, got.stdout, got.stderr) == (0, "web-2", "")


def test_swallowed_connection_is_never_answered(place: Place, fleet: Path) -> None:
    hole = {"effect": "blackhole", "vms": ["web-2"]}
    fleet.write_text(json.dumps({**FLEET, "faults": [hole]}))
    clear = f"{place.inside} fault clear"
    swallowed = f"curl -s --connect-timeout 0.2 '{NAME}' || echo $?"
    arguments = ("--fleet", "fleet.json", "--vm", "web-2", "--", "sh", "-ec")
    got = place.run(*arguments, f"{swallowed}; {clear}; {ASK}")
    assert (got.returncode, got.stdout, got.stderr) == (0, "28\nweb-2", "")


@pytest.mark.parametrize("is_stored", [False, True], ids=["file", "state"])
def test_azure_local_has_an_address_of_its_own(place: Place, *, is_stored: bool) -> None:
    vms = {"here": {"kind": "azure-local"}, "plain": {}}
    (place.folder / "fleet.json").write_text(json.dumps({"vms": vms}))
    path = "metadata/attested/document?api-version=2018-10-01"
    ask = " ".join(["curl -s -m 5 -o document -H Metadata:true", f"http://169.254.169.253/{path}"])
    source = ["--fleet", "fleet.json"]
    if is_stored:
        put = f"{place.inside} vm put fleet.json >&2"
        more = ("--state", "lab", "--", "sh", "-ec", put)
        assert place.run(*more).returncode == 0
        source = ["--state", "lab"]
    local = place.run(*source, "--vm", "here", "--", "sh", "-c", f"{ask}; cat document")
    assert json.loads(local.stdout)["encoding"] == "pkcs7", local.stderr
    plain = place.run(*source, "--vm", "plain", "--", "sh", "-c", ask)
    assert plain.returncode in {7, 28}  # curl's: refused, or no answer.


def test_only_vm_is_the_default_and_stays_it(place: Place, fleet: Path) -> None:
    fleet.write_text('{"vms": {"lone-1": {}}}')
    (place.folder / "more.json").write_text('{"vms": {"lone-2": {}}}')
    more = f"{place.inside} vm put more.json >&2"
    got = place.run("--fleet", "fleet.json", "--", "sh", "-ec", f"{more}; {ASK}")
    assert got.returncode == 0, got.stderr
    assert got.stdout == "lone-1"
    assert "lone-2" in got.stderr


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            [],
            (
                "no name for a fleet of 3 VMs, expected names of VMs: web-1, web-2, db-1. "
                "Write --vm web-1"
            ),
        ),
        (
            ["--vm", "web-3"],
            '"web-3". Did you mean "web-2"? Expected a VM of the fleet: web-1, web-2, db-1',
        ),
    ],
    ids=["none", "an unknown one"],
)
def test_missing_or_unknown_vm_is_refused(
    arguments: list[str], message: str, place: Place, fleet: Path
) -> None:
    got = place.run("--fleet", "fleet.json", *arguments, "--", "true")
    assert (got.returncode, got.stdout, got.stderr) == (2, "", f"openimds: --vm: saw {message}\n")


def test_several_vms_run_at_once_with_one_server(place: Place, fleet: Path) -> None:
    # Each waits for an event that another one schedules.
    script = f"""
        {ASK}; echo " is $OPENIMDS_VM"
        [ $OPENIMDS_VM = db-1 ] || {{
            [ $OPENIMDS_VM = web-2 ] || {place.inside} event schedule Freeze --vm web-2 > /dev/null
            until {
        ASK.replace(
            "instance/compute/name?api-version=2021-02-01&format=text",
            "scheduledevents?api-version=2020-07-01",
        )
    } | grep -q Freeze; do sleep 0.02; done
        }}
        echo "went by" >&2
    """
    names = [word for name in ("web-1", "web-2", "db-1") for word in ("--vm", name)]
    got = place.run("--fleet", "fleet.json", "--no-rate-limit", *names, "--", "sh", "-c", script)
    assert got.returncode == 0, got.stderr
    assert sorted(got.stdout.splitlines()) == [
        "db-1| db-1 is db-1",
        "web-1| web-1 is web-1",
        "web-2| web-2 is web-2",
    ]
    assert sorted(got.stderr.splitlines()) == [
        "db-1| went by",
        "web-1| went by",
        "web-2| went by",
    ]


def test_lines_of_several_vms_are_not_mixed(place: Place, fleet: Path) -> None:
    # Written in pieces, so that unbuffered lines would mix.
    script = (
        "for i in $(seq 300); do printf '%s ' $OPENIMDS_VM; printf '%s\\n' $i; done; printf end"
    )
    names = ("--vm", "web-1", "--vm", "web-2")
    got = place.run("--fleet", "fleet.json", *names, "--", "sh", "-c", script)
    assert got.returncode == 0, got.stderr
    lines = got.stdout.splitlines()
    for name in ("web-1", "web-2"):
        own = [line for line in lines if line.startswith(f"{name}| ")]
        expected = [*(f"{name}| {name} {i}" for i in range(1, 301)), f"{name}| end"]
        assert own == expected
    assert len(lines) == 2 * 301


def test_exit_code_is_that_of_the_first_failure(place: Place, fleet: Path) -> None:
    wait = f"until [ -e {place.folder}/over ]; do sleep 0.02; done"
    script = f"""
        case $OPENIMDS_VM in
            web-1) {wait}; exit 4;;
            web-2) exit 5;;
            db-1) exit 0;;
        esac
    """
    names = [word for name in ("web-1", "web-2", "db-1") for word in ("--vm", name)]
    running = place.start("--fleet", "fleet.json", *names, "--", "sh", "-c", script)
    assert running.stderr
    assert running.stderr.readline() == "openimds: web-2: COMMAND exited with 5.\n"
    (place.folder / "over").touch()
    assert running.communicate(timeout=60) == ("", "openimds: web-1: COMMAND exited with 4.\n")
    assert running.returncode == 5


def test_signal_reaches_the_commands_of_all_vms(place: Place, fleet: Path) -> None:
    names = ("--vm", "web-1", "--vm", "web-2")
    script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.02; done"
    running = place.start("--fleet", "fleet.json", *names, "--", "sh", "-c", script)
    assert running.stdout
    up = {running.stdout.readline() for _ in range(2)}
    assert up == {"web-1| up\n", "web-2| up\n"}
    running.send_signal(signal.SIGTERM)
    out, err = running.communicate(timeout=60)
    assert sorted(out.splitlines()) == ["web-1| bye", "web-2| bye"]
    assert (running.returncode, err) == (0, "")


def test_closed_stdout_ends_the_commands(place: Place, fleet: Path) -> None:
    names = ("--vm", "web-1", "--vm", "web-2")
    running = place.start("--fleet", "fleet.json", *names, "--", "yes")
    assert running.stdout
    assert running.stdout.readline().endswith("| y\n")
    running.stdout.close()
    assert running.wait(60) == -signal.SIGPIPE
    until(lambda: not place.processes())


def test_admin_api_is_available_inside_and_leaves_no_files(place: Place, fleet: Path) -> None:
    script = f"""
        {place.inside} vm list --json | grep -c '"name"' ; {place.inside} attest ca | head -1
        echo $OPENIMDS_ADMIN; stat -Lc %a $OPENIMDS_TOKEN_FILE; {place.inside} token rotate
    """
    files = place.files()
    got = place.run("--fleet", "fleet.json", "--vm", "db-1", "--", "sh", "-c", script)
    listed, *rest = got.stdout.splitlines()
    assert int(listed) > 0
    assert rest == ["-----BEGIN CERTIFICATE-----", "http://127.0.0.1:8170", "600"]
    assert got.stderr == (
        "openimds: the token of openimds exec cannot be rotated: it ends with the command\n"
    )
    assert place.files() == files


def test_without_admin_api_there_is_no_token(place: Place) -> None:
    script = "env | grep ^OPENIMDS_; ls -l /proc/1/fd | grep -c admin-token; curl -s 127.0.0.1:8170"
    got = place.run("--admin", "none", "--public", "none", "--", "sh", "-c", script)
    assert got.returncode == 7  # The code of curl for a closed port.
    assert got.stdout == "OPENIMDS_VM=vm-1\n0\n"


def test_state_directory_persists_and_names_its_vms(place: Place) -> None:
    (place.folder / "vm.json").write_text('{"vms": {"made-1": {}, "made-2": {}}}')
    state = ("--state", "kept")
    made = place.run(*state, "--", "sh", "-c", f"{place.inside} vm put vm.json")
    assert made.returncode == 0, made.stderr
    got = place.run(
        *state, "--vm", "made-1", "--", "sh", "-c", f"{ASK}; echo; cat $OPENIMDS_TOKEN_FILE"
    )
    assert got.returncode == 0, got.stderr
    name, token = got.stdout.splitlines()
    assert name == "made-1"
    assert token == (place.folder / "kept" / "admin-token").read_text().strip()
    several = place.run(*state, "--", "true")
    assert re.search(r"--vm: saw no name for a fleet of 2 VMs", several.stderr), several.stderr


def test_vm_of_the_file_that_was_removed_is_no_choice(place: Place) -> None:
    (place.folder / "two.yaml").write_text("vms: {a: {}, b: {}}")
    options = ("--fleet", "two.yaml", "--state", "kept")
    inside = f"{place.inside} vm remove b"
    removed = place.run(*options, "--vm", "a", "--", "sh", "-c", inside)
    assert removed.returncode == 0, removed.stderr
    got = place.run(*options, "--", "sh", "-c", ASK)
    assert (got.returncode, got.stdout) == (0, "a"), got.stderr
    (place.folder / "two.yaml").write_text("vms: {a: {}, b: {classic: true}}")
    several = place.run(*options, "--", "true")
    assert "--vm: saw no name for a fleet of 2 VMs" in several.stderr


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["--fleet", "none.yaml"], 2, "openimds: none.yaml: saw no such file or directory, "),
        (["--admin", "192.0.2.7:8170"], 1, "openimds: cannot listen on 192.0.2.7:8170 in the san"),
        (["--entra", "az", "--attest-key", "k"], 2, "openimds: attest_key: saw no attest_cert"),
        (["--admin", "169.254.169.254:80"], 1, "openimds: cannot listen on 169.254.169.254:80 in"),
        (["--admin", "unix:/tmp/x"], 2, 'openimds: admin: saw "unix:/tmp/x", expected HOST:PORT'),
    ],
)
def test_configuration_error_runs_no_command(
    arguments: list[str], code: int, message: str, place: Place
) -> None:
    got = place.run(*arguments, "--", "echo", "it ran")
    assert (got.returncode, got.stdout) == (code, "")
    assert got.stderr.startswith(message)
    assert got.stderr.count("\n") == 1
    assert place.processes() == set()
