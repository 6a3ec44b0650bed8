"""The options of a control whose hosts are pods."""

from pathlib import Path

import pytest

from openimds.credentials.hosts.service_accounts import ServiceAccount
from openimds.errors import ConfigError
from openimds.server.hosts.kubernetes_settings import kubernetes_settings

IN_A_POD = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}


def mounted(folder: Path) -> Path:
    (folder / "token").write_text("x")
    (folder / "ca.crt").write_text("x")
    return folder


def test_hosts_without_these_options_are_no_pods(tmp_path: Path) -> None:
    assert kubernetes_settings([], "", "https://api:6443", tmp_path, {}) is None


def test_api_of_the_pod_is_the_default(tmp_path: Path) -> None:
    made = kubernetes_settings(["a/b", "c/d"], "a/root", "", mounted(tmp_path), IN_A_POD)
    assert made
    assert made.api.url == "https://10.96.0.1:443"
    assert made.accounts == (ServiceAccount("a", "b"), ServiceAccount("c", "d"))
    assert made.config_map == "a/root"


def test_control_outside_of_a_pod_needs_the_url(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="KUBERNETES_SERVICE_HOST: saw nothing"):
        kubernetes_settings(["a/b"], "", "", mounted(tmp_path), {})
    made = kubernetes_settings(["a/b"], "", "https://api:6443", mounted(tmp_path), {})
    assert made
    assert made.api.url == "https://api:6443"


def test_api_without_tls_gets_no_token(tmp_path: Path) -> None:
    made = kubernetes_settings(["a/b"], "", "http://127.0.0.1:8001", mounted(tmp_path), {})
    assert made
    assert made.api._token() == ""


@pytest.mark.parametrize(
    "accounts, config_map, url, where",
    [
        (["b"], "", "", "--join-service-account"),
        (["a/b"], "root", "", "--publish-root"),
        (["a/b"], "", "api:6443", "URL of the Kubernetes API"),
    ],
)
def test_unfit_option_is_named(
    tmp_path: Path, accounts: list[str], config_map: str, url: str, where: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        kubernetes_settings(accounts, config_map, url, mounted(tmp_path), IN_A_POD)
    assert refused.value.where == where
