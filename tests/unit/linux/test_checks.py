import json
import os
import shutil
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest

from openimds.linux import checks
from openimds.linux.checks import CheckResult
from openimds.linux.host.host_state import read_state
from openimds.linux.platform import FileLimits
from tests.unit.linux.host.fake_host import FakeHost, interface, ways

NOW_S = 1_800_000_000.0
ALTERNATIVE = "reach.listen: netns:NAME, or openimds exec"


def test_python_check_names_the_version() -> None:
    version = ".".join(map(str, sys.version_info[:3]))
    assert [*checks.python()] == [CheckResult("ok", version)]


def test_namespaces_check_has_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "why_unavailable", lambda: "")
    assert [*checks.namespaces()] == [CheckResult("ok", "available")]
    monkeypatch.setattr(checks, "why_unavailable", lambda: "unavailable: because")
    assert [*checks.namespaces()] == [
        CheckResult("note", "unavailable: because", "needed by openimds exec only")
    ]


def test_missing_tool_has_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: "/sbin/ip" if name == "ip" else None)
    assert [*checks.tools()] == [
        CheckResult("ok", "/sbin/ip"),
        CheckResult("note", "nft is not installed", "apt-get install nftables, for openimds host"),
        CheckResult(
            "note", "pasta is not installed", "apt-get install passt, for openimds exec --net host"
        ),
    ]


@pytest.mark.parametrize(
    "limits, most, result",
    [
        (
            FileLimits(1024, 20000),
            19439,
            CheckResult("ok", "soft limit 1024, hard limit 20000: 19439 connections of guests"),
        ),
        (
            FileLimits(256, sys.maxsize),
            20000,
            CheckResult("ok", "soft limit 256, hard limit none: 20000 connections of guests"),
        ),
        (
            FileLimits(1024, 4096),
            3535,
            CheckResult(
                "note",
                "soft limit 1024, hard limit 4096: 3535 connections of guests, not 20000",
                "raise ulimit -Hn (LimitNOFILE= of systemd), or --max-connections 3535",
            ),
        ),
    ],
)
def test_open_files_check_shows_limits_and_connections(
    limits: FileLimits, most: int, result: CheckResult
) -> None:
    assert [*checks.open_files(limits, most, 20000)] == [result]


def test_queue_too_short_for_half_open_connections_is_a_note(tmp_path: Path) -> None:
    (tmp_path / "net/core").mkdir(parents=True)
    (tmp_path / "net/core/somaxconn").write_text("4096\n")
    assert list(checks.half_open(6, 600, tmp_path)) == []
    (result,) = checks.half_open(7, 600, tmp_path)
    assert result.state == "note"
    assert result.found == "7 VMs can fill the 4096 places of half-open connections"
    assert result.do.startswith("sysctl -w net.core.somaxconn=65535")


def test_hidden_length_of_the_queue_is_not_checked(tmp_path: Path) -> None:
    assert list(checks.half_open(1000, 600, tmp_path)) == []


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """Return a /proc with the listeners of a little-endian machine."""
    if sys.byteorder == "big":
        pytest.skip("the lines are those of a little-endian machine")
    (tmp_path / "net").mkdir()
    head = "  sl  local_address rem_address   st tx_queue rx_queue\n"
    (tmp_path / "net/tcp").write_text(
        head
        + "   0: 0100007F:1FE9 00000000:0000 0A 00000000:00000000\n"
        + "   1: FEA9FEA9:0050 00000000:0000 0A 00000000:00000000\n"
        + "   2: 0100007F:1FEA 0100007F:9C40 01 00000000:00000000\n"
    )
    zero, one = "0" * 32, "0" * 24 + "01000000"
    (tmp_path / "net/tcp6").write_text(
        f"{head}   0: {zero}:01BB {zero}:0000 0A 0\n   1: {one}:1F90 {zero}:0000 0A 0\n"
    )
    return tmp_path


def test_listening_addresses_are_read_from_proc(proc: Path) -> None:
    assert checks.listening(proc) == {
        (ip_address("127.0.0.1"), 8169),
        (ip_address("169.254.169.254"), 80),
        (ip_address("::"), 443),
        (ip_address("::1"), 8080),
    }
    assert checks.listening(proc / "nowhere") == set()


@pytest.mark.parametrize(
    "host, port, is_taken",
    [
        ("127.0.0.1", 8169, True),
        ("localhost", 8169, True),
        ("127.0.0.2", 8169, False),
        ("127.0.0.1", 8170, False),
        ("127.0.0.1", 443, True),
        ("127.0.0.1", 8080, False),
        ("::1", 8080, True),
        ("fe80::1%eth0", 443, True),
    ],
)
def test_address_is_taken_by_itself_or_a_wildcard(
    proc: Path, host: str, port: int, is_taken: bool
) -> None:
    assert checks.is_taken(host, port, checks.listening(proc)) is is_taken


def folder_of(path: Path, mode: int = 0o700, token: int | None = 0o600) -> Path:
    folder = path / "state"
    folder.mkdir()
    if token is not None:
        (folder / "token").write_text("secret")
        (folder / "token").chmod(token)
    folder.chmod(mode)
    return folder


def states(folder: Path, user: int | None = None) -> list[CheckResult]:
    return [*checks.state_folder(folder, "token", "db", os.geteuid() if user is None else user)]


def test_state_folder_must_be_private(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    assert states(folder) == [CheckResult("ok", str(folder))]
    (folder / "token").chmod(0o640)
    folder.chmod(0o755)
    assert states(folder) == [
        CheckResult("wrong", f"{folder} is open to other users", f"chmod go= {folder}"),
        CheckResult("wrong", f"{folder}/token is open to other users", f"chmod go= {folder}/token"),
    ]


def test_missing_state_folder_or_token_is_a_note(tmp_path: Path) -> None:
    missing = CheckResult(
        "note", f"{tmp_path}/none: no such file or directory", "openimds serve makes it"
    )
    assert states(tmp_path / "none") == [missing]
    folder = folder_of(tmp_path, token=None)
    assert states(folder) == [
        CheckResult("note", f"{folder} has no token", "openimds serve makes it")
    ]


def test_state_folder_of_another_user_is_wrong(tmp_path: Path) -> None:
    folder, owner = folder_of(tmp_path), os.geteuid()
    assert states(folder, owner + 1) == [
        CheckResult(
            "wrong", f"{folder} belongs to user {owner}", f"sudo -u '#{owner}' before the command"
        )
    ]
    assert states(folder, 0) == [CheckResult("ok", str(folder))]


def test_implausible_clock_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "token"
    files = [path, tmp_path / "none"]
    assert [*checks.clock(NOW_S, files)] == [CheckResult("ok", "plausible")]
    path.touch()
    os.utime(path, (NOW_S + 59, NOW_S + 59))
    assert [*checks.clock(NOW_S, files)] == [CheckResult("ok", "plausible")]
    os.utime(path, (NOW_S + 61, NOW_S + 61))
    remedy = "timedatectl set-ntp true"
    assert [*checks.clock(NOW_S, files)] == [
        CheckResult("wrong", f"{path} was modified in the future", remedy)
    ]
    assert [*checks.clock(0, [])] == [CheckResult("wrong", "the clock is before 2025", remedy)]


def addresses(host: FakeHost, tag: str, path: Path) -> list[CheckResult]:
    (path / "chassis_asset_tag").write_text(tag + "\n")
    return [*checks.address(read_state(host), path)]


def test_address_is_found_on_interfaces(tmp_path: Path) -> None:
    assert addresses(FakeHost(), "", tmp_path) == [
        CheckResult("ok", "169.254.169.254 is on no interface")
    ]
    assert addresses(FakeHost(routes=ways()), "", tmp_path) == [
        CheckResult("ok", "169.254.169.254 is reached through the host rules")
    ]
    assert addresses(FakeHost(interface("eth0", "169.254.169.254")), "", tmp_path) == [
        CheckResult(
            "note",
            "169.254.169.254 is on eth0",
            "ip address delete 169.254.169.254/32 dev eth0, before openimds host up",
        )
    ]


def test_cloud_is_recognized_by_route_and_firmware(tmp_path: Path) -> None:
    route = {"dst": "169.254.169.254", "gateway": "10.0.0.1", "dev": "eth0"}
    tag = "7783-7084-3265-9085-8269-3286-77"
    assert addresses(FakeHost(routes=[route]), tag, tmp_path) == [
        CheckResult("note", "this machine is a VM of Azure", ALTERNATIVE),
        CheckResult("note", "a cloud serves 169.254.169.254, over eth0", ALTERNATIVE),
    ]
    assert [*checks.address(read_state(FakeHost()), tmp_path / "none")] == [
        CheckResult("ok", "169.254.169.254 is on no interface")
    ]


def test_cloud_without_a_route_is_recognized_by_firmware(tmp_path: Path) -> None:
    (tmp_path / "sys_vendor").write_text("Amazon EC2\n")
    assert addresses(FakeHost(), "Amazon EC2", tmp_path) == [
        CheckResult("note", "this machine is a VM of EC2", ALTERNATIVE),
        CheckResult("ok", "169.254.169.254 is on no interface"),
    ]


def chain(family: str, table: str, name: str, **more: str) -> dict[str, object]:
    return {"chain": {"family": family, "table": table, "name": name, **more}}


def test_firewalls_that_drop_by_default_are_named() -> None:
    listed = [
        {"metainfo": {}},
        chain("inet", "filter", "input", hook="input", policy="drop"),
        chain("inet", "filter", "forward", hook="forward", policy="drop"),
        chain("inet", "other", "input", hook="input", policy="accept"),
        chain("inet", "openimds", "input", hook="input", policy="drop"),
        chain("inet", "filter", "rest"),
    ]

    def run(command: tuple[str, ...], text: str) -> str:
        assert command == ("nft", "-j", "list", "chains")
        assert not text
        return json.dumps({"nftables": listed})

    assert [*checks.firewalls(run)] == [
        CheckResult(
            "note",
            "the nftables chain inet filter input drops packets by default",
            "accept TCP to 169.254.169.254 port 80 in it",
        )
    ]
