"""What the answers of the data plane wait for: tokens and signatures, put together.

Rules of the room. `held` answers at once or not at all; `make` waits for threads. What takes long
to load is loaded by the first who needs it. What strangers may see of the keys is said here, and it
is public halves only.

What the room refuses to know: sockets, connections, the store.
"""
