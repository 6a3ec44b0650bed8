import json
import threading
from collections.abc import Callable
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from openimds.credentials.keys import keyring
from openimds.credentials.keys.files import KeyFileError, new_key, write_file
from openimds.credentials.keys.keyring import OVERLAP_S, Keyring, kid_of
from openimds.credentials.tokens import oidc
from openimds.credentials.tokens.jwt import sign

NOW_S = 1_709_809_297
HOUR_S = 3600
TOKEN_LIFE_S = 86_700


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "tokens"


def kids(ring: Keyring, now_s: float) -> list[str]:
    return [key.kid for key in ring.public(now_s)]


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def listed(folder: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads((folder / "keyring.json").read_text())["keys"]
    return rows


def rewrite(folder: Path, rows: object) -> None:
    (folder / "keyring.json").write_text(json.dumps({"keys": rows}))


def token(ring: Keyring, now_s: float) -> str:
    return sign({"aud": "a", "sub": "s"}, ring.signer(now_s))


def verifies(token: str, ring: Keyring, now_s: float) -> bool:
    """Tell whether PyJWT verifies a token with the published keys."""
    keys = jwt.PyJWKSet.from_dict(oidc.jwks(ring.public(now_s)))
    try:
        key = keys[jwt.get_unverified_header(token)["kid"]]
    except KeyError:
        return False
    return jwt.decode(token, key.key, algorithms=["RS256"], audience="a") == {
        "aud": "a",
        "sub": "s",
    }


def test_open_of_an_empty_ring_makes_no_key_and_no_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(keyring, "new_key")
    Keyring.open(None)
    ring = Keyring.open(folder)
    ring.prune(NOW_S)
    assert not folder.exists()


def test_first_read_makes_the_first_key_and_later_ones_reuse_it() -> None:
    ring = Keyring.open(None)
    signer = ring.signer(NOW_S)
    assert ring.signer(NOW_S + 9) == signer
    assert kids(ring, NOW_S) == [signer.kid]
    assert len(kids(Keyring.open(None), NOW_S)) == 1
    assert signer.key.key_size == 2048


def test_kid_has_27_characters_and_identifies_the_key() -> None:
    # test_oidc has the value of a known key, from openssl.
    signer = Keyring.open(None).signer(NOW_S)
    assert len(signer.kid) == 27
    assert signer.kid == kid_of(signer.key.public_key())
    assert signer.kid != Keyring.open(None).signer(NOW_S).kid


def test_token_verifies_until_it_expires_across_rotations() -> None:
    ring = Keyring.open(None)
    old = token(ring, NOW_S)
    ring.rotate(NOW_S)
    new = token(ring, NOW_S)
    assert old.split(".")[0] != new.split(".")[0]
    assert kids(ring, NOW_S)[0] == ring.signer(NOW_S).kid
    for later_s in (0, TOKEN_LIFE_S, 25 * HOUR_S - 1):
        assert verifies(old, ring, NOW_S + later_s)
        assert verifies(new, ring, NOW_S + later_s)
    assert not verifies(old, ring, NOW_S + 25 * HOUR_S)
    assert verifies(new, ring, NOW_S + 25 * HOUR_S)
    assert OVERLAP_S == 25 * HOUR_S > TOKEN_LIFE_S


def test_retired_keys_are_dropped_one_overlap_after_retirement() -> None:
    ring = Keyring.open(None, overlap_s=100)
    first = ring.signer(0).kid
    ring.rotate(10)
    second = ring.signer(10).kid
    ring.rotate(50)
    third = ring.signer(50).kid
    assert kids(ring, 109) == [third, second, first]
    assert kids(ring, 110) == [third, second]
    assert kids(ring, 149) == [third, second]
    assert kids(ring, 150) == [third]


def test_clock_set_back_keeps_published_keys(folder: Path) -> None:
    ring = Keyring.open(folder, overlap_s=100)
    old = token(ring, 1000)
    ring.rotate(10)
    assert verifies(old, ring, 5)
    assert verifies(old, Keyring.open(folder), 5)


def test_reopened_ring_has_the_same_keys(folder: Path) -> None:
    ring = Keyring.open(folder)
    old = token(ring, NOW_S)
    ring.rotate(NOW_S + 60)
    new = token(ring, NOW_S + 60)
    again = Keyring.open(folder)
    assert kids(again, NOW_S + 60) == kids(ring, NOW_S + 60)
    assert again.signer(NOW_S + 60).kid == ring.signer(NOW_S + 60).kid
    assert verifies(old, again, NOW_S + 60 + OVERLAP_S - 1)
    assert not verifies(old, again, NOW_S + 60 + OVERLAP_S)
    assert verifies(new, again, NOW_S + 60 + OVERLAP_S)
    assert verifies(token(again, NOW_S), ring, NOW_S)


def test_list_has_the_times_of_each_key(folder: Path) -> None:
    ring = Keyring.open(folder)
    first = ring.signer(NOW_S).kid
    ring.rotate(NOW_S + 60)
    second = ring.signer(NOW_S + 60).kid
    assert listed(folder) == [
        {"kid": second, "began_s": NOW_S + 60, "retired_s": None},
        {"kid": first, "began_s": NOW_S, "retired_s": NOW_S + 60},
    ]


def test_key_files_are_readable_by_their_owner_only(folder: Path) -> None:
    ring = Keyring.open(folder)
    ring.signer(NOW_S)
    ring.rotate(NOW_S)
    assert files(folder) == {"keyring.json", *(f"{kid}.pem" for kid in kids(ring, NOW_S))}
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("change", [Keyring.prune, Keyring.rotate])
def test_file_of_a_dropped_key_is_removed(
    folder: Path, change: Callable[[Keyring, float], None]
) -> None:
    ring = Keyring.open(folder)
    ring.signer(NOW_S)
    ring.rotate(NOW_S)
    later_s = NOW_S + OVERLAP_S
    change(ring, later_s - 1)
    assert f"{kids(ring, later_s - 1)[-1]}.pem" in files(folder)
    change(ring, later_s)
    assert files(folder) == {"keyring.json", *(f"{kid}.pem" for kid in kids(ring, later_s))}
    assert [row["kid"] for row in listed(folder)] == kids(ring, later_s)
    assert kids(Keyring.open(folder), later_s) == kids(ring, later_s)


def test_prune_without_expired_keys_writes_nothing(folder: Path) -> None:
    ring = Keyring.open(folder)
    ring.signer(NOW_S)
    written = (folder / "keyring.json").stat()
    ring.prune(NOW_S + 10 * OVERLAP_S)
    after = (folder / "keyring.json").stat()
    assert (written.st_ino, written.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_rotation_of_an_empty_ring_makes_one_key() -> None:
    ring = Keyring.open(None)
    ring.rotate(NOW_S)
    assert len(kids(ring, NOW_S)) == 1


def test_concurrent_first_reads_make_one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(4)
    keys: list[RSAPrivateKey] = []
    seen: list[str] = []

    def make() -> RSAPrivateKey:
        keys.append(new_key())
        return keys[-1]

    def read_signer() -> None:
        together.wait(30)
        seen.append(ring.signer(NOW_S).kid)

    monkeypatch.setattr(keyring, "new_key", make)
    ring = Keyring.open(None)
    threads = [threading.Thread(target=read_signer) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 1
    assert seen == [kid_of(keys[0].public_key())] * 4


def test_reads_do_not_wait_for_a_rotation(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = Keyring.open(None)
    before = kids(ring, NOW_S)
    begun, opened = threading.Event(), threading.Event()

    def slow() -> RSAPrivateKey:
        begun.set()
        assert opened.wait(30)
        return new_key()

    monkeypatch.setattr(keyring, "new_key", slow)
    rotation = threading.Thread(target=ring.rotate, args=(NOW_S,))
    rotation.start()
    assert begun.wait(30)
    assert kids(ring, NOW_S) == before
    assert ring.signer(NOW_S).kid == before[0]
    opened.set()
    rotation.join()
    assert kids(ring, NOW_S)[1:] == before


def test_failed_rotation_keeps_the_current_key(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = Keyring.open(folder)
    before = kids(ring, NOW_S)

    def full(path: Path, _text: bytes) -> None:
        raise KeyFileError(f"{path}: no space left on device")

    monkeypatch.setattr(keyring, "write_file", full)
    with pytest.raises(KeyFileError, match="no space left"):
        ring.rotate(NOW_S)
    assert kids(ring, NOW_S) == before
    # The key file left behind is not listed; the next change removes it.
    assert len(files(folder)) == 3
    assert kids(Keyring.open(folder), NOW_S) == before
    monkeypatch.setattr(keyring, "write_file", write_file)
    ring.rotate(NOW_S)
    assert len(listed(folder)) == 2
    assert {row["kid"] for row in listed(folder)} == set(kids(ring, NOW_S))
    stored = {name for name in files(folder) if name.endswith(".pem")}
    assert stored == {f"{kid}.pem" for kid in kids(ring, NOW_S)}


def test_rotation_removes_only_unlisted_key_files(folder: Path) -> None:
    ring = Keyring.open(folder)
    ring.signer(NOW_S)
    # The second name is that of an interrupted write.
    for name in (f"{'x' * 27}.pem", f".{'y' * 27}.pem.new"):
        (folder / name).write_text("")
    for name in ("ca.pem", "notes.txt", f"{'x' * 28}.pem"):
        (folder / name).write_text("")
    ring.rotate(NOW_S)
    assert files(folder) - {f"{kid}.pem" for kid in kids(ring, NOW_S)} == {
        "keyring.json",
        "ca.pem",
        "notes.txt",
        f"{'x' * 28}.pem",
    }


def test_key_is_dropped_even_if_its_file_stays(folder: Path) -> None:
    ring = Keyring.open(folder)
    old = ring.signer(NOW_S).kid
    ring.rotate(NOW_S)
    (folder / f"{old}.pem").unlink()
    (folder / f"{old}.pem").mkdir()
    for name in (f"{'-' * 27}.pem", f"{'z' * 27}.pem"):
        (folder / name).write_text("")
    ring.prune(NOW_S + OVERLAP_S)
    assert files(folder) == {"keyring.json", f"{old}.pem", f"{kids(ring, NOW_S)[0]}.pem"}
    assert old not in kids(Keyring.open(folder), NOW_S)


def test_single_key_without_a_list_is_adopted(folder: Path) -> None:
    ring = Keyring.open(folder)
    kid = ring.signer(NOW_S).kid
    (folder / "keyring.json").unlink()
    again = Keyring.open(folder)
    assert kids(again, NOW_S) == [kid]
    again.rotate(NOW_S)
    assert [row["kid"] for row in listed(folder)] == kids(again, NOW_S)
    assert kids(again, NOW_S)[1:] == [kid]


def test_ring_of_retired_keys_makes_a_new_current_key(folder: Path) -> None:
    ring = Keyring.open(folder)
    kid = ring.signer(NOW_S).kid
    rewrite(folder, [{"kid": kid, "began_s": NOW_S, "retired_s": NOW_S + 60}])
    again = Keyring.open(folder)
    assert again.signer(NOW_S + 60).kid != kid
    assert kids(again, NOW_S + 60)[1:] == [kid]
    assert listed(folder)[1]["retired_s"] == NOW_S + 60


def test_order_of_the_list_does_not_matter(folder: Path) -> None:
    ring = Keyring.open(folder)
    ring.signer(NOW_S)
    ring.rotate(NOW_S)
    rewrite(folder, listed(folder)[::-1])
    assert kids(Keyring.open(folder), NOW_S) == kids(ring, NOW_S)


def test_ends_of_keys_are_their_age_and_their_overlap() -> None:
    ring = Keyring()
    assert ring.ends() == {}
    old = ring.signer(NOW_S).kid
    ring.rotate(NOW_S + HOUR_S)
    new = ring.signer(NOW_S + HOUR_S).kid
    assert ring.ends() == {
        (new, "sign"): NOW_S + HOUR_S + keyring.LIFE_S,
        (old, "verify"): NOW_S + HOUR_S + OVERLAP_S,
    }
