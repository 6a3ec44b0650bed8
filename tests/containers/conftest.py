"""The engine and the image that all tests here share."""

import pytest

from tests.containers.engine import IMAGE, IS_PRIVATE, archive, podman


@pytest.fixture(scope="session", autouse=True)
def _image() -> None:
    """Load the image into the private engine, from the archive that a reader loads."""
    if not IS_PRIVATE:
        pytest.skip("needs a private container engine: type make containers")
    assert IMAGE in podman("load", "--quiet", f"--input={archive('docker.tar')}")
