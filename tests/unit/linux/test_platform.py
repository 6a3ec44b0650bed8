"""The limits of open files of this process."""

import sys
from types import SimpleNamespace

import pytest

from openimds.linux import platform
from openimds.linux.platform import FileLimits, file_limits, raise_file_limit

INFINITY = -1


class FakeResource:
    """The module `resource` of a system with a maximum of its own."""

    RLIM_INFINITY, RLIMIT_NOFILE = INFINITY, 7

    def __init__(self, soft: int, hard: int, most: int = sys.maxsize) -> None:
        self.limits, self.most = (soft, hard), most

    def getrlimit(self, _: int) -> tuple[int, int]:
        return self.limits

    def setrlimit(self, _: int, limits: tuple[int, int]) -> None:
        if limits[0] > self.most:
            raise ValueError("invalid argument")
        self.limits = limits


def use(monkeypatch: pytest.MonkeyPatch, resource: FakeResource) -> None:
    monkeypatch.setitem(sys.modules, "resource", resource)
    monkeypatch.setattr(platform, "sys", SimpleNamespace(platform="linux", maxsize=sys.maxsize))


@pytest.mark.parametrize(
    "soft, hard, most, raised",
    [
        (1024, 4096, sys.maxsize, (4096, 4096)),
        (4096, 4096, sys.maxsize, (4096, 4096)),
        (256, INFINITY, sys.maxsize, (1 << 20, INFINITY)),
        (256, INFINITY, 61440, (32768, INFINITY)),
        (256, INFINITY, 200, (256, INFINITY)),
    ],
)
def test_soft_limit_is_raised_as_far_as_the_system_allows(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, most: int, raised: tuple[int, int]
) -> None:
    resource = FakeResource(soft, hard, most)
    use(monkeypatch, resource)
    raise_file_limit()
    assert resource.limits == raised


def test_missing_limit_is_the_largest_number(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FakeResource(256, INFINITY))
    assert file_limits() == FileLimits(256, sys.maxsize)


def test_system_without_such_limits_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "sys", SimpleNamespace(platform="win32"))
    raise_file_limit()
    assert file_limits() is None
