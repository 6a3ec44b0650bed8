"""A cell: a command in a network of its own, where 169.254.169.254:80 answers.

Rules of the room. The process that the user started, the warden, stays where it is. It has a server
run in a child of its own, outside of every cell, and it has one first process in each cell:

    warden ── server                       the user's namespaces
       └──── first ── COMMAND              the cell's: network, processes, mounts, and users
                                           where the user is not root
The first process makes the cell, opens the listening sockets in it and hands them out. When the
server answers, it starts COMMAND, in the warden's process group and with the warden's streams, so
that the terminal meets COMMAND as if nothing stood between. It passes on the signals that came to
the warden alone, and it waits. They talk by messages over a pair of sockets (`words`).

Nothing has to be cleaned up, because everything ends by itself. The first process ends with
COMMAND, and with it, as the kernel has it, every process of the cell; the network goes when its
last process and its last socket do. If the warden is killed, the first process sees its line close
and ends; the server gets SIGTERM. There is no file: the token of the admin API is in memory that
has a name only in /proc. Where /proc cannot be mounted anew, a cell has no process ids of its own,
and the first process ends all its descendants by hand.

The room does not know what is served, or by whom: sockets go out of it, and names of variables come
in.
"""

from openimds.linux.sandbox.messages import SandboxSpec
from openimds.linux.sandbox.sandbox import Sandbox
from openimds.linux.sandbox.supervisor import Supervisor, exit_like

__all__ = ["Sandbox", "SandboxSpec", "Supervisor", "exit_like"]
