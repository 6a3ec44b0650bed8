"""Importers: VMs from files of other tools, in the shape of a fleet file.

Rules of the room. A decoded JSON value comes in, VMs go out; nothing is opened, asked or guessed. A
row maps a value: its path in the foreign object, its place in a VM, and the conversion between.
Every value with a place in the document is kept; every other one is named in `unmapped`, so that
its loss is visible. `unmapped` names paths, never values: a Terraform state holds passwords.

Theory. `detect` finds the tool by the shape of the value. `arm_objects`, `arm_template` and
`terraform_state` find the resources in their kind of input: VM, network interface, public address,
network, disk. `mapping` applies the rows of `azure` or `terraform` to one resource; `conversions`
has the conversions that rows name; `arm_expressions` evaluates the plain expressions of a
template. `inventory` finds resources by their ids; `assemble` joins the resources of one VM, and
`network` its interfaces. Each value keeps the path that it came from, and `unmapped` lists the
paths that no VM has used.

An unmapped path below a VM, or below a resource that a VM uses, is listed with that VM; any other
one is listed with the first VM. So every path is listed once.

What the room refuses to know: files, YAML, the admin API, and expressions that take more than
look-ups and concatenation.
"""

from openimds.interop.importers.assemble import ImportedVm
from openimds.interop.importers.detect import read

__all__ = ["ImportedVm", "read"]
