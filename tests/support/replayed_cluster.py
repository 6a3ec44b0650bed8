"""A cluster's instances behind a replayed API: lists, watches, selectors and versions.

As the API of Kubernetes it sends DELETED to a watch whose selector no longer chooses an object, and
410 for a version that it has forgotten. Shapes of VirtualMachineInstance are those of
kubevirt.io/v1.
"""

import json
from collections.abc import Iterator
from threading import Condition
from typing import Any

from tests.support.replayed_api import ReplayedAnswer, ReplayedRequest, failure, line_of

PATH = "/apis/kubevirt.io/v1/virtualmachineinstances"
LABEL = "kubevirt.io/nodeName"
Vmi = dict[str, Any]


def pod_uid(number: int) -> str:
    return f"{number:08d}-0000-4000-8000-000000000000"


def vmi(name: str, node: str, *, number: int = 1, phase: str = "Running", **meta: Any) -> Vmi:
    """Return a VirtualMachineInstance with one masquerade interface, as its node has reported it.

    `number` makes its uid, the uid of its pod, its addresses and its firmware's UUID.
    """
    card = {"name": "default", "mac": f"02:00:00:00:00:{number:02x}", "infoSource": "domain"}
    address = f"10.244.0.{number}"
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {
            "name": name,
            "namespace": "lab",
            "uid": f"uid-{number}",
            "labels": {LABEL: node},
            **meta,
        },
        "spec": {
            "domain": {
                "firmware": {"uuid": f"5d307ca9-b3ef-428c-8861-06e72d69f2{number:02x}"},
                "devices": {"interfaces": [{"name": "default", "masquerade": {}}]},
            },
            "networks": [{"name": "default", "pod": {}}],
        },
        "status": {
            "activePods": {pod_uid(number): node},
            "interfaces": [card | {"ipAddress": address, "ipAddresses": [address]}],
            "nodeName": node,
            "phase": phase,
        },
    }


class ReplayedCluster:
    """The instances, as `answer` serves them; `version` rises with each change."""

    def __init__(self) -> None:
        self.version = 100
        self.forgotten = 0
        """Watches from older versions get 410."""
        self.refusals: list[ReplayedAnswer] = []
        """The answers of the next requests, before any other."""
        self._objects: dict[str, Vmi] = {}
        self._log: list[tuple[int, Vmi | None, Vmi | None]] = []
        self._raw: list[bytes] = []
        self._breaks = self._opened = 0
        self._changed = Condition()
        self._is_closed = False

    def put(self, value: Vmi) -> None:
        """Make or change an instance."""
        self._change(value["metadata"]["uid"], value)

    def delete(self, value: Vmi) -> None:
        """Delete an instance."""
        self._change(value["metadata"]["uid"], None)

    def _change(self, uid: str, value: Vmi | None) -> None:
        with self._changed:
            self.version += 1
            before = self._objects.pop(uid, None)
            if value is not None:
                value = json.loads(json.dumps(value))
                assert value
                value["metadata"]["resourceVersion"] = str(self.version)
                self._objects[uid] = value
            self._log.append((self.version, before, value))
            self._changed.notify_all()

    def break_watches(self, rest: bytes = b"") -> None:
        """End the connections of all watches, after some bytes."""
        with self._changed:
            self._breaks += 1
            self._raw.append(rest)
            self._changed.notify_all()

    def lose(self, value: Vmi) -> None:
        """End all watches, delete an instance and forget its deletion, in one step.

        So it is after a break during which etcd was compacted: only a list shows the deletion.
        """
        with self._changed:
            self._breaks += 1
            self._raw.append(b"")
            self.version += 1
            del self._objects[value["metadata"]["uid"]]
            self.forgotten = self.version
            self._log.clear()
            self._changed.notify_all()

    def await_watch(self, number: int) -> None:
        """Wait until so many watches have been opened since the start."""
        with self._changed:
            self._changed.wait_for(lambda: self._opened >= number)

    def close(self) -> None:
        """End all watches."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def answer(self, request: ReplayedRequest) -> ReplayedAnswer:
        """Answer a list or a watch."""
        if self.refusals:
            return self.refusals.pop(0)
        assert request.path == PATH, request
        selector = request.query["labelSelector"]
        if "watch" not in request.query:
            with self._changed:
                items = [one for one in self._objects.values() if _is_chosen(one, selector)]
                meta = {"resourceVersion": str(self.version), "continue": ""}
            return ReplayedAnswer(
                {"kind": "VirtualMachineInstanceList", "metadata": meta, "items": items}
            )
        since = int(request.query["resourceVersion"])
        if since < self.forgotten:
            text = f"too old resource version: {since} ({self.version})"
            return ReplayedAnswer(failure(410, "Expired", text), status=410)
        return ReplayedAnswer(parts=self._events(since, selector), is_cut=True)

    def _events(self, since: int, selector: str) -> Iterator[bytes]:
        with self._changed:
            breaks = self._breaks
            self._opened += 1
            self._changed.notify_all()
        while True:
            with self._changed:
                due = [entry for entry in self._log if entry[0] > since]
                if not due:
                    if self._is_closed:
                        return
                    if self._breaks > breaks:
                        rest = self._raw[-1]
                        break
                    self._changed.wait()
                    continue
            for version, before, after in due:
                since = version
                if event := _event(version, before, after, selector):
                    yield event
        if rest:
            yield rest


def _is_chosen(value: Vmi | None, selector: str) -> bool:
    name, _, wanted = selector.partition("=")
    return value is not None and value["metadata"]["labels"].get(name) == wanted


def _event(version: int, before: Vmi | None, after: Vmi | None, selector: str) -> bytes:
    """Return the event of a change for a watch with a selector, or nothing."""
    was, is_now = _is_chosen(before, selector), _is_chosen(after, selector)
    if is_now and after:
        return line_of("MODIFIED" if was else "ADDED", after)
    if was and before:
        meta = {**before["metadata"], "resourceVersion": str(version)}
        return line_of("DELETED", {**before, "metadata": meta})
    return b""
