from pathlib import Path

import pytest

from openimds.cli.main import values
from openimds.settings import CONFIG_VARIABLE, FILE_NAME


def test_forbidden_folder_has_no_settings_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def exists(path: Path, **_: object) -> bool:
        assert path.name == FILE_NAME
        raise PermissionError(13, "Permission denied")

    monkeypatch.delenv(CONFIG_VARIABLE, raising=False)
    monkeypatch.setattr(Path, "exists", exists)
    assert values({"listen": "127.0.0.1:9"}).listen == "127.0.0.1:9"
