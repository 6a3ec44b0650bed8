"""The composition root: the only room that knows every other.

Rules of the room. It puts parts together and decides nothing itself: a part's behaviour and its
error texts stand in that part. It is imported by the command line and by `testing` alone, module by
module, so that a command loads what it needs.

Theory. `build` makes every part of a server in one function, from top to bottom, with the
`Callbacks` between parts made first. `server` holds the parts and starts, reloads and stops them;
`process` gives it an event loop and the signals of a process; `sandboxed` serves the private
networks of commands, and `azure_hosts` makes https for Azure's PKI hosts there. `listener_set`
opens the listeners of the data plane, `listener_faults` closes them while faults refuse
connections, `connection_filters` filters them while faults swallow some, `admin_ports` opens those
of the admin API and of published keys. `fleet_file_watcher` applies edits of the fleet file.
`pending_dispatch` sends pending work of the data plane to events or to credentials;
`metrics_source` reads the counters of all parts. `file_budget` divides the open files of the
process between guests and the rest; `shortage_notices` reports that none is left.

What the room refuses to know: protocol, formats, cryptography.
"""
