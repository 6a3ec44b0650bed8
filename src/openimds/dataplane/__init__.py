"""The data plane: bytes in, bytes out, for callers who are known by where they come from.

Rules of the room. One process, one event loop; a request is answered inside the call that brought
its last byte: no task, no await, no lock, no log line. Whatever can be worked out once is a
prepared reply; answering is looking it up, counting, and one write. Everything a guest can make
grow has a bound: a request's target, its headers, its body, its time, the connections.

Theory. `conversation` is one connection: it feeds a parser (httptools), and asks `dispatcher` for
the reply. `dispatcher` is what all connections share: the picture, the counters, the clock.
`reply` writes heads as they were recorded. `listen` opens sockets, one of which may belong to one
VM. Who looks on (`watch`) and who says that requests go wrong (`trouble`) is asked only while
there is somebody; `play` lets a reply suffer on its way.

What the room refuses to know: files, stores, keys, the admin API.
"""
