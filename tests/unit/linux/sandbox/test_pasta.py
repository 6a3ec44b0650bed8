"""Name servers, default routes and the command line of pasta."""

import os
import shutil
from pathlib import Path

import pytest

from openimds.linux.sandbox import pasta
from openimds.linux.sandbox.pasta import RouteTable, redirected_resolv_conf

IPV4 = RouteTable(Path("route"), device=0, to=1, mask=7)
IPV6 = RouteTable(Path("ipv6_route"), device=9, to=0, mask=1)
HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
NONE = "0" * 32


@pytest.mark.parametrize(
    "text",
    [
        "nameserver 10.0.0.1\n",
        "# nameserver 127.0.0.53\nsearch lan\nnameserver 2001:db8::1\n",
        "nameserver 127.0.0.53\nnameserver 10.0.0.1\n",
        "nameserver fe80::1%eth0\n",
    ],
)
def test_reachable_name_server_is_kept(text: str) -> None:
    assert redirected_resolv_conf(text) == ""


@pytest.mark.parametrize(
    "text, becomes",
    [
        ("nameserver 127.0.0.53\noptions edns0\n", "options edns0\nnameserver 192.0.2.53\n"),
        (
            "search lan\nnameserver ::1\nnameserver 127.0.0.1\n",
            "search lan\nnameserver 192.0.2.53\n",
        ),
        ("nameserver 168.63.129.16\n", "nameserver 192.0.2.53\n"),
        ("nameserver 169.254.169.254\n", "nameserver 192.0.2.53\n"),
        ("", "nameserver 192.0.2.53\n"),
    ],
    ids=[
        "a resolver on loopback",
        "two of them",
        "Azure's",
        "another cloud's",
        "none, so loopback",
    ],
)
def test_unreachable_name_server_is_replaced_by_pastas(text: str, becomes: str) -> None:
    assert redirected_resolv_conf(text) == becomes


@pytest.mark.parametrize(
    "table, text, is_default",
    [
        (IPV4, HEAD, False),
        (IPV4, f"{HEAD}eth0\t0009090A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n", False),
        (IPV4, f"{HEAD}eth0\t00000000\t0109090A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n", True),
        # A route to half of all addresses is not a default route.
        (IPV4, f"{HEAD}eth0\t00000000\t0109090A\t0003\t0\t0\t0\t00000080\t0\t0\t0\n", False),
        (IPV6, f"{NONE} 00 {NONE} 00 {NONE} ffffffff 1 0 00200200 lo\n", False),
        (IPV6, f"fe80{NONE[4:]} 40 {NONE} 00 {NONE} 100 1 0 00000001 eth0\n", False),
        (IPV6, f"{NONE} 00 {NONE} 00 fe80{NONE[4:]} 400 1 0 00000003 eth0\n", True),
    ],
)
def test_default_route_is_recognized(
    table: RouteTable, text: str, is_default: bool, tmp_path: Path
) -> None:
    path = tmp_path / table.path
    path.write_text(text)
    routes = RouteTable(path, device=table.device, to=table.to, mask=table.mask)
    assert pasta._has_default(routes) is is_default


def test_pasta_forwards_no_ports_inward_and_keeps_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/pasta")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    command = " ".join(pasta._command(42))
    assert command == (
        "/usr/bin/pasta --foreground --quiet --config-net -t none -u none -T auto -U none "
        "--dns-forward 192.0.2.53 42"
    )
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert pasta._command(42) == command.replace(" -t", " --runas 0 -t").split()


def test_missing_route_table_has_no_default_route(tmp_path: Path) -> None:
    assert not pasta._has_default(RouteTable(tmp_path / "none", device=9, to=0, mask=1))
