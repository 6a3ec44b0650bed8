"""Tokens in the state folder of a host: bounds, damage, and VMs that changed meanwhile."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from openimds import private_files
from openimds.credentials.remote import kept_tokens
from openimds.credentials.remote.kept_tokens import (
    FOLDER,
    MAX_SHARD_BYTES,
    MOST_WRITES,
    SHARDS,
    KeptToken,
    KeptTokens,
)
from openimds.protocol.pending import AccessToken
from tests.unit.credentials.tokens.cache_setup import NOW_S, PENDING

DIGEST, OTHER = b"12345678", b"87654321"


def kept(vm: str = "web-1", text: str = "token") -> KeptToken:
    token = AccessToken(text, int(NOW_S) - 300, int(NOW_S) + 86_400, 86_400)
    return KeptToken(replace(PENDING, vm=vm), token, NOW_S, NOW_S + 43_200, NOW_S)


class Host:
    """The files of a host, and the tokens that it has in memory."""

    def __init__(self, folder: Path | None) -> None:
        self.messages: list[str] = []
        self.files = KeptTokens(folder, self.messages.append)
        self.tokens: dict[str, tuple[KeptToken, ...]] = {}

    def place(self, name: str = "web-1", digest: bytes = DIGEST) -> tuple[KeptToken, ...]:
        found = self.files.place(name, digest)
        if found:
            self.put(name, *found)
        return found

    def put(self, name: str, *tokens: KeptToken) -> None:
        self.tokens[name] = tokens
        self.files.change([name])

    def write(self, most: int = SHARDS) -> None:
        asyncio.run(self.files.write(lambda name: self.tokens.get(name, ()), most))


def written(folder: Path, *names: str) -> Host:
    """Return a host that has written a token of each VM."""
    host = Host(folder)
    for name in names or ("web-1",):
        host.place(name)
        host.put(name, kept(name))
    host.write()
    return host


def paths(folder: Path) -> list[Path]:
    return sorted((folder / FOLDER).iterdir())


def test_tokens_of_an_unchanged_vm_survive_a_restart(tmp_path: Path) -> None:
    written(tmp_path, "web-1", "web-2")
    again = Host(tmp_path)
    assert again.place("web-2") == (kept("web-2"),)
    assert again.place("web-2") == (), "once"
    assert again.place() == (kept(),)
    again.write()
    assert Host(tmp_path).place() == (kept(),)


def test_files_are_of_their_owner_alone(tmp_path: Path) -> None:
    written(tmp_path)
    (path,) = paths(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_token_is_written_without_waiting_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise AssertionError("no fsync")

    monkeypatch.setattr(os, "fsync", fail)
    assert written(tmp_path).messages == []
    assert Host(tmp_path).place() == (kept(),)


def test_tokens_of_a_changed_vm_are_dropped(tmp_path: Path) -> None:
    written(tmp_path)
    again = Host(tmp_path)
    assert again.place(digest=OTHER) == ()
    again.write()
    assert paths(tmp_path) == []


def test_vm_that_changes_on_the_host_has_its_new_digest(tmp_path: Path) -> None:
    host = written(tmp_path)
    host.place("without")
    host.place("without", OTHER)
    host.place(digest=OTHER)
    assert len(host.files._changed) == 1, "of the VM with tokens alone"
    host.write()
    assert Host(tmp_path).place(digest=OTHER) == (kept(),)


def test_tokens_of_vms_that_left_are_dropped(tmp_path: Path) -> None:
    host = written(tmp_path, "web-1", "web-2")
    host.place("without")
    host.files.leave({"web-1", "without", "unknown"})
    host.files.change({"web-1"})
    host.write()
    assert len(paths(tmp_path)) == 1
    again = Host(tmp_path)
    assert (again.place("web-1"), again.place("web-2")) == ((), (kept("web-2"),))


def test_tokens_of_vms_that_were_not_placed_again_are_dropped(tmp_path: Path) -> None:
    written(tmp_path, "web-1", "web-2")
    again = Host(tmp_path)
    again.place("web-1")
    again.files.settle()
    again.write()
    last = Host(tmp_path)
    assert (last.place("web-2"), last.place("web-1")) == ((), (kept(),))


def test_second_restart_before_control_is_there_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_tokens, "SHARDS", 1)
    written(tmp_path, "web-1", "web-2")
    again = Host(tmp_path)
    again.place("web-1")
    again.write()
    last = Host(tmp_path)
    assert (last.place("web-2"), last.place("web-1")) == ((kept("web-2"),), (kept(),))


def test_vm_without_tokens_has_no_file(tmp_path: Path) -> None:
    host = written(tmp_path)
    host.put("web-1")
    host.write()
    assert paths(tmp_path) == []
    host.write()
    host.put("web-1", kept())
    host.write()
    assert len(paths(tmp_path)) == 1


@pytest.mark.parametrize("damage", ["cut", "changed", "open", "another", "link"])
def test_damaged_file_is_removed(tmp_path: Path, damage: str) -> None:
    written(tmp_path)
    (path,) = paths(tmp_path)
    octets = path.read_bytes()
    match damage:
        case "cut":
            path.write_bytes(octets[:-3])
        case "changed":
            path.write_bytes(octets[:-1] + bytes([octets[-1] ^ 1]))
        case "open":
            path.chmod(0o644)
        case "another":
            content = b"\x91\x01"
            path.write_bytes(b"OIMT1" + kept_tokens._sum(content) + content)
        case _:
            path.unlink()
            path.symlink_to(tmp_path / "elsewhere")
    again = Host(tmp_path)
    assert again.place() == ()
    assert paths(tmp_path) == []
    assert again.messages == []


def test_file_that_is_a_folder_is_left(tmp_path: Path) -> None:
    (tmp_path / FOLDER / "000.tokens").mkdir(parents=True)
    assert Host(tmp_path).place() == ()


def test_full_disk_is_reported_once_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(private_files, "write", full)
        host = written(tmp_path)
        host.write()
    (message,) = host.messages
    assert "tokens: no space left on device: the tokens of guests are in memory" in message
    assert message.endswith(". Free space on the disk")
    host.write()
    assert Host(tmp_path).place() == (kept(),)
    with monkeypatch.context() as patched:
        patched.setattr(private_files, "write", full)
        host.put("web-1", kept())
        host.write()
    assert len(host.messages) == 2


def test_folder_of_another_user_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(private_files, "write", refuse)
    (message,) = written(tmp_path).messages
    assert message.endswith(
        "tokens: permission denied: the tokens of guests are in memory, and "
        "after a restart they are fetched from control"
    )


def test_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_tokens, "SHARDS", 1)
    host = Host(tmp_path)
    names = [f"web-{number}" for number in range(5)]
    for name in names:
        host.place(name)
        host.put(name, kept(name, "x" * (MAX_SHARD_BYTES // 3)))
    host.write()
    (path,) = paths(tmp_path)
    assert MAX_SHARD_BYTES // 3 < path.stat().st_size <= MAX_SHARD_BYTES
    again = Host(tmp_path)
    assert [len(again.place(name)) for name in names] == [1, 1, 0, 0, 0]


def test_turn_writes_some_files_alone(tmp_path: Path) -> None:
    host = Host(tmp_path)
    for number in range(3 * MOST_WRITES):
        host.place(f"web-{number}")
        host.put(f"web-{number}", kept(f"web-{number}"))
    host.write(MOST_WRITES)
    assert len(paths(tmp_path)) == MOST_WRITES
    host.write()
    again = Host(tmp_path)
    assert all(again.place(f"web-{number}") for number in range(3 * MOST_WRITES))


def test_host_without_a_folder_writes_nothing() -> None:
    host = Host(None)
    host.place()
    host.put("web-1", kept())
    host.write()
    assert Host(None).place() == ()
