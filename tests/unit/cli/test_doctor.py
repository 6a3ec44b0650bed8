"""The check of the admin API's certificate in `openimds doctor`."""

from pathlib import Path
from typing import Any

import pytest

from openimds.cli.doctor import DoctorContext, _admin_tls
from openimds.errors import ConfigError
from openimds.linux.checks import CheckResult
from openimds.settings import Settings
from tests.support.certificates import TestCa


def looked(**settings: Any) -> list[CheckResult]:
    context = DoctorContext.__new__(DoctorContext)
    context.settings = Settings(**settings)
    return [*_admin_tls(context)]


@pytest.mark.parametrize("admin", ["127.0.0.1:8170", "[::1]:8170", "localhost:8170", "none"])
def test_http_on_loopback_is_right(admin: str) -> None:
    assert looked(admin=admin) == [CheckResult("ok", "http, for this host alone")]


@pytest.mark.parametrize("admin", ["0.0.0.0:8170", "[::]:8170", "imds.example:8170"])
def test_http_beyond_loopback_is_noted(admin: str) -> None:
    (result,) = looked(admin=admin)
    assert (result.state, result.do) == ("note", "--admin-cert FILE --admin-key FILE")
    assert result.found == f"{admin} speaks http: tokens can be read on their way"


@pytest.mark.parametrize(
    "days, state, says", [(300, "ok", ""), (5, "note", ", in 4 days"), (-2, "wrong", "expired")]
)
def test_end_of_the_certificate_is_judged(tmp_path: Path, days: int, state: str, says: str) -> None:
    certificate, key = TestCa(tmp_path).issue("server", "localhost", days=days)
    (result,) = looked(admin_cert=str(certificate), admin_key=str(key))
    assert result.state == state
    assert result.found.startswith(f"{certificate} ends on 20")
    assert says in result.found


def test_key_that_others_may_read_is_wrong(tmp_path: Path) -> None:
    certificate, key = TestCa(tmp_path).issue("server", "localhost", days=300)
    key.chmod(0o644)
    mode, end = looked(admin_cert=str(certificate), admin_key=str(key))
    assert (mode.state, mode.do, end.state) == ("wrong", f"chmod go= {key}", "ok")


def test_pair_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    certificate, _ = TestCa(tmp_path).issue("server", "localhost", days=300)
    with pytest.raises(ConfigError, match=r"^admin_key: saw absent \(no such file"):
        looked(admin_cert=str(certificate), admin_key="absent")
