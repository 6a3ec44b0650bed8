"""The settings of a control whose hosts are pods of a Kubernetes cluster."""

import asyncio
import time
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from pathlib import Path

from msgspec import Struct

from openimds.credentials.hosts.authority import HostsCa
from openimds.credentials.hosts.service_accounts import ServiceAccount, named_account
from openimds.interop.kubernetes import KubernetesApi
from openimds.server.hosts.root_publication import RootPublication, checked_config_map
from openimds.server.hosts.vouching import ANSWER_BYTES, CALL_S, Vouching
from openimds.server.notify import Notify


class KubernetesSettings(Struct, frozen=True):
    """The API of a cluster, and what a control does there.

    The pods of `accounts` may join; `config_map` (NAMESPACE/NAME) gets the roots' fingerprints, or
    is empty.
    """

    api: KubernetesApi
    accounts: tuple[ServiceAccount, ...] = ()
    config_map: str = ""


def kubernetes_settings(
    accounts: Collection[str],
    config_map: str,
    url: str,
    folder: Path,
    environ: Mapping[str, str] | None = None,
) -> KubernetesSettings | None:
    """Return the settings that these options make, or None where hosts are no pods.

    Args:
        accounts: those whose pods may join, NAMESPACE/NAME.
        config_map: the one that gets the fingerprints, NAMESPACE/NAME or nothing.
        url: the URL of the API; without it, that of the pod of this process.
        folder: the folder with `token` and `ca.crt`.
        environ: the environment, by default that of this process.

    Raises:
        ConfigError: one of them does not fit, or this process is in no pod.
    """
    if not accounts and not config_map:
        return None
    named = tuple(map(named_account, accounts))
    published = checked_config_map(config_map) if config_map else ""
    if not url:
        api = KubernetesApi.from_pod(environ, folder, timeout_s=CALL_S, answer_bytes=ANSWER_BYTES)
    else:
        # `kubectl proxy` has a token of its own.
        files = ("", "") if url.startswith("http:") else (folder / "ca.crt", folder / "token")
        api = KubernetesApi(url, *map(str, files), timeout_s=CALL_S, answer_bytes=ANSWER_BYTES)
    return KubernetesSettings(api, named, published)


def vouching_of(
    kubernetes: KubernetesSettings | None, notify: Notify, resources: ExitStack
) -> Vouching | None:
    """Return the authority for the pods of a cluster, if they may join."""
    if kubernetes is None or not kubernetes.accounts:
        return None
    steady = asyncio.get_running_loop().time
    vouching = Vouching(kubernetes.api, kubernetes.accounts, notify, steady)
    resources.callback(vouching.close)
    return vouching


def publishing(
    kubernetes: KubernetesSettings | None, ca: HostsCa, notify: Notify
) -> list[asyncio.Task[None]]:
    """Publish the fingerprints of the roots from now on, if that is asked for."""
    if kubernetes is None or not kubernetes.config_map:
        return []
    publication = RootPublication(
        kubernetes.api, kubernetes.config_map, lambda: ca.fingerprints(time.time()), notify
    )
    return [asyncio.create_task(publication.run())]
