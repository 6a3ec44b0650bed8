"""Testing: a metadata service inside a test run, new for each test.

Rules of the room. The process belongs to the project under test: nothing here touches its signals,
limits, collector, environment or home. The address is the same for all tests. Everything that a
test changes ends with its server: VMs, tokens, events, clock, faults, records, counters. Only
expensive parts that carry no state are shared: a port, an event loop in a thread, keys.

Theory. `server_thread` keeps those three, and starts a server on the port for one test at a time;
between tests the port refuses. `marks` reads the settings of a test. `imds` is the fixture's value,
made of `vms`, `events`, `clock`, `environment`, `requests` and `faults`; each of their calls is a
job on the loop that returns when guests can see the change. `netns_parent` runs a test marked
`real_address` in a child process with its own network (`netns_child`), and takes its reports back.

What the room refuses to know: HTTP. It calls the parts of the server that the admin API calls.
This file imports nothing, because the child must import little before it leaves the network.
"""
