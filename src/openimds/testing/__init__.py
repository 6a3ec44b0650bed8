"""A metadata service inside a test run: one address for the session, one server for each test.

Rules of the room. The process belongs to somebody else: nothing here touches its signals, limits,
collector, environment or home. What a test changes ends with it, because its server does: VMs,
tokens, events, clock, faults, records, counters. What stays is dear to make and tells nothing: a
port, an event loop in a thread, keys.

Theory. A `stage` keeps those three and puts a server on the port for one test at a time; between
tests the port refuses. `marks` reads what a test asks for. `imds` is what the test gets, made of
`vms`, `events`, `clock`, `environment`, `requests` and `faults`; each of their calls is a job on
the loop that returns when guests can see the change. `real_address` runs one test in a child
process whose network is its own (`inside` is the child), and takes its reports back.

What the room refuses to know: HTTP. It calls the parts of the server that the admin API calls.
Nothing is imported at its door: the child has to leave this network with as little as it can.
"""
