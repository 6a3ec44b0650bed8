"""Importers: VMs from files of other tools, in the shape of a fleet file.

Rules of the room. A decoded JSON value comes in, or the text of XML or of `qm config`; VMs go out,
and nothing is opened, asked or guessed. A row maps a value: its path in the foreign object, its
place in a VM, and the conversion between. Each value meets one of three ends: it is taken; it has
no place in Azure's metadata (`unmapped`); or it has one and could not be read (`unread`). The last
two are paths, never values: a Terraform state holds passwords. An expression is shown, because it
is the author's text, unless it stands where passwords do.

Theory. `detect` finds the tool by the shape of the value. `arm_objects`, `arm_template` and
`terraform_state` find the resources in their kind of input: VM, network interface, public address,
network, disk, identity. `terraform_plan` joins resources that have no ids yet, and `scale_set`
makes VMs of a set. `domain_xml` and `proxmox` read the VMs of hypervisors; `machines` puts the
values that both have, and `texts` finds their texts. In a template, `arm_parser` reads an
expression, `arm_functions` has the functions that need only their arguments (`arm_arguments` checks
these, `arm_ids` makes resource ids), and `arm_scope` evaluates with the parameters, variables and
loops around; `arm_deployment` has the functions that ask for the deployment, `arm_lambdas` those
that apply a lambda, and `arm_members` finds members by name. An `Unread` stands for a value that
could not be read. `mapping` applies the rows of `azure` or `terraform` (with `terraform_machines`
and `terraform_sets`) to one resource; `conversions` has the conversions that rows name. `inventory`
finds resources by their ids; `assemble` joins the resources of one VM, and `network` its
interfaces. Each value keeps the path that it came from, and `unmapped` lists the paths that no VM
has used.

An unmapped path below a VM, or below a resource that a VM uses, is listed with that VM; any other
one is listed with the first VM. So every path is listed once.

Bounds. `arm_parser`, `arm_functions` and `arm_scope` name theirs: length and depth of expressions,
copies of a loop, characters of a text, and values in all.

What the room refuses to know: files, YAML, the admin API, and the state of a deployment.
"""

from openimds.interop.importers.arm_deployment import Deployment
from openimds.interop.importers.assemble import ImportedVm
from openimds.interop.importers.detect import read, read_files
from openimds.interop.importers.texts import parse_text, source_hint, without_comments

__all__ = [
    "Deployment",
    "ImportedVm",
    "parse_text",
    "read",
    "read_files",
    "source_hint",
    "without_comments",
]
