from pathlib import Path

import click
import pytest

from openimds.cli.main import options, values
from openimds.settings import CONFIG_VARIABLE, FILE_NAME
from tests.unit.cli.runner import CliRunner


def test_forbidden_folder_has_no_settings_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def exists(path: Path, **_: object) -> bool:
        assert path.name == FILE_NAME
        raise PermissionError(13, "Permission denied")

    monkeypatch.delenv(CONFIG_VARIABLE, raising=False)
    monkeypatch.setattr(Path, "exists", exists)
    assert values({"listen": "127.0.0.1:9"}).listen == "127.0.0.1:9"


def test_repeated_option_is_one_list() -> None:
    seen: list[object] = []

    @click.command()
    @options("attest_crl")
    def command(attest_crl: object) -> None:
        seen.append(values({"attest_crl": attest_crl}).attest_crl)

    for arguments in ([], ["--attest-crl", "a"], ["--attest-crl", "a,b", "--attest-crl", "c"]):
        got = CliRunner().invoke(command, arguments, catch_exceptions=False)
        assert got.exit_code == 0, got.output
    assert seen == [(), ("a",), ("a", "b", "c")]
