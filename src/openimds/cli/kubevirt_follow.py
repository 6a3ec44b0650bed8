"""Bring the VMs of this node's server to the instances of KubeVirt on this node."""

from collections.abc import Callable, Collection, Iterator, Mapping
from threading import Event, Lock, Thread
from typing import Any, NoReturn, Protocol

from openimds.cli.client import ChangedError, MissingError, vm_path
from openimds.errors import ConfigError, Error
from openimds.interop.kubernetes.list_watch import ApiObject
from openimds.interop.kubevirt import (
    ANNOTATION,
    Instance,
    InstanceError,
    InstanceTemplate,
    VmPatch,
    VmPut,
    VmRemoval,
    WantedVm,
    plan_changes,
    read_instance,
    wanted_vm,
)
from openimds.log.events import KUBEVIRT_BOUND, KUBEVIRT_REMOVED, KUBEVIRT_TROUBLE

RESYNC_S = 5.0
"""The time until the server is compared again without a change: it may have been started anew."""
RETRY_S = 1.0
"""The same while a VM waits for its pod, or a step has failed."""
_MERGE_PATCH = "application/merge-patch+json"
_REDACTED = "redacted"


class FleetClient(Protocol):
    """The calls of the admin API that are made."""

    def vms(self) -> Iterator[dict[str, Any]]:
        """Yield every VM."""

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        media: str = "application/json",
        revision: int | None = None,
    ) -> Any:  # noqa: ANN401 - JSON
        """Call an operation."""


class KnownObjects:
    """The objects that a thread has from the API, for another thread that uses them."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._lock, self._changed = Lock(), Event()
        self._objects: Mapping[str, ApiObject] | None = None
        self._is_whole = False
        self._failure: BaseException | None = None

    def publish(self, objects: Mapping[str, ApiObject], *, is_whole: bool) -> None:
        """Replace the objects; `is_whole` tells whether no other exists."""
        with self._lock:
            self._objects, self._is_whole = objects, is_whole
        self._changed.set()

    def fill_by(self, follow: Callable[[], None]) -> None:
        """Run a function that never returns in a thread; its failure is raised by `wait`."""

        def run() -> None:
            try:
                follow()
            except BaseException as error:  # noqa: BLE001 - raised by the other thread
                self._failure = error
                self._changed.set()

        Thread(target=run, name="list-watch", daemon=True).start()

    def wait(self, timeout_s: float) -> None:
        """Wait for a change, at most so long."""
        self._changed.wait(timeout_s)
        self._changed.clear()
        if self._failure:
            raise self._failure

    def get(self) -> tuple[Mapping[str, ApiObject] | None, bool]:
        """Return the objects, None before the first list, and whether no other exists."""
        with self._lock:
            return self._objects, self._is_whole


class KubevirtFollower:
    """Makes, binds and removes VMs of one server for the instances of one node."""

    def __init__(  # noqa: PLR0913 - the world of a test
        self,
        node: str,
        template: InstanceTemplate,
        client: Callable[[], FleetClient],
        namespaces: Callable[[Collection[str]], Mapping[str, str]],
        report: Callable[[str], None],
        *,
        trusts_annotations: bool = False,
    ) -> None:
        """Take the node's name and the ways to the world.

        `client` opens the admin API; `namespaces` finds the network namespaces of pods by uid.
        """
        self._node, self._template = node, template
        self._client, self._namespaces, self._report = client, namespaces, report
        self._trusts_annotations = trusts_annotations
        self._reported: dict[str, str] = {}
        self._noted: set[str] = set()

    def follow(self, known: KnownObjects) -> NoReturn:
        """Apply each change, and compare from time to time; it never returns."""
        is_settled = False
        while True:
            known.wait(RESYNC_S if is_settled else RETRY_S)
            objects, is_whole = known.get()
            is_settled = objects is None or self.apply(objects, is_whole=is_whole)

    def apply(self, objects: Mapping[str, ApiObject], *, is_whole: bool) -> bool:
        """Compare once, and do all steps; tell whether nothing is left to do.

        A VM that cannot be handled is reported when its trouble begins, and no other waits for it.
        """
        troubles: dict[str, str] = {}
        try:
            wanted, kept = self._wanted(objects, troubles)
            client = self._client()
            present = [*client.vms()]
            if any(_REDACTED in vm for vm in present):
                raise ConfigError("token", "one that does not see all", "one of the role admin")
            plan = plan_changes(wanted, kept, present, is_whole=is_whole)
            for name in plan.taken:
                troubles[name] = "the server has a VM of this name that was not made for KubeVirt"
            for step in plan.steps:
                self._take(client, step, troubles)
        except Error as error:
            troubles[""] = str(error)
        for name, text in troubles.items():
            if self._reported.get(name) != text:
                sentence = f"{name}: {text}" if name else text
                self._report(KUBEVIRT_TROUBLE.message(sentence, vm=name))
        self._reported = troubles
        return not troubles

    def _wanted(
        self, objects: Mapping[str, ApiObject], troubles: dict[str, str]
    ) -> tuple[dict[str, WantedVm], set[str]]:
        """Return the wanted VMs, and the names of those that stay as they are."""
        here: list[Instance] = []
        kept: set[str] = set()
        for value in objects.values():
            try:
                instance = read_instance(value)
            except InstanceError as error:
                if name := _name_of(value):
                    kept.add(name)
                troubles[name] = str(error)
                continue
            if instance.runs_on(self._node):
                here.append(instance)
        if not self._trusts_annotations:
            self._note({one.vm_name for one in here if ANNOTATION in one.annotations})
        names = self._namespaces({pod for instance in here for pod in instance.pods})
        wanted: dict[str, WantedVm] = {}
        for instance in here:
            name = instance.vm_name
            kept.add(name)
            netns = [names[pod] for pod in instance.pods if pod in names]
            if trouble := _obstacle(instance, netns):
                troubles[name] = trouble
                continue
            try:
                wanted[name] = wanted_vm(
                    instance, self._template, netns[0], trusts_annotations=self._trusts_annotations
                )
            except ConfigError as error:
                troubles[name] = str(error)
                continue
        return wanted, kept

    def _note(self, annotated: set[str]) -> None:
        """Report each VM once whose annotation is not read."""
        for name in sorted(annotated - self._noted):
            text = f"{name}: its annotation {ANNOTATION} is not trusted, and not read"
            self._report(KUBEVIRT_TROUBLE.message(text, vm=name))
        self._noted = annotated

    def _take(
        self, client: FleetClient, step: VmRemoval | VmPut | VmPatch, troubles: dict[str, str]
    ) -> None:
        """Do a step; its failure is trouble of its VM."""
        path = vm_path(step.name)
        try:
            match step:
                case VmRemoval():
                    client.ask("DELETE", path, revision=step.revision)
                    text = f"{step.name} is removed: it does not run on {self._node}"
                    self._report(KUBEVIRT_REMOVED.message(text, vm=step.name))
                    return
                case VmPut():
                    client.ask("PUT", path, step.members, revision=step.revision)
                    reach = step.members["reach"]
                case VmPatch():
                    client.ask("PATCH", path, step.patch, _MERGE_PATCH, step.revision)
                    reach = step.patch["reach"]
        except MissingError:
            return  # Another has removed it: the next comparison decides.
        except ChangedError as error:
            troubles[step.name] = str(error)
            return
        except Error as error:
            troubles[step.name] = str(error)
            return
        netns = str(reach["listen"][0]).removeprefix("netns:")
        text = f"{step.name} is bound to the network namespace {netns}"
        self._report(KUBEVIRT_BOUND.message(text, vm=step.name, netns=netns))


def _obstacle(instance: Instance, netns: list[str]) -> str:
    """Return the reason why an instance cannot be bound yet, or nothing."""
    if not netns:
        pods = ", ".join(instance.pods) or "none is listed in status.activePods"
        return f"its pod has no named network namespace on this node (pods: {pods})"
    if len(netns) > 1:
        return f"several of its pods run on this node: {', '.join(instance.pods)}"
    if not instance.is_wired:
        return "KubeVirt has not reported the hardware address of its masquerade interface yet"
    return ""


def _name_of(value: object) -> str:
    """Return the VM's name for an object that cannot be read, or nothing."""
    meta = value.get("metadata") if isinstance(value, dict) else None
    parts = [meta.get(key) for key in ("namespace", "name")] if isinstance(meta, dict) else []
    return ".".join(map(str, parts)) if all(parts) else ""
