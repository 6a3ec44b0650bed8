"""Refusals before a namespace is entered; tests/system enters them."""

import errno
from pathlib import Path

import pytest

from openimds.errors import FREE_RESOURCES, MORE_RESOURCES, ConfigError
from openimds.linux import named_netns

WHERE = "vms.web-1.reach.listen"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(named_netns, "FOLDER", tmp_path)
    return tmp_path


def refused(name: str) -> str:
    with pytest.raises(ConfigError) as caught:
        named_netns.listening(name, "169.254.169.254", 80, WHERE)
    return str(caught.value)


def test_unknown_name_is_refused(folder: Path) -> None:
    assert refused("web-1") == (
        f"{WHERE}: saw netns:web-1 ({folder}/web-1: no such file or directory), expected a "
        "namespace that ip netns list prints. Type ip netns add web-1"
    )


def test_shortage_is_no_unknown_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_file(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("os.open", no_file)
    text = refused("web-1")
    monkeypatch.undo()
    assert text == (
        f"{WHERE}: saw netns:web-1 ({folder}/web-1: too many open files), expected {FREE_RESOURCES}"
        f". {MORE_RESOURCES}"
    )


def test_own_namespace_is_refused_under_any_name(folder: Path) -> None:
    (folder / "web-1").symlink_to("/proc/self/ns/net")
    assert refused("web-1") == (
        f"{WHERE}: saw netns:web-1, which is the namespace of this server, expected that of a "
        "guest. Write 169.254.169.254:80"
    )


def test_file_in_place_of_a_namespace_is_refused(folder: Path) -> None:
    (folder / "web-1").write_text("left behind")
    # Without the right to enter namespaces that is the reason.
    assert "expected a network namespace" in refused("web-1") or "CAP_SYS_ADMIN" in refused("web-1")
