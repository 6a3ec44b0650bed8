"""Key files in the store: encrypted, and restored on the next control."""

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from openimds.credentials.hosts.authority import HostsCa
from openimds.credentials.keys.files import KeyFileError, remove_file, write_file
from openimds.credentials.keys.keyring import Keyring
from openimds.credentials.keys.mirror import (
    KEY,
    KEY_BYTES,
    MARKER,
    MAX_MIRRORED_BYTES,
    KeyMirror,
    is_mirrored,
    make_key_file,
    read_key_file,
)
from openimds.credentials.pki.lazy_ca import CaSettings
from openimds.credentials.service import CredentialsService
from openimds.credentials.tokens.caller_secrets import CallerSecrets, SecretFileError
from openimds.errors import Error
from openimds.private_files import MirrorError
from openimds.protocol.access_token import TokenSettings
from tests.unit.credentials.tokens.cache_setup import NOW_S

SETTINGS = TokenSettings(86_400)
SHARED_KEY = bytes(range(KEY_BYTES))


class StoreLostError(Error):
    pass


class Values:
    """A store of values in memory that can be lost."""

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}
        self.is_lost = False
        self.writes = 0

    def get(self, key: str) -> bytes | None:
        self._check()
        return self.stored.get(key)

    def put(self, key: str, value: bytes | None) -> None:
        self._check()
        assert value is not None
        self.writes += 1
        self.stored[key] = value

    def _check(self) -> None:
        if self.is_lost:
            raise StoreLostError("no connection")


def mirror_of(values: Values, folder: Path) -> KeyMirror:
    mirror = KeyMirror(values, SHARED_KEY)
    mirror.restore(folder)
    return mirror


def test_second_control_has_the_keys_of_the_first(tmp_path: Path) -> None:
    values, first, second = Values(), tmp_path / "a", tmp_path / "b"
    mirror = mirror_of(values, first)
    service = CredentialsService(CaSettings(first), SETTINGS)
    service.rotate(NOW_S)
    service.rotate(NOW_S + 60)
    for part in ("intermediate", "root"):
        service.ca.rotate(part, NOW_S)
    secret, hosts = CallerSecrets.open(first).of("vm"), HostsCa.open(first, NOW_S)
    service.close()
    mirror.close()

    mirror_of(values, second)
    restored = CredentialsService(CaSettings(second), SETTINGS)
    public = service.keyring().public(NOW_S + 60)
    assert len(public) == 2
    assert restored.keyring().public(NOW_S + 60) == public
    chain, before = restored.ca.authority(NOW_S).chain, service.ca.authority(NOW_S).chain
    assert len(chain.old) == 5
    assert chain.certificates() == before.certificates()
    assert isinstance(chain.issuer, type(before.issuer))
    assert CallerSecrets.open(second).of("vm") == secret
    assert HostsCa.open(second, NOW_S).fingerprint == hosts.fingerprint
    restored.close()


def test_store_has_no_readable_key(tmp_path: Path) -> None:
    values = Values()
    mirror_of(values, tmp_path)
    HostsCa.open(tmp_path, NOW_S)
    stored = values.stored[KEY]
    assert b"PRIVATE KEY" in (tmp_path / "hosts" / "ca.pem").read_bytes()
    assert not any(word in stored for word in (b"PRIVATE KEY", b"hosts/ca.pem", b"files"))
    HostsCa.open(tmp_path, NOW_S).rotate(NOW_S)
    assert values.stored[KEY][13:25] != stored[13:25]  # the nonce


def test_store_without_keys_takes_those_of_the_folder(tmp_path: Path) -> None:
    values, first, second = Values(), tmp_path / "a", tmp_path / "b"
    fingerprint = HostsCa.open(first, NOW_S).fingerprint
    mirror = KeyMirror(values, SHARED_KEY)
    assert mirror.restore(first) == f"the store has taken the 1 key files of {first}"
    report = KeyMirror(values, SHARED_KEY).restore(second)
    assert report == f"{second} has the 1 key files of the store"
    assert HostsCa.open(second, NOW_S).fingerprint == fingerprint


def test_file_is_in_the_store_before_it_is_written(tmp_path: Path) -> None:
    values = Values()
    mirror_of(values, tmp_path)
    path = tmp_path / "keys" / "x.pem"
    write_file(path, b"old")
    values.is_lost = True
    with pytest.raises(KeyFileError, match=r"x\.pem: the key files cannot be written to the store"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert [one.name for one in path.parent.iterdir()] == ["x.pem"]
    with pytest.raises(KeyFileError, match=r"x\.pem: the key files cannot be written to the store"):
        remove_file(path)
    assert path.exists()
    with pytest.raises(SecretFileError, match="caller-secret: the key files cannot be written"):
        CallerSecrets.open(tmp_path, lambda _: None)


def test_key_without_the_store_signs_nothing(tmp_path: Path) -> None:
    values = Values()
    mirror_of(values, tmp_path)
    ring = Keyring.open(tmp_path / "keys")
    ring.report = lambda _: None
    values.is_lost = True
    with pytest.raises(KeyFileError, match="cannot be written to the store: no connection"):
        ring.signer(NOW_S)
    values.is_lost = False
    kid = ring.signer(NOW_S).kid
    mirror_of(values, tmp_path / "b")
    assert Keyring.open(tmp_path / "b" / "keys").signer(NOW_S).kid == kid


@contextmanager
def full_disk() -> Iterator[None]:
    """Let every write to a disk fail."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", full)
        yield


def test_keys_on_a_full_disk_sign_and_are_in_the_store(tmp_path: Path) -> None:
    values, messages = Values(), list[str]()
    KeyMirror(values, SHARED_KEY, notify=messages.append).restore(tmp_path / "a")
    service = CredentialsService(CaSettings(tmp_path / "a", notify=messages.append), SETTINGS)
    with full_disk():
        kids = [key.kid for key in service.keyring().public(NOW_S)]
        service.rotate(NOW_S)
        root = service.ca.root_pem(NOW_S)
        secret = CallerSecrets.open(tmp_path / "a", messages.append).of("vm")
        hosts = HostsCa.open(tmp_path / "a", NOW_S)
    assert [message for message in messages if "in memory" in message] == []
    (message,) = messages
    assert message.startswith(f"keys/{kids[0]}.pem: no space left on device: the store alone has")
    service.close()

    mirror_of(values, tmp_path / "b")
    restored = CredentialsService(CaSettings(tmp_path / "b"), SETTINGS)
    assert kids[0] in [key.kid for key in restored.keyring().public(NOW_S)]
    assert len(restored.keyring().public(NOW_S)) == 2
    assert restored.ca.root_pem(NOW_S) == root
    assert CallerSecrets.open(tmp_path / "b").of("vm") == secret
    assert HostsCa.open(tmp_path / "b", NOW_S).fingerprint == hosts.fingerprint
    restored.close()


def test_folder_of_a_full_disk_gets_its_files_later(tmp_path: Path) -> None:
    mirror = mirror_of(Values(), tmp_path)
    path = tmp_path / "keys" / "x.pem"
    write_file(path, b"old")
    with full_disk():
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    mirror.restore(tmp_path)
    assert path.read_bytes() == b"new"


def test_disk_that_is_full_again_is_reported_again(tmp_path: Path) -> None:
    messages = list[str]()
    KeyMirror(Values(), SHARED_KEY, notify=messages.append).restore(tmp_path)
    path = tmp_path / "keys" / "x.pem"
    for expected in (1, 2):
        with full_disk():
            write_file(path, b"new")
            write_file(path, b"newer")
        assert len(messages) == expected
        write_file(path, b"old")


def test_full_disk_without_the_store_writes_no_key(tmp_path: Path) -> None:
    values = Values()
    mirror_of(values, tmp_path)
    ring = Keyring.open(tmp_path / "keys")
    ring.report = lambda _: None
    with full_disk():
        with pytest.raises(KeyFileError, match="no space left"):
            write_file(tmp_path / "vms.json", b"x")
        values.is_lost = True
        with pytest.raises(KeyFileError, match="cannot be written to the store: no connection"):
            ring.signer(NOW_S)


def test_removed_and_unchanged_files_are_followed(tmp_path: Path) -> None:
    values = Values()
    mirror = mirror_of(values, tmp_path / "a")
    path = tmp_path / "a" / "keys" / "x.pem"
    write_file(path, b"x")
    writes = values.writes
    write_file(path, b"x")
    assert values.writes == writes
    remove_file(path)
    remove_file(path)
    assert values.writes == writes + 1
    remove_file(tmp_path / "a" / "admin-token")
    mirror.close()
    mirror.close()
    write_file(path, b"y")
    assert values.writes == writes + 1
    mirror_of(values, tmp_path / "b")
    assert not (tmp_path / "b" / "keys").exists()


def test_former_leader_gets_the_files_of_the_next(tmp_path: Path) -> None:
    values, first, second = Values(), tmp_path / "a", tmp_path / "b"
    former = mirror_of(values, first)
    write_file(first / "keys" / "gone.pem", b"1")
    write_file(first / "keys" / "changed.pem", b"1")
    mirror_of(values, second)
    remove_file(second / "keys" / "gone.pem")
    write_file(second / "keys" / "changed.pem", b"2")
    former.restore(first)
    assert not (first / "keys" / "gone.pem").exists()
    assert (first / "keys" / "changed.pem").read_bytes() == b"2"
    write_file(first / "keys" / "more.pem", b"3")
    mirror_of(values, second)
    assert (second / "keys" / "more.pem").read_bytes() == b"3"


@pytest.mark.parametrize("has_marker", [True, False])
def test_folder_with_keys_of_its_own_is_refused(tmp_path: Path, *, has_marker: bool) -> None:
    values = Values()
    mirror_of(values, tmp_path / "a")
    write_file(tmp_path / "a" / "keys" / "x.pem", b"theirs")
    other = tmp_path / "b"
    write_file(other / "keys" / "x.pem", b"own")
    if has_marker:
        write_file(other / MARKER, b"another store")
    with pytest.raises(KeyFileError, match=r"b: saw key files of its own \(such as keys/x\.pem\)"):
        KeyMirror(values, SHARED_KEY).restore(other)
    assert (other / "keys" / "x.pem").read_bytes() == b"own"


def test_wrong_key_file_is_refused_and_overwrites_nothing(tmp_path: Path) -> None:
    values = Values()
    mirror_of(values, tmp_path / "a")
    stored = dict(values.stored)
    wrong = KeyMirror(values, bytes(KEY_BYTES), "--key-file /x")
    message = "--key-file /x is not the one that encrypted the keys of this store. Give all"
    with pytest.raises(KeyFileError, match=message):
        wrong.restore(tmp_path / "b")
    with pytest.raises(KeyFileError, match=message):
        wrong.save("keys/x.pem", b"x")
    with pytest.raises(KeyFileError, match=message):
        wrong.remove("keys/x.pem")
    assert values.stored == stored


@pytest.mark.parametrize(
    "at,seen", [(4, "another form"), (30, "changed octets"), (None, "another form")]
)
def test_damaged_value_is_refused(tmp_path: Path, at: int | None, seen: str) -> None:
    values = Values()
    mirror_of(values, tmp_path / "a")
    octets = bytearray(values.stored[KEY])
    if at is None:
        del octets[20:]
    else:
        octets[at] ^= 1
    values.stored[KEY] = bytes(octets)
    with pytest.raises(KeyFileError, match=f'value "key-files" of the store: saw {seen}'):
        KeyMirror(values, SHARED_KEY).restore(tmp_path / "b")


def test_lost_store_restores_nothing(tmp_path: Path) -> None:
    values = Values()
    values.is_lost = True
    with pytest.raises(MirrorError, match="cannot be read from the store: no connection"):
        KeyMirror(values, SHARED_KEY).restore(tmp_path)


def test_mirror_may_save_before_it_restores(tmp_path: Path) -> None:
    values = Values()
    KeyMirror(values, SHARED_KEY).save("keys/x.pem", b"x")
    KeyMirror(values, SHARED_KEY).save("keys/y.pem", b"y")
    mirror_of(values, tmp_path)
    assert {path.name for path in (tmp_path / "keys").iterdir()} == {"x.pem", "y.pem"}


def test_key_files_are_bounded(tmp_path: Path) -> None:
    values = Values()
    mirror_of(values, tmp_path)
    writes = values.writes
    with pytest.raises(KeyFileError, match=f"expected {MAX_MIRRORED_BYTES} at most"):
        write_file(tmp_path / "keys" / "x.pem", bytes(MAX_MIRRORED_BYTES))
    assert values.writes == writes


def test_key_files_alone_are_mirrored() -> None:
    taken = [
        "keys/-mnUA4LUhpLUXdmSf3C0D6SLWX0.pem",
        "caller-secret",
        "msi-v2.key",
        "keys/keyring.json",
        "ca/old/x.pem",
        "hosts/ca.pem",
    ]
    left = [
        "admin-token",
        "fleet.db",
        "keys",
        "ca/lists/x.crl",
        "keys/../x",
        "keys/.x.new",
        "/keys/x",
    ]
    assert all(map(is_mirrored, taken))
    assert not any(map(is_mirrored, left))


def test_mirror_is_used_by_many_threads(tmp_path: Path) -> None:
    values = Values()
    mirror_of(values, tmp_path / "a")
    paths = [tmp_path / "a" / "keys" / f"{number}.pem" for number in range(8)]
    threads = [threading.Thread(target=write_file, args=(path, b"x")) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    mirror_of(values, tmp_path / "b")
    assert {path.name for path in (tmp_path / "b" / "keys").iterdir()} == {
        path.name for path in paths
    }


def test_key_file_is_made_once_and_read_again(tmp_path: Path) -> None:
    path, link = tmp_path / "shared.key", tmp_path / "link"
    make_key_file(path)
    assert path.stat().st_mode & 0o777 == 0o600
    link.symlink_to(path)
    key = read_key_file(link)
    assert (len(key), key) == (KEY_BYTES, read_key_file(path))
    with pytest.raises(KeyFileError, match="there is such a file, and the keys of a store"):
        make_key_file(path)


@pytest.mark.parametrize(
    "case,message",
    [
        ("absent", "no such file. Copy the file of the other controls"),
        ("readable", "saw the mode 0644, expected 0600"),
        ("cut", "saw other content, expected 64 hexadecimal digits"),
    ],
)
def test_unfit_key_file_is_refused(tmp_path: Path, case: str, message: str) -> None:
    path = tmp_path / "shared.key"
    match case:
        case "readable":
            make_key_file(path)
            path.chmod(0o644)
        case "cut":
            write_file(path, b"abcd\n")
    with pytest.raises(KeyFileError, match=rf"shared\.key: {message}"):
        read_key_file(path)


def test_unremovable_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(KeyFileError, match="folder: is a directory"):
        remove_file(tmp_path / "folder")
