"""A suite of another project at the real address, with every outcome of a test."""

import os
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # Each test has a process of its own, which would import it again.
    from openimds.pytest_plugin import Imds


@pytest.mark.real_address
def test_that_fails(imds: "Imds") -> None:
    print("printed by the test")  # noqa: T201 - it is captured
    request = urllib.request.Request(f"{imds.url}/metadata/instance", headers={"Metadata": "true"})
    try:
        status = urllib.request.urlopen(request, timeout=5).status
    except urllib.error.HTTPError as error:
        with error:
            status = error.code
    assert status == 200, "the reason"


@pytest.mark.real_address
def test_that_is_skipped() -> None:
    pytest.skip("for a reason of its own")


@pytest.mark.real_address
@pytest.mark.xfail(raises=ZeroDivisionError, strict=True)
def test_that_is_expected_to_fail() -> None:
    raise ZeroDivisionError


@pytest.mark.real_address
def test_with_a_failing_fixture(broken: None) -> None:
    raise AssertionError("it must not run")


@pytest.fixture
def broken() -> None:
    raise LookupError("no such thing")


class StrangeWarning(UserWarning):
    """A class that only this file has."""


@pytest.mark.real_address
def test_that_warns(record_property: Callable[[str, object], None]) -> None:
    record_property("strange", StrangeWarning("a value of the test's own"))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("warned in the child", stacklevel=1)
        warnings.warn("a warning of its own class", StrangeWarning, stacklevel=1)


@pytest.mark.real_address
def test_that_ends_the_process() -> None:
    os.abort()
