"""The ConfigMap with the fingerprints of the hosts' roots, in a replayed API."""

import asyncio
from pathlib import Path

import pytest

from openimds.credentials.hosts.authority import HostsCa
from openimds.errors import ConfigError
from openimds.interop.kubernetes import KubernetesApi
from openimds.server.hosts import root_publication
from openimds.server.hosts.root_publication import (
    LOOK_S,
    RootPublication,
    checked_config_map,
)
from tests.support.replayed_api import ReplayedAnswer
from tests.support.replayed_kubernetes import ReplayedKubernetes, refused, text
from tests.unit.credentials.hosts.hosts_setup import NOW_S
from tests.unit.server.hosts.fleet import until

MAPS = "/api/v1/namespaces/openimds/configmaps"
MAP = f"{MAPS}/openimds-root"


class Published:
    """A publication of an authority's roots, and its messages."""

    def __init__(self, api: ReplayedKubernetes) -> None:
        self.ca, self.messages = HostsCa.open(None, NOW_S), list[str]()
        folder = api.folder
        client = KubernetesApi(api.url, str(folder / "ca.crt"), str(folder / "token"))
        self.publication = RootPublication(
            client,
            "openimds/openimds-root",
            lambda: self.ca.fingerprints(NOW_S),
            self.messages.append,
        )

    def look(self) -> bool:
        return asyncio.run(self.publication.look())


def test_config_map_is_made_and_left_alone_while_it_fits(tmp_path: Path) -> None:
    with ReplayedKubernetes(tmp_path) as api:
        published = Published(api)
        assert published.look()
        assert published.look()
        assert api.asked == [("GET", MAP), ("POST", MAPS), ("GET", MAP)]
        assert api.objects[MAP] == {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "openimds-root", "namespace": "openimds"},
            "data": {"fingerprint": f"{published.ca.fingerprint}\n"},
        }
    assert published.messages == [
        "the ConfigMap openimds/openimds-root has the fingerprint of the root of hosts"
    ]


def test_config_map_follows_a_rotation_and_keeps_the_old_root(tmp_path: Path) -> None:
    with ReplayedKubernetes(tmp_path) as api:
        published = Published(api)
        published.look()
        old = published.ca.fingerprint
        published.ca.rotate(NOW_S)
        assert published.look()
        assert api.asked[-1] == ("PATCH", MAP)
        assert api.objects[MAP]["data"] == {"fingerprint": f"{published.ca.fingerprint}\n{old}\n"}


def test_config_map_that_was_made_without_data_is_filled(tmp_path: Path) -> None:
    with ReplayedKubernetes(tmp_path) as api:
        api.objects[MAP] = {"kind": "ConfigMap", "metadata": {"name": "openimds-root"}}
        published = Published(api)
        assert published.look()
        assert api.asked == [("GET", MAP), ("PATCH", MAP)]
        assert api.objects[MAP]["data"] == {"fingerprint": f"{published.ca.fingerprint}\n"}


def test_other_keys_of_the_config_map_stay(tmp_path: Path) -> None:
    with ReplayedKubernetes(tmp_path) as api:
        api.objects[MAP] = {
            "kind": "ConfigMap",
            "metadata": {"name": "openimds-root"},
            "data": {"mine": "x"},
        }
        published = Published(api)
        assert published.look()
        data = {"mine": "x", "fingerprint": f"{published.ca.fingerprint}\n"}
        assert api.objects[MAP]["data"] == data


@pytest.mark.parametrize(
    "failure, reason",
    [
        (refused(403, "Forbidden", 'configmaps "openimds-root" is forbidden'), "403 Forbidden"),
        (refused(500, "InternalError", "etcd"), "500 InternalError"),
        (ReplayedAnswer({"kind": "Status"}), "is no ConfigMap"),
        (text(b"[]", 200), "is no ConfigMap"),
        (text(b"<html>", 200), "is not JSON"),
    ],
)
def test_failure_is_reported_once_and_tried_again(
    tmp_path: Path, failure: ReplayedAnswer, reason: str
) -> None:
    with ReplayedKubernetes(tmp_path) as api:
        published = Published(api)
        api.failures = [failure, failure]
        assert not published.look()
        assert not published.look()
        (message,) = published.messages
        assert message.startswith("the root of hosts is not published in openimds/openimds-root: ")
        assert reason in message
        assert published.look()


def test_faster_control_is_no_harm(tmp_path: Path) -> None:
    with ReplayedKubernetes(tmp_path) as api:
        published = Published(api)
        api.failures = [refused(404, "NotFound", "x"), refused(409, "AlreadyExists", "x")]
        assert not published.look()
        assert published.look()
        assert MAP in api.objects


def test_pauses_grow_to_a_bound_until_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    outcomes = [False] * 8 + [True, False]

    async def look(_: RootPublication) -> bool:
        return outcomes.pop(0)

    async def sleep(pause_s: float) -> None:
        pauses.append(pause_s)
        if not outcomes:
            raise asyncio.CancelledError

    monkeypatch.setattr(RootPublication, "look", look)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    with ReplayedKubernetes(tmp_path) as api, pytest.raises(asyncio.CancelledError):
        asyncio.run(Published(api).publication.run())
    assert pauses == [1, 2, 4, 8, 16, 32, LOOK_S, LOOK_S, LOOK_S, 1]


def test_lost_config_map_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(root_publication, "LOOK_S", 0.0)

    async def whole(api: ReplayedKubernetes) -> None:
        running = asyncio.create_task(Published(api).publication.run())
        try:
            await until(lambda: MAP in api.objects)
            del api.objects[MAP]
            await until(lambda: MAP in api.objects)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    with ReplayedKubernetes(tmp_path) as api:
        asyncio.run(whole(api))


@pytest.mark.parametrize("text", ["root", "a/b/c", "A/b", "/b", "a/", "a/../b"])
def test_config_map_is_named_with_its_namespace(text: str) -> None:
    assert checked_config_map("openimds/root.hosts") == "openimds/root.hosts"
    with pytest.raises(ConfigError, match=r"--publish-root: saw .* expected NAMESPACE/NAME"):
        checked_config_map(text)
