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
        f"{folder}: saw 2 keys and no keyring.json, expected it to say which of them signs. "
        "Put it back from a copy, or remove all of the keys but one"
    )


UNFIT = (
    "Put the file back from a copy, or remove it and the keys beside it: a new key is made, and "
    "what the old ones signed no longer verifies"
)
KID = "x" * 27
ROW = {"kid": KID, "began_s": 1}


@pytest.mark.parametrize(
    "text, seen",
    [
        (b"", "no list of keys (Input data was truncated)"),
        (b"[]", "no list of keys (Expected `object`, got `array`)"),
        (b"{}", "no list of keys (Object missing required field `keys`)"),
        (b'{"keys":[{"kid":"\xff"}]}', "no list of keys ('utf-8' codec can't decode byte 0xff in "),
        (b'{"keys":[{"kid":1}]}', "no list of keys (Expected `str`, got `int` - at `$.keys[0]"),
        (json.dumps({"keys": [{**ROW, "d": 1}]}).encode(), "no list of keys (Object contains unkn"),
        (json.dumps({"keys": [{**ROW, "kid": "../" + KID}]}).encode(), f"the kid '../{KID}',"),
        (json.dumps({"keys": [{**ROW, "kid": KID + "\n"}]}).encode(), f"the kid '{KID}\\n',"),
        (json.dumps({"keys": [ROW, {**ROW, "retired_s": 2}]}).encode(), "a kid twice,"),
        (json.dumps({"keys": [ROW, {**ROW, "kid": "y" * 27}]}).encode(), "two keys that are not"),
    ],
)
def test_a_list_that_is_none_is_refused(folder: Path, text: bytes, seen: str) -> None:
    folder.mkdir(parents=True)
    path = folder / "keyring.json"
    path.write_bytes(text)
    said = refused(folder)
    assert said.startswith(f"{path}: saw {seen}")
    assert said.endswith(f", expected the list of keys that was written here. {UNFIT}")


def test_a_list_that_cannot_be_read_is_refused(folder: Path) -> None:
    (folder / "keyring.json").mkdir(parents=True)
    assert refused(folder) == f"{folder}/keyring.json: is a directory"
    folder.joinpath("keyring.json").rmdir()
    folder.rmdir()
    folder.write_text("")
    assert refused(folder) == f"{folder}/keyring.json: not a directory"


@pytest.fixture
def path(folder: Path) -> Path:
    """Return the file of the one key of a ring that was written."""
    return folder / f"{Keyring.open(folder).signer(NOW_S).kid}.pem"


def test_a_key_that_is_listed_and_missing_is_refused(path: Path) -> None:
    path.unlink()
    assert refused(path.parent) == (
        f"{path}: saw no file, expected the key that keyring.json names. Put it back from a copy, "
        f"or take its row out of {path.parent}/keyring.json: what it signed no longer verifies"
    )
    # And what the text says, helps.
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
def test_a_key_file_that_holds_no_rsa_key_is_refused(path: Path, text: bytes) -> None:
    path.write_bytes(text)
    said = refused(path.parent)
    assert said.startswith(f"{path}: saw ")
    assert "expected an RSA private key in PEM" in said
    assert said.endswith(
        f"Put the file back from a copy, or remove it and take its row out of {path.parent}/"
        "keyring.json: what it signed no longer verifies"
    )


def test_a_key_that_others_can_read_is_refused(path: Path) -> None:
    path.chmod(0o640)
    said = refused(path.parent)
    assert said.startswith(f"{path}: saw the mode 0640, expected 0600")
    assert f"else remove it and take its row out of {path.parent}/keyring.json" in said


def test_a_file_in_the_place_of_the_folder_is_told_when_the_server_starts(tmp_path: Path) -> None:
    (tmp_path / "keys").touch()
    with pytest.raises(KeyFileError, match=r"keys/keyring\.json: not a directory"):
        CredentialsService(CaSettings(tmp_path), TokenSettings(86_400))


def test_a_key_under_the_name_of_another_is_refused(path: Path) -> None:
    key = new_key()
    write_key(path, key)
    assert refused(path.parent) == (
        f"{path}: saw the key {kid_of(key.public_key())}, expected the one that the file is named "
        "after. Put the file back from a copy, or give it its name again"
    )


def test_a_key_that_is_too_short_is_refused(folder: Path) -> None:
    key = new_key(1024)
    path = folder / f"{kid_of(key.public_key())}.pem"
    write_key(path, key)
    assert refused(folder) == f"{path}: saw 1024 bits, expected 2048 or more"
