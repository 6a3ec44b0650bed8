"""`openimds doctor` on hosts with problems."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.lab import FLEET, IMDS, Lab, fleet, lab
from tests.system.process import COMMAND, run, serving

pytestmark = pytest.mark.system

FREE = ("--listen", "127.0.0.1:1", "--admin", "127.0.0.1:2", "--public", "127.0.0.1:3")
"""Ports without a listener."""


def results(text: str) -> dict[str, list[tuple[str, str, str]]]:
    """Return the results by check: state, finding, remedy."""
    by_check: dict[str, list[tuple[str, str, str]]] = {}
    for item in json.loads(text):
        by_check.setdefault(item["check"], []).append((item["state"], item["found"], item["do"]))
    return by_check


def test_idle_machine_has_nothing_wrong(tmp_path: Path) -> None:
    ended = run("doctor", "--json", *FREE, cwd=tmp_path)
    by_name = results(ended.stdout)
    assert [*by_name] == [
        *(
            "python",
            "tools",
            "unprivileged namespaces",
            "settings",
            "fleet",
            "state",
            "server",
            "ports",
        ),
        *(
            "open files",
            "clock",
            "address",
            "host",
            *(["firewall"] if "firewall" in by_name else []),
        ),
    ]
    assert [item for row in by_name.values() for item in row if item[0] == "wrong"] == []
    assert ended.returncode == 0
    state = f"{tmp_path}/state/openimds"
    assert by_name["state"] == [
        ("note", f"{state}: no such file or directory", "openimds serve makes it")
    ]
    assert by_name["fleet"] == [
        ("note", "no fleet file is named", "--fleet PATH, or openimds vm put"),
    ]
    assert by_name["server"][0][2] == "openimds serve"


def test_running_server_is_recognized(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text("vms: {a: {}, b: {}}")
    with serving("--fleet", "fleet.yaml", "--virtual-clock", cwd=tmp_path) as server:
        admin = server.ready["admin"]
        where = ("--listen", server.url.removeprefix("http://"), "--public", "none")
        variables = {"OPENIMDS_ADMIN": admin}
        assert run("clock", "--offset", "-90", cwd=tmp_path, **variables).returncode == 0
        ended = run("doctor", "--json", *where, cwd=tmp_path, **variables)
        by_name = results(ended.stdout)
        assert ended.returncode == 0
        assert by_name["server"] == [
            ("ok", f"answers at {admin}", ""),
            ("note", "its clock is -90 s from this machine's", "openimds clock --offset 0"),
        ]
        assert by_name["fleet"] == [("ok", "2 VMs in the server", "")]
        listen = server.url.removeprefix("http://")
        assert by_name["ports"][0] == ("ok", f"{listen} is in use, and a server runs (listen)", "")
        # Without the admin API, the same port belongs to another process.
        ended = run("doctor", "--json", *where, "--admin", "127.0.0.1:2", cwd=tmp_path)
        assert ended.returncode == 1
        assert results(ended.stdout)["ports"][0] == (
            "wrong",
            f"{listen} is in use (listen)",
            "--listen HOST:PORT, or ss -ltnp",
        )


def test_configuration_errors_are_quoted(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text("vms: {a: {comptue: {}}}")
    (tmp_path / "openimds.toml").write_text("listne = 1")
    ended = run("doctor", "--json", "--fleet", "fleet.yaml", *FREE, cwd=tmp_path)
    by_name = results(ended.stdout)
    assert ended.returncode == 1
    ((state, text, do),) = by_name["fleet"]
    assert state == "wrong"
    assert text.startswith('fleet.yaml: vms.a: saw unknown key "comptue". Did you mean "compute"? ')
    assert do == "mend it; docs/use/fleet.md lists every key"
    ((state, text, do),) = by_name["settings"]
    assert state == "wrong"
    assert text.startswith('openimds.toml: saw unknown key "listne". Did you mean "listen"? ')
    assert do == "mend it; docs/use/settings.md lists all"


def test_bad_listener_and_missing_programs_are_reported(tmp_path: Path) -> None:
    words = ("doctor", "--json", *FREE, "--admin", "here")
    by_name = results(run(*words, cwd=tmp_path, PATH=str(tmp_path)).stdout)
    assert by_name["ports"][-1][0] == "wrong"
    assert by_name["ports"][-1][1].startswith('admin: saw "here", expected HOST:PORT, ')
    assert [item[1] for item in by_name["tools"]] == [
        f"{name} is not installed" for name in ("ip", "nft", "pasta")
    ]
    assert {item[0] for check in ("address", "host") for item in by_name[check]} == {"note"}


def test_token_readable_by_others_is_wrong(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir(mode=0o700)
    (folder / "admin-token").write_text("x")
    (folder / "admin-token").chmod(0o644)
    ended = run("doctor", "--state", str(folder), *FREE, cwd=tmp_path)
    assert ended.returncode == 1
    lines = [line.split("\t") for line in ended.stdout.splitlines()]
    assert lines[0] == ["CHECK", "", "FOUND", "DO"]
    path = f"{folder}/admin-token"
    assert ["state", "wrong", f"{path} is open to other users", f"chmod go= {path}"] in lines


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Lab]:
    with lab(tmp_path) as guests:
        yield guests


def doctor(here: Lab, code: int, *words: str) -> dict[str, list[tuple[str, str, str]]]:
    ended = here.host.openimds("doctor", "--json", *FREE, *words, code=code)
    return results(ended.stdout)


@pytest.mark.netns
def test_host_rules_of_another_fleet_are_wrong(here: Lab) -> None:
    up = ("--fleet", "fleet.json")
    (here.host.folder / "fleet.json").write_text(json.dumps(FLEET))
    assert doctor(here, 0, *up)["host"] == [
        ("note", "openimds host is not up", "openimds host up, or down")
    ]
    here.up()
    by_name = doctor(here, 0, *up)
    assert by_name["host"] == [("ok", "3 VMs are bound", "")]
    assert by_name["address"] == [("ok", f"{IMDS} is on imds0", "")]
    (here.host.folder / "fleet.json").write_text(json.dumps(fleet("a", "b")))
    assert doctor(here, 1, *up)["host"][1:] == [
        ("wrong", "the rules are not those of the fleet", "openimds host up")
    ]
    here.host.shell("nft delete table bridge openimds")
    assert doctor(here, 1)["host"] == [
        (
            "wrong",
            "openimds host is not up, but part of it is there",
            "openimds host up, or down",
        )
    ]


@pytest.mark.netns
def test_obstacles_of_guests_are_reported(here: Lab) -> None:
    here.up()
    here.host.shell("""
        ip route replace 10.9.0.4/32 dev br0
        sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.pd.rp_filter=1
        sysctl -qw net.ipv4.conf.br0.rp_filter=0 net.ipv4.conf.br0.arp_ignore=1
        ip link delete pb
        nft add table inet filter
        nft 'add chain inet filter input { type filter hook input priority 0; policy drop; }'
    """)
    by_name = doctor(here, 1, "--fleet", "fleet.json")
    arp = "net.ipv4.conf.br0.arp_ignore"
    problem = (
        "responses to 10.9.0.4 would leave by br0 and be dropped, and rp_filter drops its requests"
    )
    assert by_name["host"] == [
        ("ok", "3 VMs are bound", ""),
        (
            "wrong",
            f"web-a: {arp} stops the host from answering ARP requests for {IMDS}",
            f"sysctl -w {arp}=0",
        ),
        (
            "note",
            "web-b: the interface pb does not exist yet",
            "openimds host up once it does",
        ),
        ("wrong", f"web-d: {problem}", "ip route add 10.9.0.4/32 dev pd"),
    ]
    assert by_name["firewall"] == [
        (
            "note",
            "the nftables chain inet filter input drops packets by default",
            f"accept TCP to {IMDS} port 80 in it",
        )
    ]


@pytest.mark.netns
def test_checks_without_root_say_so(here: Lab) -> None:
    words = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", *COMMAND)
    by_name = results(here.host.run(*words, "doctor", "--json", *FREE).stdout)
    for check in ("address", "host", "firewall"):
        assert by_name[check] == [
            ("note", "not checked: needs root", "sudo before openimds doctor")
        ]
