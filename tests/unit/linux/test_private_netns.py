"""The private network namespace of one process, entered in a child."""

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
    UNAVAILABLE,
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
listener = socket.create_server(("169.254.169.254", 80))
client = socket.create_connection(("169.254.169.254", 80), 5)
print(json.dumps({
    "is_new": os.readlink("/proc/self/ns/net") != before,
    "client": client.getsockname()[0],
    "ids": [os.getuid(), os.getgid()],
    "devices": [name for _, name in socket.if_nameindex()],
}))
"""
BLACKHOLED = """
import json, socket, subprocess
from openimds.linux.blackhole_rules import add_blackhole_rules
from openimds.linux.private_netns import enter
enter()
add_blackhole_rules()
# Routes added later do not matter.
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
errors = {}
for host in ("169.254.1.1", "168.63.129.16", "192.0.2.1", "127.0.0.1", "169.254.169.254"):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        errors[host] = client.connect_ex((host, 9))
print(json.dumps(errors))
"""
FORBIDDEN = ["unshare", "-Ur", "sh", "-ec"]
NO_NAMESPACES = 'echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-all "$@"'


def run(*command: str) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def need_namespaces() -> None:
    if reason := why_unavailable():
        pytest.skip(reason)


def need_user_namespaces() -> None:
    need_namespaces()
    if subprocess.run(["unshare", "-Ur", "true"], capture_output=True, check=False).returncode:
        pytest.skip("user namespaces are unavailable here, as in a chroot")


def test_private_netns_has_the_address_with_port_80() -> None:
    need_namespaces()
    seen = json.loads(run(sys.executable, "-c", INSIDE))
    assert seen == {
        "is_new": True,
        "client": "169.254.169.254",
        "ids": [os.getuid(), os.getgid()],
        "devices": ["lo"],
    }


def test_why_unavailable_leaves_the_process_in_its_netns() -> None:
    before = Path("/proc/self/ns/net").readlink()
    why_unavailable()
    assert Path("/proc/self/ns/net").readlink() == before


def test_blackhole_rules_precede_routes_added_later() -> None:
    need_user_namespaces()
    if not shutil.which("ip"):
        pytest.skip("ip is not installed")
    assert json.loads(run("unshare", "-Ur", sys.executable, "-c", BLACKHOLED)) == {
        "169.254.1.1": errno.ENETUNREACH,
        "168.63.129.16": errno.ENETUNREACH,
        "192.0.2.1": 0,
        "127.0.0.1": 0,
        "169.254.169.254": 0,
    }


def test_restricted_kernel_is_named_with_a_remedy() -> None:
    need_user_namespaces()
    program = "from openimds.linux.private_netns import why_unavailable; print(why_unavailable())"
    output = run(*FORBIDDEN, NO_NAMESPACES, "sh", sys.executable, "-c", program)
    assert output == (
        "network namespaces are unavailable: user.max_user_namespaces is 0; type `sudo sysctl "
        "user.max_user_namespaces=10000`, or type `openimds serve`, and point clients at it with "
        "`openimds env`\n"
    )


@pytest.mark.parametrize("row", RESTRICTIONS, ids=lambda row: row.file)
def test_restriction_is_recognized_by_its_file(row: KernelRestriction, tmp_path: Path) -> None:
    (tmp_path / row.file).parent.mkdir(parents=True)
    (tmp_path / row.file).write_text(f"first\n{row.line}\n")
    message = str(refusal(PermissionError(errno.EPERM, "Operation not permitted"), tmp_path))
    alternative = private_netns._ALTERNATIVE
    assert message == f"{UNAVAILABLE}: {row.reason}; {row.remedy}, {alternative}"


@pytest.mark.parametrize(
    "error, user, reason",
    [
        (
            OSError(errno.EINVAL, "Invalid argument", "unshare"),
            1000,
            "this kernel lacks them, or this process has threads; start it with a single thread, ",
        ),
        (
            OSError(errno.EPERM, "Operation not permitted", "unshare"),
            1000,
            "unshare: operation not permitted; run it as root, ",
        ),
        (OSError("that is all"), 0, "kernel: that is all; give it CAP_SYS_ADMIN, "),
    ],
    ids=["unknown flag", "no known restriction", "no errno, as root"],
)
def test_unknown_refusal_quotes_the_kernel(
    error: OSError, user: int, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    refused = refusal(error, tmp_path)
    assert isinstance(refused, NamespaceError)
    assert isinstance(refused, Error)
    assert str(refused) == f"{UNAVAILABLE}: {reason}{private_netns._ALTERNATIVE}"


def test_process_with_threads_is_refused() -> None:
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


def test_other_platforms_are_refused_untried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_netns, "IS_LINUX", False)
    reason = "network namespaces are unavailable: only Linux has them"
    assert why_unavailable() == reason
    with pytest.raises(NamespaceError, match=reason):
        private_netns.enter()


def test_local_addresses_are_exempt_from_proxies() -> None:
    local = "169.254.169.254,127.0.0.1,localhost"
    assert no_proxy_variables({"NO_PROXY": "example.org", "http_proxy": ""}) == {}
    assert no_proxy_variables({"ALL_PROXY": "socks5://proxy", "NO_PROXY": "example.org"}) == {
        "no_proxy": local,
        "NO_PROXY": f"example.org,{local}",
    }


def test_hosts_are_exempt_from_proxies_of_https_too() -> None:
    proxied = {"HTTPS_PROXY": "http://proxy"}
    assert no_proxy_variables(proxied) == {}
    hosts = "169.254.169.254,127.0.0.1,localhost,one.example,two.example"
    mapped = no_proxy_variables(proxied, ["one.example", "two.example"])
    assert mapped == {"no_proxy": hosts, "NO_PROXY": hosts}
