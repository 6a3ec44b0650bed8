"""List and watch: the objects of one resource, kept as the API has them.

A list gives the objects and a version; a watch from that version gives each change. A stream that
ends or breaks goes on from the last version. A version that the API refuses, such as by 410, is
forgotten, and so is one from which nothing came in several watches: a new list is due. A failure
changes nothing in what is known: the last objects stay.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, Protocol

from openimds.errors import Error
from openimds.interop.kubernetes.api import ApiStatusError, KubernetesError, WatchEvent

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
"""The pause after a failure doubles from one to the other."""
CONFIRM_S = 2.0
"""The time until a list is confirmed that lacks much."""
LACKING = 0.1
"""A list that lacks more than this share of the known objects is confirmed by a second one."""
PAGE = 500
MOST_OBJECTS = 10_000
"""A list of more objects is an error: no node has so many VMs."""
WATCH_S = 300
"""The shortest time that a watch is asked to last; the longest is twice that, as in client-go."""
SHORT_WATCH_S = 1.0
"""A watch without an event that ends sooner is a failure, or the API would be asked for ever."""
FAILED_WATCHES = 4
"""So many watches in a row that fail before any event lead to a list: an event that cannot be read
comes again from the same version."""
_PASSING = frozenset(
    {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE}
)
"""The error statuses that say nothing about the version. 504 does: it also stands for a version
that is too large, as after etcd was restored from a backup."""

ApiObject = dict[str, Any]
Params = Mapping[str, str | int]


class ListableApi(Protocol):
    """The calls of the API that are made."""

    def get(self, path: str, params: Params) -> Any:  # noqa: ANN401 - JSON
        """Return the decoded answer to a GET."""

    def watch(self, path: str, params: Params, *, lasting_s: int) -> Iterator[WatchEvent]:
        """Yield the events of a watch."""


class PublishObjects(Protocol):
    """The receiver of objects by uid."""

    def __call__(self, objects: Mapping[str, ApiObject], *, is_whole: bool) -> None:
        """Take all known objects; `is_whole` tells whether no other exists."""


class ListWatch:
    """The objects at a path that a selector chooses.

    `publish` gets them after each change, and `report` a failure when it begins.
    """

    def __init__(  # noqa: PLR0913 - the world of a test
        self,
        api: ListableApi,
        path: str,
        selector: Params,
        publish: PublishObjects,
        report: Callable[[str], None],
        *,
        wait: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Ask nothing yet. `chance` returns a number from 0 to below 1."""
        self._api, self._path, self._selector = api, path, selector
        self._publish, self._report = publish, report
        self._wait, self._now, self._chance = wait, now, chance
        self._objects: dict[str, ApiObject] = {}
        self._version = ""
        self._is_confirmed = False
        self._failures = self._failed_watches = 0
        self._reported = ""

    def follow(self) -> None:
        """Follow the API; it never returns."""
        while True:
            self.step()

    def step(self) -> None:
        """List if that is due, and watch until the stream ends; wait after a failure."""
        try:
            if not self._version:
                self._list()
            self._watch()
        except ApiStatusError as error:
            if not _passes(error):
                self._version = ""
            self._fail(error, error.retry_after_s)
        except Error as error:
            self._fail(error, 0)
        if self._failed_watches >= FAILED_WATCHES:
            self._version, self._failed_watches = "", 0

    def _list(self) -> None:
        """Replace the objects by a list; confirm a list that lacks much."""
        objects, version = self._listed()
        lacking = len(self._objects.keys() - objects.keys())
        if not self._is_confirmed or lacking > len(self._objects) * LACKING:
            self._is_confirmed = False
            self._publish({**self._objects, **objects}, is_whole=False)
            self._wait(CONFIRM_S)
            objects, version = self._listed()
            self._is_confirmed = True
        self._objects, self._version = objects, version
        self._reported = ""
        self._publish(dict(self._objects), is_whole=True)

    def _listed(self) -> tuple[dict[str, ApiObject], str]:
        """Return the objects of all pages of a list, and the version to watch from.

        Raises:
            KubernetesError: it cannot be had, or has too many objects.
        """
        objects: dict[str, ApiObject] = {}
        params: dict[str, str | int] = {**self._selector, "limit": PAGE}
        while True:
            page = self._api.get(self._path, params)
            try:
                items, meta = page["items"] or (), page["metadata"]
                objects |= {item["metadata"]["uid"]: item for item in items}
                version, more = str(meta["resourceVersion"]), meta.get("continue") or ""
            except (AttributeError, KeyError, TypeError):
                raise KubernetesError(f"{self._path}: the answer is no list of objects") from None
            if len(objects) > MOST_OBJECTS:
                raise self._too_many()
            if not more:
                return objects, version
            params["continue"] = more

    def _watch(self) -> None:
        """Take the events of a watch until it ends.

        Raises:
            Error: it breaks, or it ends too soon.
        """
        began, has_event = self._now(), False
        lasting_s = WATCH_S + int(self._chance() * WATCH_S)
        params = {**self._selector, "resourceVersion": self._version}
        try:
            for event in self._api.watch(self._path, params, lasting_s=lasting_s):
                self._take(event)
                has_event = True
        except Error as error:
            if has_event:
                self._failed_watches = 0
            elif not _passes(error):
                self._failed_watches += 1
            raise
        else:
            self._failed_watches = 0
        finally:
            if has_event or self._now() - began >= SHORT_WATCH_S:
                self._failures, self._reported = 0, ""
        if not has_event and self._now() - began < SHORT_WATCH_S:
            raise KubernetesError(f"{self._path}: the API ends the watch at once")

    def _take(self, event: WatchEvent) -> None:
        """Take an event: a change of an object, or only a newer version."""
        try:
            meta = event.object["metadata"]
            version, uid = str(meta["resourceVersion"]), str(meta.get("uid", ""))
        except (AttributeError, KeyError, TypeError):
            raise KubernetesError(f"{self._path}: an event without an object") from None
        if event.type in {"ADDED", "MODIFIED"} and uid:
            if uid not in self._objects and len(self._objects) >= MOST_OBJECTS:
                raise self._too_many()
            self._objects[uid] = event.object
        elif event.type == "DELETED":
            self._objects.pop(uid, None)
        self._version = version
        if event.type != "BOOKMARK":
            self._publish(dict(self._objects), is_whole=True)

    def _too_many(self) -> KubernetesError:
        return KubernetesError(f"{self._path}: more than {MOST_OBJECTS:,} objects")

    def _fail(self, error: Error, retry_after_s: int) -> None:
        """Report a failure that begins, and wait, a part of the time by chance."""
        text = str(error)
        if text != self._reported:
            self._report(text)
            self._reported = text
        longest = min(FIRST_PAUSE_S * 2**self._failures, LONGEST_PAUSE_S)
        self._failures = min(self._failures + 1, 10)
        pause = longest * (1 + self._chance()) / 2
        self._wait(max(pause, min(retry_after_s, LONGEST_PAUSE_S)))


def _passes(error: Error) -> bool:
    """Tell whether an error is a status that says nothing about the version."""
    return isinstance(error, ApiStatusError) and error.status in _PASSING
