"""`openimds doctor` on hosts on which this and that is wrong."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.lab import FLEET, IMDS, Lab, fleet, lab
from tests.system.process import COMMAND, run, serving

pytestmark = pytest.mark.system

FREE = ("--listen", "127.0.0.1:1", "--admin", "127.0.0.1:2", "--public", "127.0.0.1:3")
"""Ports at which nobody listens."""


def found(text: str) -> dict[str, list[tuple[str, str, str]]]:
    """Return what a doctor found by check: state, finding, what to do."""
    by_check: dict[str, list[tuple[str, str, str]]] = {}
    for one in json.loads(text):
        by_check.setdefault(one["check"], []).append((one["state"], one["found"], one["do"]))
    return by_check


def test_nothing_is_wrong_with_a_machine_that_serves_nothing(tmp_path: Path) -> None:
    ended = run("doctor", "--json", *FREE, cwd=tmp_path)
    said = found(ended.stdout)
    assert [*said] == [
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
        *("open files", "clock", "address", "host", *(["firewall"] if "firewall" in said else [])),
    ]
    assert [one for row in said.values() for one in row if one[0] == "wrong"] == []
    assert ended.returncode == 0
    state = f"{tmp_path}/state/openimds"
    assert said["state"] == [
        ("note", f"{state}: no such file or directory", "openimds serve makes it")
    ]
    assert said["fleet"] == [
        ("note", "no fleet file is named", "--fleet PATH, or openimds vm put"),
    ]
    assert said["server"][0][2] == "openimds serve"


def test_a_server_that_runs_is_met(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text("vms: {a: {}, b: {}}")
    with serving("--fleet", "fleet.yaml", "--virtual-clock", cwd=tmp_path) as server:
        admin = server.ready["admin"]
        where = ("--listen", server.url.removeprefix("http://"), "--public", "none")
        told = {"OPENIMDS_ADMIN": admin}
        assert run("clock", "--offset", "-90", cwd=tmp_path, **told).returncode == 0
        ended = run("doctor", "--json", *where, cwd=tmp_path, **told)
        said = found(ended.stdout)
        assert ended.returncode == 0
        assert said["server"] == [
            ("ok", f"answers at {admin}", ""),
            ("note", "its clock is -90 s from this machine's", "openimds clock --offset 0"),
        ]
        assert said["fleet"] == [("ok", "2 VMs in the server", "")]
        listen = server.url.removeprefix("http://")
        assert said["ports"][0] == ("ok", f"{listen} is in use, and a server runs (listen)", "")
        # Without the server's word the same port is in somebody else's hands.
        ended = run("doctor", "--json", *where, "--admin", "127.0.0.1:2", cwd=tmp_path)
        assert ended.returncode == 1
        assert found(ended.stdout)["ports"][0] == (
            "wrong",
            f"{listen} is in use (listen)",
            "--listen HOST:PORT, or ss -ltnp",
        )


def test_what_is_written_wrongly_is_quoted(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text("vms: {a: {comptue: {}}}")
    (tmp_path / "openimds.toml").write_text("listne = 1")
    ended = run("doctor", "--json", "--fleet", "fleet.yaml", *FREE, cwd=tmp_path)
    said = found(ended.stdout)
    assert ended.returncode == 1
    ((state, text, do),) = said["fleet"]
    assert state == "wrong"
    assert text.startswith('fleet.yaml: vms.a: saw unknown key "comptue". Did you mean "compute"? ')
    assert do == "mend it; docs/use/fleet.md lists every key"
    ((state, text, do),) = said["settings"]
    assert state == "wrong"
    assert text.startswith('openimds.toml: saw unknown key "listne". Did you mean "listen"? ')
    assert do == "mend it; docs/use/settings.md lists all"


def test_a_listener_that_is_no_address_and_programs_that_are_missing(tmp_path: Path) -> None:
    words = ("doctor", "--json", *FREE, "--admin", "here")
    said = found(run(*words, cwd=tmp_path, PATH=str(tmp_path)).stdout)
    assert said["ports"][-1][0] == "wrong"
    assert said["ports"][-1][1].startswith('admin: saw "here", expected HOST:PORT, ')
    assert [one[1] for one in said["tools"]] == [
        f"{name} is not installed" for name in ("ip", "nft", "pasta")
    ]
    assert {one[0] for check in ("address", "host") for one in said[check]} == {"note"}


def test_a_token_that_others_can_read(tmp_path: Path) -> None:
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
    with lab(tmp_path) as one:
        yield one


def looks(here: Lab, code: int, *words: str) -> dict[str, list[tuple[str, str, str]]]:
    ended = here.host.openimds("doctor", "--json", *FREE, *words, code=code)
    return found(ended.stdout)


@pytest.mark.netns
def test_a_host_that_is_up_and_then_is_not_what_the_fleet_says(here: Lab) -> None:
    up = ("--fleet", "fleet.json")
    (here.host.folder / "fleet.json").write_text(json.dumps(FLEET))
    assert looks(here, 0, *up)["host"] == [
        ("note", "openimds host is not up", "openimds host up, or down")
    ]
    here.up()
    said = looks(here, 0, *up)
    assert said["host"] == [("ok", "3 VMs are bound", "")]
    assert said["address"] == [("ok", f"{IMDS} is on imds0", "")]
    (here.host.folder / "fleet.json").write_text(json.dumps(fleet("a", "b")))
    assert looks(here, 1, *up)["host"][1:] == [
        ("wrong", "the rules are not those of the fleet", "openimds host up")
    ]
    here.host.shell("nft delete table bridge openimds")
    assert looks(here, 1)["host"] == [
        (
            "wrong",
            "openimds host is not up, but part of it is there",
            "openimds host up, or down",
        )
    ]


@pytest.mark.netns
def test_what_keeps_a_guest_from_its_metadata_is_said(here: Lab) -> None:
    here.up()
    here.host.shell("""
        ip route replace 10.9.0.4/32 dev br0
        sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.pd.rp_filter=1
        sysctl -qw net.ipv4.conf.br0.rp_filter=0 net.ipv4.conf.br0.arp_ignore=1
        ip link delete pb
        nft add table inet filter
        nft 'add chain inet filter input { type filter hook input priority 0; policy drop; }'
    """)
    said = looks(here, 1, "--fleet", "fleet.json")
    arp = "net.ipv4.conf.br0.arp_ignore"
    astray = (
        "responses to 10.9.0.4 would leave by br0 and be dropped, and rp_filter drops its requests"
    )
    assert said["host"] == [
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
    assert said["firewall"] == [
        (
            "note",
            "the nftables chain inet filter input drops packets by default",
            f"accept TCP to {IMDS} port 80 in it",
        )
    ]


@pytest.mark.netns
def test_who_may_not_look_is_told(here: Lab) -> None:
    words = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", *COMMAND)
    said = found(here.host.run(*words, "doctor", "--json", *FREE).stdout)
    for check in ("address", "host", "firewall"):
        assert said[check] == [("note", "not checked: needs root", "sudo before openimds doctor")]
