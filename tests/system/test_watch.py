"""Editing the fleet file while it is served."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.system.process import Server, serving

pytestmark = pytest.mark.system

SIZE = "/metadata/instance/compute/vmSize?api-version=2021-02-01&format=text"
NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
TIMEOUT_S = 20


def fleet(**sizes: str) -> str:
    """Return a fleet file with VMs at 127.0.0.31, 32… in alphabetical order."""
    lines = ["vms:"]
    for name, size in sizes.items():
        address = f"127.0.0.{31 + 'abcdef'.index(name)}"
        lines.append(f"  {name}: {{compute: {{vmSize: {size}}}, reach: {{address: [{address}]}}}}")
    return "\n".join(lines)


class Watched:
    """A server, its admin API, its feed of changes and its stderr."""

    def __init__(self, server: Server, api: httpx2.Client, lines: Iterator[str]) -> None:
        self.server, self.api, self._lines = server, api, lines

    def change(self) -> tuple[str, str, str]:
        """Wait for the next change; return the name, the kind and the origin."""
        for line in self._lines:
            key, _, value = line.partition(": ")
            if key == "data":
                entry = httpx2.Response(200, text=value).json()
                return entry["name"], entry["kind"], entry["who"]
        raise AssertionError("the feed has ended")

    def size(self, number: int) -> tuple[int, str]:
        transport = httpx2.HTTPTransport(local_address=f"127.0.0.{number}")
        with httpx2.Client(transport=transport, headers={"Metadata": "true"}) as guest:
            got = guest.get(f"{self.server.url}{SIZE}")
        return got.status_code, got.text

    def vms(self) -> dict[str, str]:
        """Return the VMs with their sizes."""
        items: list[dict[str, Any]] = self.api.get("/v1/vms").raise_for_status().json()["items"]
        return {item["name"]: item.get("compute", {}).get("vmSize", "") for item in items}


@contextmanager
def watched(path: str, cwd: Path, *arguments: str) -> Iterator[Watched]:
    with (
        serving("--fleet", path, "--no-rate-limit", *arguments, cwd=cwd) as server,
        httpx2.Client(
            base_url=server.ready["admin"], headers=server.authorization, timeout=TIMEOUT_S
        ) as api,
        api.stream("GET", "/v1/changes") as feed,
    ):
        yield Watched(server, api, feed.iter_lines())


def replace(path: Path, text: str) -> None:
    """Write as most editors do: another file, moved over the old one."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.replace(path)


def test_edit_of_the_fleet_file_is_served(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(fleet(a="One", b="Two"))
    with watched("fleet.yaml", tmp_path) as server:
        assert server.size(31) == (200, "One")
        replace(file, fleet(a="Three", b="Two"))
        assert server.change() == ("a", "put", "file fleet.yaml")
        assert (server.size(31), server.size(32)) == ((200, "Three"), (200, "Two"))
        assert server.server.next_line() == f"openimds: {file}: 1 changes applied.\n"
        # The same file, written over in place.
        file.write_text(fleet(a="Three", b="Four"))
        assert server.change() == ("b", "put", "file fleet.yaml")
        assert server.size(32) == (200, "Four")


def test_edit_right_after_the_ready_line_is_served(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(fleet(a="One", b="Two"))
    with serving("--fleet", "fleet.yaml", "--no-rate-limit", cwd=tmp_path) as server:
        replace(file, fleet(a="Three", b="Two"))
        assert server.next_line() == f"openimds: {file}: 1 changes applied.\n"


def test_vm_leaves_and_joins_with_its_lines_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(fleet(a="One", b="Two", c="Three"))
    with watched("fleet.yaml", tmp_path) as server:
        replace(file, fleet(b="Two", c="Three", d="Four"))
        changes = {server.change()[:2], server.change()[:2]}
        assert changes == {("a", "remove"), ("d", "put")}
        assert server.size(31) == (404, '{"error":"Not found"}')
        assert server.size(34) == (200, "Four")
        assert server.vms() == {"b": "Two", "c": "Three", "d": "Four"}


BAD = [
    ("vms: {a: {compute: {vmsize: X}}}", 'fleet.yaml: vms.a.compute: saw unknown key "vmsize"'),
    ("vms: {a: [}", "fleet.yaml: "),
    ("", "fleet.yaml: top level: saw nothing"),
    (
        fleet(a="One") + "\n  b: {reach: {address: [127.0.0.31]}}",
        "fleet.yaml: vms.b.reach.address: saw 127.",
    ),
    (
        'vms: {a: {reach: {listen: ["unix:/nowhere/x"]}}}',
        "fleet.yaml: vms.a.reach.listen: saw unix:/nowhere",
    ),
]


@pytest.mark.parametrize("text, message", BAD)
def test_bad_edit_is_reported_and_changes_nothing(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(fleet(a="One", b="Two"))
    with watched("fleet.yaml", tmp_path) as server:
        before = server.api.get("/v1/audit").json()
        replace(file, text)
        line = server.server.next_line()
        assert line.startswith(f"openimds: fleet file not applied: {message}")
        assert line.endswith("; the previous fleet is still served.\n")
        assert (server.size(31), server.size(32)) == ((200, "One"), (200, "Two"))
        assert server.api.get("/v1/audit").json() == before
        # The next good edit is applied.
        replace(file, fleet(a="One", b="Three"))
        assert server.change()[:2] == ("b", "put")
        assert server.size(32) == (200, "Three")


def test_missing_file_changes_nothing_until_it_is_back(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(fleet(a="One", b="Two"))
    with watched("fleet.yaml", tmp_path) as server:
        file.unlink()
        assert server.server.next_line() == (
            "openimds: fleet file not applied: fleet.yaml: saw no such file or directory, expected "
            "a file that can be read; the previous fleet is still served.\n"
        )
        assert server.size(31) == (200, "One")
        replace(file, fleet(a="Two", b="Two"))
        assert server.change()[:2] == ("a", "put")
        assert server.size(31) == (200, "Two")


def test_edit_leaves_the_vms_of_the_admin_api(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(fleet(a="One", b="Two"))
    with watched("fleet.yaml", tmp_path) as server:
        mine = {"compute": {"vmSize": "Mine"}, "reach": {"address": ["127.0.0.36"]}}
        server.api.put("/v1/vms/f", json=mine).raise_for_status()
        assert server.change()[0] == "f"
        replace(file, fleet(a="Three"))
        assert {server.change()[:2], server.change()[:2]} == {("a", "put"), ("b", "remove")}
        assert server.vms() == {"a": "Three", "f": "Mine"}
        assert server.size(36) == (200, "Mine")


def test_other_file_in_the_folder_undoes_no_admin_change(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(fleet(a="One", b="Two"))
    # The state in the folder of the file: every change of the store is an edit in the folder.
    with watched("fleet.yaml", tmp_path, "--state", ".") as server:
        server.api.patch("/v1/vms/a", json={"compute": {"vmSize": "Mine"}}).raise_for_status()
        assert server.change()[:2] == ("a", "put")
        (tmp_path / "notes.txt").write_text("unrelated")
        file.touch()
        replace(file, "vms: [")
        assert server.server.next_line().endswith("; the previous fleet is still served.\n")
        assert server.vms() == {"a": "Mine", "b": "Two"}
        replace(file, fleet(a="One", b="Three"))
        assert server.change()[:2] == ("b", "put")
        assert server.vms() == {"a": "Mine", "b": "Three"}


def test_a_folder_of_files_is_one_fleet(tmp_path: Path) -> None:
    folder = tmp_path / "fleet"
    folder.mkdir()
    (folder / "one.yaml").write_text(fleet(a="One"))
    (folder / "two.json").write_text('{"vms": {"b": {"reach": {"address": ["127.0.0.32"]}}}}')
    (folder / "notes.txt").write_text("not a fleet")
    with watched("fleet", tmp_path) as server:
        assert server.size(31) == (200, "One")
        (folder / "three.toml").write_text(
            '[vms.c]\ncompute = {vmSize = "Three"}\nreach = {address = ["127.0.0.33"]}\n'
        )
        assert server.change() == ("c", "put", "file fleet")
        assert server.size(33) == (200, "Three")
        (folder / "one.yaml").unlink()
        assert server.change()[:2] == ("a", "remove")
        assert server.vms() == {"b": "", "c": "Three"}
        assert server.server.next_line() == f"openimds: {folder}: 1 changes applied.\n"
        assert server.server.next_line() == f"openimds: {folder}: 1 changes applied.\n"
        replace(folder / "four.yaml", fleet(c="Four"))
        assert server.server.next_line() == (
            f"openimds: fleet file not applied: {Path('fleet', 'three.toml')}: vms.c: saw a VM "
            "that four.yaml names too, expected each VM in one file; the previous fleet is still "
            "served.\n"
        )


def test_listener_that_moves_to_another_vm_serves_that_vm(tmp_path: Path) -> None:
    path = tmp_path / "one.sock"
    text = 'vms: {a: {reach: {listen: ["unix:PATH"]}}, b: {}}'.replace("PATH", str(path))
    moved = 'vms: {b: {reach: {listen: ["unix:PATH"]}}, a: {}}'.replace("PATH", str(path))
    (tmp_path / "fleet.yaml").write_text(text)

    def name() -> str:
        transport = httpx2.HTTPTransport(uds=str(path))
        with httpx2.Client(transport=transport, headers={"Metadata": "true"}) as guest:
            return guest.get(f"http://x{NAME}").text

    with watched("fleet.yaml", tmp_path) as server:
        assert name() == "a"
        replace(tmp_path / "fleet.yaml", moved)
        assert {server.change()[0], server.change()[0]} == {"a", "b"}
        server.server.next_line()
        assert name() == "b"


def test_target_of_a_link_is_followed_when_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target = tmp_path / "there" / "target.yaml"
    target.write_text(fleet(a="One"))
    (tmp_path / "fleet.yaml").symlink_to(target)
    with watched("fleet.yaml", tmp_path) as server:
        replace(target, fleet(a="Two"))
        assert server.change()[:2] == ("a", "put")
        other = target.with_name("other.yaml")
        other.write_text(fleet(a="Three"))
        (tmp_path / "new").symlink_to(other)
        (tmp_path / "new").replace(tmp_path / "fleet.yaml")
        assert server.change()[:2] == ("a", "put")
        assert server.size(31) == (200, "Three")


@pytest.mark.parametrize("name", ["volume", "volume/fleet.yaml"])
def test_swapped_kubernetes_volume_is_served(tmp_path: Path, name: str) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    for data, size in (("..1", "One"), ("..2", "Two")):
        (volume / data).mkdir()
        (volume / data / "fleet.yaml").write_text(fleet(a=size))
    (volume / "..data").symlink_to("..1")
    (volume / "fleet.yaml").symlink_to("..data/fleet.yaml")
    with watched(name, tmp_path) as server:
        (volume / "..data_tmp").symlink_to("..2")
        (volume / "..data_tmp").replace(volume / "..data")
        assert server.change()[:2] == ("a", "put")
        assert server.size(31) == (200, "Two")


def test_folder_that_is_made_again_is_served(tmp_path: Path) -> None:
    folder = tmp_path / "fleets"
    folder.mkdir()
    (folder / "fleet.yaml").write_text(fleet(a="One"))
    with watched("fleets/fleet.yaml", tmp_path) as server:
        folder.rename(tmp_path / "before")
        assert "no such file or directory" in server.server.next_line()
        folder.mkdir()
        (folder / "fleet.yaml").write_text(fleet(a="Two"))
        assert server.change()[:2] == ("a", "put")
        assert server.size(31) == (200, "Two")


def test_server_whose_file_cannot_be_read_ends(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(fleet(a="One"))
    with watched("fleet.yaml", tmp_path) as server:
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "pipe").replace(file)
        assert server.server.next_line().endswith("; the previous fleet is still served.\n")
        assert server.size(31) == (200, "One")
        assert server.server.stop() == (0, "")


def test_stored_fleet_follows_the_file_of_the_next_start(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(fleet(a="One", b="Two"))
    with watched("fleet.yaml", tmp_path, "--state", "kept") as server:
        mine = {"compute": {"vmSize": "Mine"}, "reach": {"address": ["127.0.0.36"]}}
        server.api.put("/v1/vms/f", json=mine).raise_for_status()
    file.write_text(fleet(b="Three"))
    with watched("fleet.yaml", tmp_path, "--state", "kept") as server:
        assert server.vms() == {"b": "Three", "f": "Mine"}
        assert (server.size(32), server.size(36)) == ((200, "Three"), (200, "Mine"))
