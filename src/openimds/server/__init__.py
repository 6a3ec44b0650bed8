"""The composition root: the only room that knows every other.

Rules of the room. It puts parts together and decides nothing itself: a part's behaviour and its
error texts stand in that part. It is imported by the command line and by `testing` alone, module by
module, so that a command loads what it needs.

Theory. A server has two roles. `control` decides: the store, the fleet file, events, faults, and
the ports of operators. `host` serves: the index, the data plane, its listeners, and the keys that
sign. Control reaches its host through `build_control.HostLink` alone, whose ports for operators are
in `host_access` and which `local_host` implements for a host in the same process. `build_host` and
`build_control` make the parts of a role, from top to bottom; `build` makes both in one process,
`server` starts, reloads and stops them, and `process` gives them an event loop and the signals of a
process.

`sandboxed` serves the private networks of commands, and `azure_hosts` makes https for Azure's PKI
hosts there. `listener_set` opens the listeners of the data plane, `listener_faults` closes them
while faults refuse connections, `connection_filters` filters them while faults swallow some,
`admin_ports` opens those of the admin API and of published keys. `fleet_file_watcher` applies edits
of the fleet file. `pending_dispatch` sends pending work of the data plane to events or to
credentials; `metrics_source` reads the counters of all parts, `local_recording` the recorded
requests. `file_budget` divides the open files of the process between guests and the rest;
`shortage_notices` reports that none is left.

What the room refuses to know: protocol, formats, cryptography.
"""
