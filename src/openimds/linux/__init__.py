"""Requests to this machine's kernel and systemd: namespaces, addresses, rules, sockets.

Rules of the room. It makes places where a server meets its callers, and removes them again. A
sandbox ends by itself, because its processes and namespaces are tied to each other; the host rules
outlive a process, so they carry a mark and are listed before they are applied or undone. The
machine's own network namespace gets 169.254.169.254 only by `openimds host up`. When the kernel
refuses, the error names the cause and the remedy in one sentence.

Theory. `syscalls` has the system calls that Python 3.11 lacks. `loopback` puts the metadata address
on `lo`, `memory_file` holds what goes to no disk, `blackhole_rules` keep packets to cloud metadata
addresses from leaving a sandbox. `hosts_file` maps names to addresses by a file that `covered_file`
shows in one mount namespace. `private_netns` moves one process into a network namespace of its own;
`named_netns` opens sockets in those that `ip netns` has named. `source_filter` has the kernel drop
the packets of some callers of a listening socket. `sandbox` runs a command beside a server
(`openimds exec`), `host` has this machine's host rules for its guests (`openimds host`). `systemd`
takes the sockets that systemd opened, and notifies it. `checks` are the checks of `openimds
doctor`.

The room refuses to know: the responses of IMDS, the fleet's store, HTTP.
"""
