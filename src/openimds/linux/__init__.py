"""What this machine's kernel is asked for: namespaces, addresses, rules, and what systemd hands on.

Rules of the room. Nothing here knows what IMDS answers: it makes places where a server and its
callers meet, and takes them away again. A place is made of what ends by itself, processes and
namespaces tied to each other, wherever that can be (`cell`); what has to be undone is marked as
ours and can be listed before it is done (`host`). The machine's own network namespace gets
169.254.169.254 only from whoever asks for that by name. When the kernel says no, the error says in
one sentence what forbids it and what to do instead.

`kernel` has the system calls that Python 3.11 lacks, `loopback` and `fence` what a private network
needs, `namespace` such a network for one process, `cell` for a command with a server outside of it.
`netns` opens sockets in namespaces that have a name, `systemd` takes those that systemd has opened.
"""
