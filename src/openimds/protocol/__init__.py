"""The protocol of IMDS: pure functions over values.

Rules of the room. Bytes, the VM and the time are arguments; the result is a response, a refusal, or
pending work. Nothing here waits, opens, logs or reads a clock. A guest's mistake is a value (a row
of `facts.refusals` with its blanks filled), never an exception.

Theory. `request` parses a request target into a query. `handle` is the one entry: `checks` runs the
request checks in the order of `facts.endpoints.REQUEST_CHECKS`, then the handler of the endpoint
answers. `document` has the tree of the instance document at each api-version and follows a route
through a document; `access_token`, `identity_dialects`, `attested_document`, `load_balancer` and
the room `events` write the bodies of their endpoints. Where a key, another service or the store
must take part, the handler returns pending work (`pending`), and `resume` makes the response from
its result. `rate_limit` counts requests. `request_log` has the record of a request; the room `lint`
checks records for mistakes of clients. The room `faults` wraps `handle` with injected faults.

The room knows no connection, no HTTP framing, no caller's address and no cache.
"""
