"""The seam between control and host, each a process of its own.

Rules of the room. What passes is a message of `messages`: a typed value, never code. A call returns
once the other side has done it. Neither side trusts its memory of the other: when control starts
anew, it sends its host all that guests are served, and the host drops what is not among it.

Theory. The two processes share one pair of connected sockets. `channel` frames messages and matches
results with calls. `remote_host` is the host as control reaches it, and keeps control's copy of the
index, the clock and the faults; `remote_recording` and `remote_credentials` reach the requests and
keys there. `host_end` does in the host what control asks, in slices small enough that no guest
waits for them. `events_follower` shows guests the events that control has published, and passes
their approvals up. `publication_access` bounds what readers of the public port can ask of the host.

What the room refuses to know: the store, files, and the ports of operators.
"""
