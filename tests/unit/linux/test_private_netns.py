"""The private network of one process, entered in a child of its own."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from openimds.errors import Error
from openimds.linux import private_netns
from openimds.linux.private_netns import (
    RESTRICTIONS,
    KernelRestriction,
    NamespaceError,
    no_proxy_variables,
    refusal,
    why_unavailable,
)

INSIDE = """
import json, os, socket
from openimds.linux.private_netns import enter
before = os.readlink("/proc/self/ns/net")
enter()
waiting = socket.create_server(("169.254.169.254", 80))
asking = socket.create_connection(("169.254.169.254", 80), 5)
print(json.dumps({
    "is_new": os.readlink("/proc/self/ns/net") != before,
    "asks_from": asking.getsockname()[0],
    "ids": [os.getuid(), os.getgid()],
    "devices": [name for _, name in socket.if_nameindex()],
}))
"""
FENCED = """
import json, socket, subprocess
from openimds.linux.blackhole_rules import add_blackhole_rules
from openimds.linux.private_netns import enter
enter()
add_blackhole_rules()
# Whoever comes later can add routes, and they do not matter.
for words in (
    "link add way type veth peer name other",
    "link set other up",
    "link set way up",
    "address add 10.0.0.1/24 dev way",
    "route add default via 10.0.0.2",
    "route add 169.254.1.1/32 via 10.0.0.2",
):
    subprocess.run(["ip", *words.split()], check=True)
add_blackhole_rules()
said = {}
for host in ("169.254.1.1", "168.63.129.16", "192.0.2.1", "127.0.0.1", "169.254.169.254"):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        said[host] = asking.connect_ex((host, 9))
print(json.dumps(said))
"""
FORBIDDEN = ["unshare", "-Ur", "sh", "-ec"]
NOBODY_MAY = 'echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-all "$@"'


def run(*command: str) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def need_namespaces() -> None:
    if reason := why_unavailable():
        pytest.skip(reason)


def test_the_address_is_there_and_its_port_80_can_be_had() -> None:
    need_namespaces()
    said = json.loads(run(sys.executable, "-c", INSIDE))
    assert said == {
        "is_new": True,
        "asks_from": "169.254.169.254",
        "ids": [os.getuid(), os.getgid()],
        "devices": ["lo"],
    }


def test_the_network_of_whoever_asks_why_not_stays_as_it_is() -> None:
    before = Path("/proc/self/ns/net").readlink()
    why_unavailable()
    assert Path("/proc/self/ns/net").readlink() == before


def test_what_is_kept_in_has_no_way_out_whatever_routes_there_are() -> None:
    need_namespaces()
    if not shutil.which("ip"):
        pytest.skip("ip is not installed")
    assert json.loads(run("unshare", "-Ur", sys.executable, "-c", FENCED)) == {
        "169.254.1.1": errno.ENETUNREACH,
        "168.63.129.16": errno.ENETUNREACH,
        "192.0.2.1": 0,
        "127.0.0.1": 0,
        "169.254.169.254": 0,
    }


def test_a_kernel_that_forbids_it_is_said_to() -> None:
    need_namespaces()
    asked = "from openimds.linux.private_netns import why_unavailable; print(why_unavailable())"
    said = run(*FORBIDDEN, NOBODY_MAY, "sh", sys.executable, "-c", asked)
    assert said == (
        "no private network: user.max_user_namespaces is 0; type `sudo sysctl "
        "user.max_user_namespaces=10000`, or leave the address alone and point clients at "
        "`openimds serve` by `openimds env`\n"
    )


@pytest.mark.parametrize("row", RESTRICTIONS, ids=lambda row: row.file)
def test_each_hindrance_is_found_by_its_file(row: KernelRestriction, tmp_path: Path) -> None:
    (tmp_path / row.file).parent.mkdir(parents=True)
    (tmp_path / row.file).write_text(f"first\n{row.line}\n")
    said = str(refusal(PermissionError(errno.EPERM, "Operation not permitted"), tmp_path))
    assert said == f"no private network: {row.says}; {row.helps}, {private_netns._ELSEWHERE}"


@pytest.mark.parametrize(
    "error, user, says",
    [
        (
            OSError(errno.EINVAL, "Invalid argument", "unshare"),
            1000,
            "this kernel has no such namespaces, or this process has threads; start it alone, ",
        ),
        (
            OSError(errno.EPERM, "Operation not permitted", "unshare"),
            1000,
            "unshare says operation not permitted; run it as root, ",
        ),
        (OSError("that is all"), 0, "the kernel says that is all; give it CAP_SYS_ADMIN, "),
    ],
    ids=["no such namespaces", "no reason in sight", "no words for it, and root"],
)
def test_a_refusal_without_a_hindrance_is_passed_on(
    error: OSError, user: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    found = refusal(error, tmp_path)
    assert isinstance(found, NamespaceError)
    assert isinstance(found, Error)
    assert str(found) == f"no private network: {says}{private_netns._ELSEWHERE}"


def test_a_process_with_threads_is_told_so() -> None:
    need_namespaces()
    program = """
import threading
from openimds.linux.private_netns import NamespaceError, unshare_users
from openimds.linux import syscalls
wait = threading.Event()
other = threading.Thread(target=wait.wait)
other.start()
try:
    unshare_users(syscalls.NEW_NET)
except NamespaceError as error:
    print(error)
wait.set()
"""
    assert "this process has threads" in run(sys.executable, "-c", program)


def test_only_linux_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert why_unavailable() == (
        "no private network: this is darwin, and only Linux has namespaces"
    )


def test_no_proxy_is_asked_for_what_is_inside() -> None:
    inside = "169.254.169.254,127.0.0.1,localhost"
    assert no_proxy_variables({"NO_PROXY": "example.org", "http_proxy": ""}) == {}
    assert no_proxy_variables({"ALL_PROXY": "socks5://proxy", "NO_PROXY": "example.org"}) == {
        "no_proxy": inside,
        "NO_PROXY": f"example.org,{inside}",
    }
