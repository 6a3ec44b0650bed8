"""Many hosts: each serves its own VMs, and one control decides for all of them.

Rules of the room. A host shows the newest state of what is placed on it, and never less than it
knows: a control that has not loaded says wait, never nothing; a host without control serves on. A
host reads, signs and approves for VMs that are placed on it, and for nothing else.

Theory. A host calls control over TLS, with a certificate of the hosts' own authority, and then both
call each other in the messages of `messages`, over the channel of `server.seam`. `link` is all
hosts as the parts of control change them: it knows the VMs of each host, and marks what has
changed. A `session` is one connected host: it compares digests of what the host shows with what it
should show, sends the difference, and from then on the newest state of what was marked. There is no
log to replay: a host that was away for a week compares, too. `follower` is the host's end.

What the room refuses to know: engines, files of fleets, and how an answer to a guest is made.
"""
