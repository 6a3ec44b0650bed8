"""The compiled picture of the fleet that the data plane reads.

Rules of the room. A picture changes in whole steps, between two requests: a step is planned, which
finds every conflict and changes nothing, and then taken, which cannot fail. A step drops the
prepared replies of the VMs that it touches and of no others. An entry holds its VM packed (a few
hundred bytes) and unpacks it only to render something for the first time, so that a host can hold
many more VMs than are talking. Its limits outlive a change: nobody gets a new budget by it.

Theory. Who asks is decided by the listener or by the source address, and by nothing that a guest
can write into a request. Two VMs that claim one address are an error; an address that was only a
default gives way to one that somebody wrote down.

What the room refuses to know: where the fleet came from, sockets, HTTP. What the data plane
prepares for an entry is kept for it, bounded, without looking inside.
"""
