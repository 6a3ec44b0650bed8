import pytest

from openimds.credentials.keys.keyring import Keyring
from tests.unit.credentials.tokens.worker_setup import NOW_S


@pytest.fixture(scope="module")
def ring() -> Keyring:
    made = Keyring()
    made.signer(NOW_S)
    return made
