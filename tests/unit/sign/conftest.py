import pytest

from openimds.sign.keyring import Keyring
from tests.unit.sign.shop import NOW_S


@pytest.fixture(scope="module")
def ring() -> Keyring:
    made = Keyring()
    made.signer(NOW_S)
    return made
