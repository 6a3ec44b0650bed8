"""What is refused before any namespace is entered; entering them is of tests/system."""

from pathlib import Path

import pytest

from openimds.errors import ConfigError
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


def test_a_name_that_is_none(folder: Path) -> None:
    assert refused("web-1") == (
        f"{WHERE}: saw netns:web-1 ({folder}/web-1: no such file or directory), expected a "
        "namespace that ip netns list prints. Type: ip netns add web-1"
    )


def test_our_own_namespace_is_refused_under_any_name(folder: Path) -> None:
    (folder / "web-1").symlink_to("/proc/self/ns/net")
    assert refused("web-1") == (
        f"{WHERE}: saw netns:web-1, which is the namespace of this server, expected that of a "
        "guest. Write 169.254.169.254:80"
    )


def test_a_file_that_is_no_namespace(folder: Path) -> None:
    (folder / "web-1").write_text("left behind")
    # Whoever may enter none hears that first.
    assert "expected a network namespace" in refused("web-1") or "CAP_SYS_ADMIN" in refused("web-1")
