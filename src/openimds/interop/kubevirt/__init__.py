"""KubeVirt: VMs of OpenIMDS from VirtualMachineInstances, and the steps that keep them so.

Rules of the room. Values in, values out: no file, socket, namespace or time. An instance that
cannot be read, or of which a needed part is not known yet, leaves its VM as it is. A VM is changed
or removed only if it has the mark, so that VMs of operators are never touched.

Theory. `instance` reads the members of a VirtualMachineInstance that matter here. `members` makes a
VM of it: derived members, then the operator's template, then the annotation if it is trusted; a tag
marks it, with a digest of all members but `reach`. `reconcile` compares the wanted VMs with those
of the server: another digest replaces the VM, another namespace only changes its `reach`, so that
changes by the admin API stay while the definition does.

What the room refuses to know: Kubernetes' API, the admin API's client, and how a pod's namespace is
found.
"""

from openimds.interop.kubevirt.instance import Instance, InstanceError, read_instance
from openimds.interop.kubevirt.members import (
    ANNOTATION,
    MARK,
    InstanceTemplate,
    WantedVm,
    read_template,
    wanted_vm,
)
from openimds.interop.kubevirt.reconcile import (
    ReconcilePlan,
    VmPatch,
    VmPut,
    VmRemoval,
    plan_changes,
)

__all__ = [
    "ANNOTATION",
    "MARK",
    "Instance",
    "InstanceError",
    "InstanceTemplate",
    "ReconcilePlan",
    "VmPatch",
    "VmPut",
    "VmRemoval",
    "WantedVm",
    "plan_changes",
    "read_instance",
    "read_template",
    "wanted_vm",
]
