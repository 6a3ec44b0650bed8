"""KubeVirt: VMs of OpenIMDS from VirtualMachineInstances, and the steps that keep them so.

Rules of the room. Values in, values out: no file, socket, namespace or time. An instance that
cannot be read, or of which a needed part is not known yet, leaves its VM as it is. A VM is changed
or removed only if it has the mark of this node, so that VMs of operators are never touched.

Theory. `instance` reads the members of a VirtualMachineInstance that matter here. `members` makes a
VM of it: derived members, then the operator's template, then the annotation if it is trusted; a tag
marks it, with digests of its definition, of its network cards and of the node. `reconcile` compares
the wanted VMs with those of the server: another definition replaces the VM; other cards or another
namespace only change `network` and `reach`, so that changes of other members by the admin API stay.
Nobody who may make an instance chooses an id of a VM, unless the operator trusts him.

What the room refuses to know: Kubernetes' API, the admin API's client, and how a pod's namespace is
found.
"""

from openimds.interop.kubevirt.instance import Instance, InstanceError, read_instance
from openimds.interop.kubevirt.members import (
    ANNOTATION,
    MARK,
    InstanceTemplate,
    VmMark,
    WantedVm,
    node_digest,
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
    "VmMark",
    "VmPatch",
    "VmPut",
    "VmRemoval",
    "WantedVm",
    "node_digest",
    "plan_changes",
    "read_instance",
    "read_template",
    "wanted_vm",
]
