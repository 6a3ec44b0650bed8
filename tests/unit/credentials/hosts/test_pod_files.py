"""The two files of a host's pod."""

from pathlib import Path

import pytest

from openimds.credentials.hosts.pod_files import MAX_FINGERPRINT_BYTES, PodFiles
from openimds.credentials.hosts.service_accounts import MAX_TOKEN_CHARACTERS
from openimds.errors import ConfigError

TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln"
PRINT, OLD = "ab" * 32, "cd" * 32


def files(folder: Path, token: str = TOKEN, prints: str = f"{PRINT}\n") -> PodFiles:
    made = PodFiles(folder / "token", folder / "fingerprint")
    made.token.write_bytes(token.encode("latin-1"))
    made.fingerprints.write_bytes(prints.encode("latin-1"))
    return made


def test_both_are_read_anew_each_time(tmp_path: Path) -> None:
    made = files(tmp_path)
    proof = made.read()
    assert (proof.token, proof.fingerprints) == (TOKEN, (PRINT,))
    made.token.write_text(f"{TOKEN}2\n")
    made.fingerprints.write_text(f"{OLD}\n{PRINT}\n")
    proof = made.read()
    assert (proof.token, proof.fingerprints) == (f"{TOKEN}2", (OLD, PRINT))
    assert str(made.fingerprints) in proof.other_root


@pytest.mark.parametrize(
    "token, seen",
    [
        ("", "has not the form of a JWT"),
        ("openimds-join-1.a", "has not the form of a JWT"),
        ("a.b.ü", "no text"),
        ("a.b." + "c" * MAX_TOKEN_CHARACTERS, "longer"),
    ],
)
def test_file_without_a_token_is_an_error(tmp_path: Path, token: str, seen: str) -> None:
    with pytest.raises(ConfigError, match=seen) as refused:
        files(tmp_path, token).read()
    assert refused.value.where == "--join-service-account-token"
    assert 'audience "openimds"' in refused.value.hint
    if token:
        assert token not in str(refused.value)


@pytest.mark.parametrize(
    "prints, seen",
    [
        ("", "empty"),
        ("\n", "empty"),
        ("AB" * 32, "with other text"),
        ("ab" * 31, "with other text"),
        (f"{PRINT}\nx", "with other text"),
        (f"{PRINT}\n" * 64, "longer"),
    ],
)
def test_file_without_fingerprints_is_an_error(tmp_path: Path, prints: str, seen: str) -> None:
    with pytest.raises(ConfigError, match=seen) as refused:
        files(tmp_path, TOKEN, prints).read()
    assert refused.value.where == "--control-fingerprint"
    assert "--publish-root" in refused.value.hint


def test_nine_roots_fit_into_the_file(tmp_path: Path) -> None:
    assert len(files(tmp_path, TOKEN, f"{PRINT}\n" * 9).read().fingerprints) == 9
    assert MAX_FINGERPRINT_BYTES == 4096


def test_file_that_is_not_there_yet_is_an_error(tmp_path: Path) -> None:
    made = files(tmp_path)
    made.fingerprints.unlink()
    with pytest.raises(ConfigError, match="No such file or directory"):
        made.read()
