import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from openimds.credentials.keys.files import KeyFileError, new_key, write_key
from openimds.credentials.keys.keyring import Keyring, kid_of
from openimds.credentials.pki.lazy_ca import CaSettings
from openimds.credentials.service import CredentialsService
from openimds.protocol.access_token import TokenSettings

NOW_S = 1_709_809_297


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "tokens"


def refused(folder: Path) -> str:
    with pytest.raises(KeyFileError) as caught:
        Keyring.open(folder)
    return str(caught.value)


def test_several_keys_without_a_list_are_refused(folder: Path) -> None:
    ring = Keyring.open(folder)
    ring.rotate(NOW_S)
    ring.rotate(NOW_S)
    (folder / "keyring.json").unlink()
    assert refused(folder) == (
        f"{folder}: saw 2 keys and no keyring.json, expected the list that names the current key. "
        "Restore keyring.json from a backup, or remove all keys but one"
    )


UNFIT = (
    "Restore the file from a backup, or remove it and the keys beside it: a new key is made, and "
    "signatures by the old ones no longer verify"
)
KID = "x" * 27
ROW = {"kid": KID, "began_s": 1}


@pytest.mark.parametrize(
    "text, seen",
    [
        (b"", "invalid JSON (Input data was truncated)"),
        (b"[]", "invalid JSON (Expected `object`, got `array`)"),
        (b"{}", "invalid JSON (Object missing required field `keys`)"),
        (b'{"keys":[{"kid":"\xff"}]}', "invalid JSON ('utf-8' codec can't decode byte 0xff in "),
        (b'{"keys":[{"kid":1}]}', "invalid JSON (Expected `str`, got `int` - at `$.keys[0]"),
        (json.dumps({"keys": [{**ROW, "d": 1}]}).encode(), "invalid JSON (Object contains unkn"),
        (json.dumps({"keys": [{**ROW, "kid": "../" + KID}]}).encode(), f"the kid '../{KID}',"),
        (json.dumps({"keys": [{**ROW, "kid": KID + "\n"}]}).encode(), f"the kid '{KID}\\n',"),
        (json.dumps({"keys": [ROW, {**ROW, "retired_s": 2}]}).encode(), "the same kid twice,"),
        (json.dumps({"keys": [ROW, {**ROW, "kid": "y" * 27}]}).encode(), "two keys that are not"),
    ],
)
def test_invalid_list_is_refused(folder: Path, text: bytes, seen: str) -> None:
    folder.mkdir(parents=True)
    path = folder / "keyring.json"
    path.write_bytes(text)
    message = refused(folder)
    assert message.startswith(f"{path}: saw {seen}")
    assert message.endswith(f", expected a list of keys as OpenIMDS writes it. {UNFIT}")


def test_unreadable_list_is_refused(folder: Path) -> None:
    (folder / "keyring.json").mkdir(parents=True)
    assert refused(folder).startswith(f"{folder}/keyring.json: saw a folder, expected a plain file")
    folder.joinpath("keyring.json").rmdir()
    folder.rmdir()
    folder.write_text("")
    assert refused(folder) == f"{folder}/keyring.json: not a directory"


@pytest.fixture
def path(folder: Path) -> Path:
    """Return the file of a stored ring's only key."""
    return folder / f"{Keyring.open(folder).signer(NOW_S).kid}.pem"


def test_listed_key_without_a_file_is_refused(path: Path) -> None:
    path.unlink()
    assert refused(path.parent) == (
        f"{path}: saw no file, expected the key that keyring.json names. Restore it from a backup, "
        f"or delete its row from {path.parent}/keyring.json: signatures by it no longer verify"
    )
    # The remedy in the message works.
    (path.parent / "keyring.json").write_text('{"keys":[]}')
    assert Keyring.open(path.parent).signer(NOW_S).kid != path.stem


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        ),
    ],
    ids=["empty", "garbage", "another kind"],
)
def test_key_file_without_an_rsa_key_is_refused(path: Path, text: bytes) -> None:
    path.write_bytes(text)
    message = refused(path.parent)
    assert message.startswith(f"{path}: saw ")
    assert "expected an RSA private key in PEM" in message
    assert message.endswith(
        f"Restore the file from a backup, or remove it and delete its row from {path.parent}/"
        "keyring.json: signatures by it no longer verify"
    )


def test_key_readable_by_others_is_refused(path: Path) -> None:
    path.chmod(0o640)
    message = refused(path.parent)
    assert message.startswith(f"{path}: saw the mode 0640, expected 0600")
    assert f"else remove it and delete its row from {path.parent}/keyring.json" in message


def test_file_in_place_of_the_key_folder_is_refused_at_start(tmp_path: Path) -> None:
    (tmp_path / "keys").touch()
    with pytest.raises(KeyFileError, match=r"keys/keyring\.json: not a directory"):
        CredentialsService(CaSettings(tmp_path), TokenSettings(86_400))


def test_key_under_the_name_of_another_is_refused(path: Path) -> None:
    key = new_key()
    write_key(path, key)
    actual = kid_of(key.public_key())
    assert refused(path.parent) == (
        f"{path}: saw the key {actual}, expected the key that the file is named after. "
        f"Restore the file from a backup, or rename it to {actual}.pem"
    )


def test_short_key_is_refused(folder: Path) -> None:
    key = new_key(1024)
    path = folder / f"{kid_of(key.public_key())}.pem"
    write_key(path, key)
    assert refused(folder).startswith(
        f"{path}: saw 1024 bits, expected 2048 or more. To go on, remove it and delete its row"
    )
