"""What other tools write about VMs, read as VMs of ours.

Rules of the room. A decoded JSON value comes in, VMs in the shape of a fleet file go out; nothing
is opened, asked or guessed from elsewhere. What a value means is a row: where it stands in the
foreign object, where it belongs in ours, and the change that it needs on the way. Everything that
has a place in the document is kept; everything that has none is named in `left_out`, so that
nobody has to wonder what became of it. Paths are named there, never values: a Terraform state
holds passwords.

Theory. `read` tells by its looks which tool wrote the input. `objects`, `template` and `state` find
the resources in their kind of input, and make a piece of each: VM, network interface, public
address, network, disk. `rows` walks the rows of `azure` or `terraform` over one resource; `changes`
has the conversions that rows name; `expression` works out what is plain in a template. `join` puts
the pieces of one VM together by their resource ids, `wiring` its network. Each value goes with the
path where it was found, and whatever no VM has used in the end is what `left` names.

What is shared is named once: a path below a VM, or below a piece that a VM uses, stands with that
VM; a path that belongs to none of them stands with the first.

What the room refuses to know: files, YAML, the admin API, and expressions that take more than
looking up and putting together.
"""

from openimds.interop.importers.assemble import ImportedVm
from openimds.interop.importers.detect import read

__all__ = ["ImportedVm", "read"]
