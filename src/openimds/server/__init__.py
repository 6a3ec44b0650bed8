"""The composition root: the only room that knows every other.

Rules of the room. It puts the parts together and has no knowledge of its own: what a part does, and
with which words it refuses, stands in that part. `server` is all parts of one server inside a
running loop, `listening` its ways in, `doors` its ports for operators and services, `edits` follows
its fleet file, `listener_faults` closes its listeners while connections are refused, `run` gives
it a loop and the signals of a process, `within` puts it beside a command that has a network of its
own. Nobody imports this room but the command line and the pytest plugin.
"""

from openimds.server.inherited_sockets import InheritedSockets
from openimds.server.process import run, serve
from openimds.server.server import Ready, Server

__all__ = ["InheritedSockets", "Ready", "Server", "run", "serve"]
