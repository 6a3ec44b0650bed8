"""The data plane: bytes in, bytes out, for callers identified by their connection.

Rules of the room. A request is answered inside the turn that reads its last byte: no transport,
task, await, timer, lock or log line. Responses are prepared once; answering again is one look-up in
the response cache, one count and one send. The unit of fairness is the VM, and all unknown callers
are one: a turn serves each a little, and what is left waits in the VM's own sockets. Everything
that a guest can make grow has a bound: the target, the headers, the body, the output, the time, the
connections.

Theory. `reactor` has all sockets in one poll set: that of the loop itself (`event_loop`), or one
that hangs in any other loop (`poll_set`); it accepts, and gives turns. `shares` has the part of
each VM in the turns and in the open connections, `wheel` their deadlines. `connection` reads a
piece in its turn (`turns`) and asks `dispatcher` for the response to each request in it. Of its
sides, `request_reader` feeds a parser (httptools) and checks the parts of a request,
`response_writer` sends owed responses and ends the connection, `caller` knows the VM, and `phase`
is the state machine in which they meet. The dispatcher is shared by all connections: the fleet
index, the limits, the counters, the clocks; a `parsed_request` is what it sees of a request, within
`bounds`. `response_bytes` lays out heads in the recorded order
of headers. `listeners` opens sockets, some of which belong to one VM. `observer` has the ports of a
request observer and of a source of faults, each consulted only while one is set; `fault_delivery`
sends a response late, in pieces or not at all. `recording` is the observer that keeps requests.

The room does not know files, stores, keys or the admin API.
"""
