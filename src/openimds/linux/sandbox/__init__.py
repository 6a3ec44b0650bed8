"""A sandbox: a command in a network namespace of its own, where 169.254.169.254:80 answers.

Rules of the room. The process that the user started becomes the supervisor and stays in the user's
namespaces. It forks the server, which also stays outside, and one init process for each sandbox:

    supervisor ── server                   the user's namespaces
       └───────── init ── COMMAND          the sandbox's: network, processes, mounts, and users
                                           unless the user is root

The init process makes the namespaces, opens the listening sockets in them and sends the sockets to
the supervisor. When the server is ready, it starts COMMAND in the supervisor's process group and
with the supervisor's streams, so that the terminal talks to COMMAND directly. It forwards signals
that were sent to the supervisor alone, and waits. Both talk by `messages` over a socket pair.

Theory. Nothing has to be cleaned up, because everything ends by itself. The init process ends with
COMMAND, and then the kernel ends every process of the sandbox; its network namespace disappears
with its last process and its last socket. If the supervisor is killed, the init process sees the
socket pair close and ends, and the server gets SIGTERM. There is no file: the token of the admin
API and roots to trust are in memory and have names only in /proc. Where /proc cannot be mounted
anew, a sandbox has no process ids of its own, and the init process kills its descendants itself.

`pasta` gives a sandbox egress to the user's network; `output_multiplexer` labels the output of
several commands.

The room refuses to know: the responses that are served, the VMs, the fleet. Sockets leave the room,
environment variables enter it.
"""

from openimds.linux.sandbox.messages import SandboxSpec
from openimds.linux.sandbox.sandbox import Sandbox
from openimds.linux.sandbox.supervisor import Supervisor, exit_like

__all__ = ["Sandbox", "SandboxSpec", "Supervisor", "exit_like"]
