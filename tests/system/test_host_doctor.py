"""`openimds doctor` on hosts with and without defects."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.lab import FLEET, IMDS, Lab, fleet, lab
from tests.system.process import COMMAND, run, serving

pytestmark = pytest.mark.system

FREE = ("--listen", "127.0.0.1:1", "--admin", "127.0.0.1:2", "--public", "127.0.0.1:3")
"""Ports without a listener."""


Findings = dict[str, list[tuple[str, str, str]]]
"""State, finding and advice, by check."""


def parse(text: str) -> Findings:
    """Return the findings of a doctor's JSON."""
    findings: Findings = {}
    for row in json.loads(text):
        findings.setdefault(row["check"], []).append((row["state"], row["found"], row["do"]))
    return findings


def test_machine_without_a_server_has_no_defect(tmp_path: Path) -> None:
    ended = run("doctor", "--json", *FREE, cwd=tmp_path)
    findings = parse(ended.stdout)
    assert [*findings] == [
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
            "admin certificate",
            "open files",
            "clock",
            "address",
            "host",
            *(["firewall"] if "firewall" in findings else []),
        ),
    ]
    assert [row for rows in findings.values() for row in rows if row[0] == "wrong"] == []
    assert ended.returncode == 0
    state = f"{tmp_path}/state/openimds"
    assert findings["state"] == [
        ("note", f"{state}: no such file or directory", "openimds serve makes it")
    ]
    assert findings["fleet"] == [
        ("note", "no fleet file is named", "--fleet PATH, or openimds vm put"),
    ]
    assert findings["server"][0][2] == "openimds serve"


def test_running_server_is_found_with_its_clock_and_ports(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text("vms: {a: {}, b: {}}")
    with serving("--fleet", "fleet.yaml", "--virtual-clock", cwd=tmp_path) as server:
        admin = server.ready["admin"]
        where = ("--listen", server.url.removeprefix("http://"), "--public", "none")
        variables = {"OPENIMDS_ADMIN": admin}
        assert run("clock", "--offset", "-90", cwd=tmp_path, **variables).returncode == 0
        ended = run("doctor", "--json", *where, cwd=tmp_path, **variables)
        findings = parse(ended.stdout)
        assert ended.returncode == 0
        assert findings["server"] == [
            ("ok", f"answers at {admin}", ""),
            ("note", "its clock is -90 s from this machine's", "openimds clock --offset 0"),
        ]
        assert findings["fleet"] == [("ok", "2 VMs in the server", "")]
        listen = server.url.removeprefix("http://")
        assert findings["ports"][0] == ("ok", f"{listen} is in use, and a server runs (listen)", "")
        # Without the server's answer, the port is in use by an unknown process.
        ended = run("doctor", "--json", *where, "--admin", "127.0.0.1:2", cwd=tmp_path)
        assert ended.returncode == 1
        assert parse(ended.stdout)["ports"][0] == (
            "wrong",
            f"{listen} is in use (listen)",
            "--listen HOST:PORT, or ss -ltnp",
        )


def test_bad_key_of_fleet_and_settings_is_quoted(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text("vms: {a: {comptue: {}}}")
    (tmp_path / "openimds.toml").write_text("listne = 1")
    ended = run("doctor", "--json", "--fleet", "fleet.yaml", *FREE, cwd=tmp_path)
    findings = parse(ended.stdout)
    assert ended.returncode == 1
    ((state, text, do),) = findings["fleet"]
    assert state == "wrong"
    assert text.startswith('fleet.yaml: vms.a: saw unknown key "comptue". Did you mean "compute"? ')
    assert do == "mend it; docs/use/fleet.md lists every key"
    ((state, text, do),) = findings["settings"]
    assert state == "wrong"
    assert text.startswith('openimds.toml: saw unknown key "listne". Did you mean "listen"? ')
    assert do == "mend it; docs/use/settings.md lists all"


def test_bad_listener_and_missing_programs_are_found(tmp_path: Path) -> None:
    words = ("doctor", "--json", *FREE, "--admin", "here")
    findings = parse(run(*words, cwd=tmp_path, PATH=str(tmp_path)).stdout)
    assert findings["ports"][-1][0] == "wrong"
    assert findings["ports"][-1][1].startswith('admin: saw "here", expected HOST:PORT, ')
    assert [row[1] for row in findings["tools"]] == [
        f"{name} is not installed" for name in ("ip", "nft", "pasta")
    ]
    assert {row[0] for check in ("address", "host") for row in findings[check]} == {"note"}


def test_token_that_others_can_read_is_wrong(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir(mode=0o700)
    (folder / "admin-token").write_text("x")
    (folder / "admin-token").chmod(0o644)
    ended = run("doctor", "--state", str(folder), *FREE, cwd=tmp_path)
    assert ended.returncode == 1
    lines = [line.split("\t") for line in ended.stdout.splitlines()]
    assert lines[0] == ["CHECK", "RESULT", "FOUND", "DO"]
    path = f"{folder}/admin-token"
    assert ["state", "wrong", f"{path} is open to other users", f"chmod go= {path}"] in lines


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Lab]:
    with lab(tmp_path) as here:
        yield here


def diagnose(here: Lab, code: int, *words: str) -> Findings:
    ended = here.host.openimds("doctor", "--json", *FREE, *words, code=code)
    return parse(ended.stdout)


@pytest.mark.netns
def test_host_rules_that_differ_from_the_fleet_are_wrong(here: Lab) -> None:
    up = ("--fleet", "fleet.json")
    (here.host.folder / "fleet.json").write_text(json.dumps(FLEET))
    assert diagnose(here, 0, *up)["host"] == [
        ("note", "openimds host is not up", "openimds host up, or down")
    ]
    here.up()
    findings = diagnose(here, 0, *up)
    assert findings["host"] == [("ok", "3 VMs are bound", "")]
    assert findings["address"] == [("ok", f"{IMDS} is reached through the host rules", "")]
    (here.host.folder / "fleet.json").write_text(json.dumps(fleet("a", "b")))
    assert diagnose(here, 1, *up)["host"][1:] == [
        ("wrong", "the rules are not those of the fleet", "openimds host up")
    ]
    here.host.shell("nft delete table bridge openimds")
    assert diagnose(here, 1)["host"] == [
        (
            "wrong",
            "the table bridge openimds is missing",
            "openimds host up, or down",
        )
    ]


@pytest.mark.netns
def test_obstacles_of_each_guest_are_named(here: Lab) -> None:
    here.up()
    here.host.shell("""
        ip route replace 10.9.0.4/32 dev br0
        sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.pd.rp_filter=1
        sysctl -qw net.ipv4.conf.br0.rp_filter=0 net.ipv4.conf.br0.arp_ignore=1
        ip link delete pb
        nft add table inet filter
        nft 'add chain inet filter input { type filter hook input priority 0; policy drop; }'
    """)
    findings = diagnose(here, 1, "--fleet", "fleet.json")
    arp = "net.ipv4.conf.br0.arp_ignore"
    astray = (
        "responses to 10.9.0.4 would leave by br0 and be dropped, and rp_filter drops its requests"
    )
    assert findings["host"] == [
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
        ("wrong", f"web-d: {astray}", "ip route add 10.9.0.4/32 dev pd"),
    ]
    assert findings["firewall"] == [
        (
            "note",
            "the nftables chain inet filter input drops packets by default",
            f"accept TCP to {IMDS} port 80 in it",
        )
    ]


@pytest.mark.netns
def test_check_that_needs_root_is_a_note(here: Lab) -> None:
    words = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", *COMMAND)
    findings = parse(here.host.run(*words, "doctor", "--json", *FREE).stdout)
    for check in ("address", "host", "firewall"):
        assert findings[check] == [
            ("note", "not checked: needs root", "sudo before openimds doctor")
        ]


def test_engine_that_is_away_is_wrong_and_no_password_is_printed(tmp_path: Path) -> None:
    away = ("--store", f"postgresql://me:s3cret@/fleet?host={tmp_path}")
    for form in ((), ("--json",)):
        ended = run("doctor", *form, *FREE, *away, cwd=tmp_path)
        assert ended.returncode == 1
        assert "s3cret" not in ended.stdout + ended.stderr
    (row,) = parse(ended.stdout)["store"]
    assert row[0] == "wrong"
    assert row[1].startswith(f"PostgreSQL at {tmp_path}:5432, database fleet: ")
    assert "start the engine, or mend the way to it" in row[1]


def test_url_with_a_mistake_is_wrong_by_itself(tmp_path: Path) -> None:
    store = "postgresql://me:s3cret@db-1/fleet?sslmod=verify-full"
    ended = run("doctor", "--json", *FREE, cwd=tmp_path, OPENIMDS_STORE=store)
    (row,) = parse(ended.stdout)["store"]
    assert (ended.returncode, row[0]) == (1, "wrong")
    assert 'Did you mean "sslmode"?' in row[1]
    assert "s3cret" not in ended.stdout
