"""Bring the VMs of this node's server to the instances of KubeVirt on this node."""

from collections.abc import Callable, Collection, Iterator, Mapping
from threading import Event, Lock, Thread
from typing import Any, NoReturn, Protocol

from openimds.cli.client import ChangedError, MissingError, ServerError, vm_path
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
"""The same when a VM begins to wait for its pod, or a step has failed; it doubles up to RESYNC_S
while nothing changes in that."""
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


class PodNamespaces(Protocol):
    """The network namespaces of the pods of this node."""

    @property
    def denied(self) -> Mapping[str, int]:
        """Count of processes that do not show their namespace, by pods without a name."""

    def names(self, pods: Collection[str]) -> Mapping[str, str]:
        """Return the names by the uids of pods."""


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
        namespaces: PodNamespaces,
        report: Callable[[str], None],
        *,
        trusts_annotations: bool = False,
        trusts_firmware: bool = False,
    ) -> None:
        """Take the node's name and the ways to the world; `client` opens the admin API."""
        self._node, self._template = node, template
        self._client, self._namespaces, self._report = client, namespaces, report
        self._trusts_annotations, self._trusts_firmware = trusts_annotations, trusts_firmware
        self.pause_s = RETRY_S
        """The time until the next comparison without a change."""
        self._is_of_one_host = False
        self._reported: dict[str, str] = {}
        self._noted: set[str] = set()

    def follow(self, known: KnownObjects) -> NoReturn:
        """Apply each change, and compare from time to time; it never returns."""
        while True:
            known.wait(self.pause_s)
            objects, is_whole = known.get()
            if objects is not None:
                self.apply(objects, is_whole=is_whole)

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
            self._check_one_host(client)
            plan = plan_changes(wanted, kept, present, node=self._node, is_whole=is_whole)
            for name in plan.taken:
                troubles[name] = "the server has a VM of this name that was not made for KubeVirt"
            for name in plan.elsewhere:
                troubles[name] = (
                    "the server has a VM of this name that the watcher of another node has made. "
                    f"--node is {self._node}: a server has one watcher. If that node is gone, "
                    f"type openimds vm remove {name}"
                )
            for step in plan.steps:
                self._take(client, step, troubles)
        except Error as error:
            troubles[""] = str(error)
        for name, text in troubles.items():
            if self._reported.get(name) != text:
                sentence = f"{name}: {text}" if name else text
                self._report(KUBEVIRT_TROUBLE.message(sentence, vm=name))
        if not troubles:
            self.pause_s = RESYNC_S
        else:
            is_same = troubles == self._reported
            self.pause_s = min(self.pause_s * 2, RESYNC_S) if is_same else RETRY_S
        self._reported = troubles
        return not troubles

    def _check_one_host(self, client: FleetClient) -> None:
        """Check once that the server decides for one host: itself.

        Raises:
            ConfigError: it decides for many.
        """
        if self._is_of_one_host:
            return
        try:
            client.ask("GET", "/v1/hosts?limit=1")
        except ServerError:  # 409: it has no hosts.
            self._is_of_one_host = True
            return
        raise ConfigError("server", "a control of many hosts", "the server of this node")

    def _wanted(
        self, objects: Mapping[str, ApiObject], troubles: dict[str, str]
    ) -> tuple[dict[str, WantedVm], set[str]]:
        """Return the wanted VMs, and the names of those that stay as they are."""
        kept: set[str] = set()
        here = self._read(objects, kept, troubles)
        if not self._trusts_annotations:
            self._note({one.vm_name for one in here if ANNOTATION in one.annotations})
        names = self._namespaces.names({pod for instance in here for pod in instance.pods})
        wanted: dict[str, WantedVm] = {}
        owners: dict[tuple[str, str], str] = {}
        for instance in here:
            name = instance.vm_name
            kept.add(name)
            netns = names.get(instance.pods[0], "") if len(instance.pods) == 1 else ""
            try:
                vm = wanted_vm(
                    instance,
                    self._template,
                    netns,
                    trusts_annotations=self._trusts_annotations,
                    trusts_firmware=self._trusts_firmware,
                )
            except ConfigError as error:
                troubles[name] = str(error)
                continue
            taken = [claim for claim in vm.claims if claim in owners]
            for claim in vm.claims:
                owners.setdefault(claim, name)
            if taken:
                troubles[name] = _clash(taken[0], owners[taken[0]])
            elif trouble := _obstacle(instance, netns, self._namespaces.denied):
                troubles[name] = trouble
            else:
                wanted[name] = vm
        return wanted, kept

    def _read(
        self, objects: Mapping[str, ApiObject], kept: set[str], troubles: dict[str, str]
    ) -> list[Instance]:
        """Return the instances of this node, the older before the younger.

        The older one of two keeps an id. Only the API sets the time.
        """
        here: list[Instance] = []
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
        return sorted(here, key=lambda one: (one.created, one.vm_name))

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
                    if "reach" not in step.patch:
                        return  # Its cards have changed, and it stays where it is.
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


def _obstacle(instance: Instance, netns: str, denied: Mapping[str, int]) -> str:
    """Return the reason why an instance cannot be bound yet, or nothing.

    Anybody who may make a pod can name the instance as its owner: of several pods none is chosen,
    even if only one of them is found.
    """
    if len(instance.pods) > 1:
        return f"several of its pods run on this node: {', '.join(instance.pods)}"
    if not netns:
        pods = ", ".join(instance.pods) or "none is listed in status.activePods"
        text = f"its pod has no named network namespace on this node (pods: {pods})"
        if count := sum(denied.get(pod.lower(), 0) for pod in instance.pods):
            text += (
                f". /proc/PID/ns/net of {count} of its processes may not be read: the watcher "
                "needs the capability SYS_PTRACE, and profiles of SELinux or AppArmor that allow it"
            )
        return text
    if not instance.is_wired:
        return "KubeVirt has not reported the hardware address of its masquerade interface yet"
    return ""


def _clash(claim: tuple[str, str], owner: str) -> str:
    """Return the reason why a VM is refused that has an id of another."""
    member, value = claim
    remedy = (
        "give the namespace a resource group of its own in the template"
        if member == "compute.resourceId"
        else "give each instance a UUID of its own"
    )
    return f"its {member} is {value}, which {owner} has: {remedy}"


def _name_of(value: object) -> str:
    """Return the VM's name for an object that cannot be read, or nothing."""
    meta = value.get("metadata") if isinstance(value, dict) else None
    parts = [meta.get(key) for key in ("namespace", "name")] if isinstance(meta, dict) else []
    return ".".join(map(str, parts)) if all(parts) else ""
