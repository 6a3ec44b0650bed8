"""The fingerprints of the hosts' roots in a ConfigMap, by which a pod knows control.

A join token carries the fingerprint of the root. A pod has none, and mounts this ConfigMap instead:
the kubelet starts it once the ConfigMap is there, and follows its changes.
"""

import asyncio
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Protocol

from openimds.errors import ConfigError, Error
from openimds.interop.kubernetes import ApiStatusError, KubernetesError
from openimds.log.events import ROOT_PUBLISHED, ROOT_TROUBLE
from openimds.parameters import describe
from openimds.server.notify import Notify

KEY = "fingerprint"
"""The key of the ConfigMap; a fingerprint a line, the current one first."""
LOOK_S = 60.0
"""The time between two looks at the ConfigMap, and the longest pause after a failure."""
FIRST_PAUSE_S = 1.0
_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_FORM = re.compile(rf"{_LABEL}/{_LABEL}(\.{_LABEL})*")


class PublishingApi(Protocol):
    """The calls of the API; they block."""

    def get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        """Return the decoded answer to a GET."""
        ...

    def post(self, path: str, body: object) -> Any:  # noqa: ANN401 - JSON
        """Send a value as JSON, and return the decoded answer."""
        ...

    def patch(self, path: str, body: object) -> Any:  # noqa: ANN401 - JSON
        """Merge a value into an object, and return the decoded answer."""
        ...


def checked_config_map(text: str, where: str = "--publish-root") -> str:
    """Return the name of a ConfigMap with its namespace.

    Raises:
        ConfigError: it has another form.
    """
    if not _FORM.fullmatch(text):
        hint = "It is the ConfigMap that the pods of openimds host run mount"
        raise ConfigError(where, describe(text), "NAMESPACE/NAME", hint)
    return text


class RootPublication:
    """Keeps a ConfigMap as the authority has it."""

    def __init__(
        self,
        api: PublishingApi,
        config_map: str,
        fingerprints: Callable[[], tuple[str, ...]],
        notify: Notify,
    ) -> None:
        """Publish nothing yet; `config_map` is NAMESPACE/NAME."""
        self._api, self._fingerprints, self._notify = api, fingerprints, notify
        self._name = config_map
        self._namespace, _, self._map = config_map.partition("/")
        self._trouble = ""

    async def run(self) -> None:
        """Publish, and look again and again, for ever."""
        pause_s = FIRST_PAUSE_S
        while True:
            if await self.look():
                pause_s = FIRST_PAUSE_S
                await asyncio.sleep(LOOK_S)
            else:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LOOK_S)

    async def look(self) -> bool:
        """Write the fingerprints where the ConfigMap has others; tell whether it holds them."""
        text = "".join(f"{one}\n" for one in self._fingerprints())
        try:
            has_changed = await asyncio.to_thread(self._publish, text)
        except Error as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                sentence = f"the root of hosts is not published in {self._name}: {error}"
                message = ROOT_TROUBLE.message(sentence, configmap=self._name, reason=str(error))
                self._notify(message)
            return False
        self._trouble = ""
        if has_changed:
            sentence = f"the ConfigMap {self._name} has the fingerprint of the root of hosts"
            self._notify(ROOT_PUBLISHED.message(sentence, configmap=self._name))
        return True

    def _publish(self, text: str) -> bool:
        """Tell whether the ConfigMap was changed.

        Raises:
            ConfigError, KubernetesError: it was not, and does not hold the text.
        """
        maps = f"/api/v1/namespaces/{self._namespace}/configmaps"
        data = {KEY: text}
        try:
            found = self._api.get(f"{maps}/{self._map}")
        except ApiStatusError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            metadata = {"name": self._map, "namespace": self._namespace}
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
            self._api.post(maps, body)  # Another control may be faster: 409, and the next look.
            return True
        if not isinstance(found, dict) or found.get("kind") != "ConfigMap":
            raise KubernetesError(f"the answer about {self._name} is no ConfigMap")
        if (found.get("data") or {}).get(KEY) == text:
            return False
        self._api.patch(f"{maps}/{self._map}", {"data": data})
        return True
