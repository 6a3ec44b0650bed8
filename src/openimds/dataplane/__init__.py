"""The data plane: bytes in, bytes out, for callers identified by their connection.

Rules of the room. One process, one event loop; a request is answered inside the call that delivers
its last byte: no task, no await, no lock, no log line. Responses are prepared once; answering again
is one look-up in the response cache, one count and one write. Everything that a guest can make grow
has a bound: the target, the headers, the body, the time, the connections.

Theory. `connection` feeds the chunks of one connection to a parser (httptools) and asks
`dispatcher` for each response; `phase` is its state machine. The dispatcher is shared by all
connections: the fleet index, the limits, the counters, the clocks. `response_bytes` lays out heads
in the recorded order of headers. `listeners` opens sockets, some of which belong to one VM;
`connection_limits` bounds the connections and ends those whose time is up. `observer` has the ports
of a request observer and of a source of faults, each consulted only while one is set;
`fault_delivery` sends a response late, in pieces or not at all. `recording` is the observer that
keeps requests.

The room does not know files, stores, keys or the admin API.
"""
