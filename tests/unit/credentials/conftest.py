import pytest

from openimds import private_files
from openimds.credentials.keys.keyring import Keyring
from tests.unit.credentials.tokens.cache_setup import NOW_S


@pytest.fixture(scope="module")
def ring() -> Keyring:
    keyring = Keyring()
    keyring.signer(NOW_S)
    return keyring


@pytest.fixture(autouse=True)
def no_mirrors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_files, "_mirrors", {})
