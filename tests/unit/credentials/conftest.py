import pytest

from openimds.credentials.keys.keyring import Keyring
from tests.unit.credentials.tokens.cache_setup import NOW_S


@pytest.fixture(scope="module")
def ring() -> Keyring:
    keyring = Keyring()
    keyring.signer(NOW_S)
    return keyring
