"""Secrets of VMs that control gives to a host."""

import pytest

from openimds.credentials.remote import given_secrets
from openimds.credentials.remote.given_secrets import GivenSecrets


def test_secret_is_that_of_control_until_the_vm_leaves() -> None:
    given = GivenSecrets()
    given.put("web-1", "first")
    given.put("web-1", "second")
    assert given.of("web-1") == "second"
    given.forget(["web-1", "unknown"])
    assert len(given) == 0
    assert given.of("web-1") != "second"


def test_vm_without_a_secret_has_one_that_nobody_knows() -> None:
    given, other = GivenSecrets(), GivenSecrets()
    given.put("web-2", "")
    for vm in ("web-1", "web-2"):
        assert len(given.of(vm)) == 64
        assert given.of(vm) != other.of(vm)


def test_secrets_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(given_secrets, "MAX_SECRETS", 2)
    given = GivenSecrets()
    for vm in ("one", "two", "three"):
        given.put(vm, f"of {vm}")
    assert len(given) == 2
    assert given.of("one") != "of one"
    assert given.of("three") == "of three"
